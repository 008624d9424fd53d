import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult } from '../../src/driver/run-action.ts';
import { Migration, notBefore } from '../e2e/migration.ts';
import { makeCheckout } from '../lab/chatmail/checkout.ts';
import { relay, relayUser } from '../lab/chatmail/relay.ts';
import type { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { startRelayLab } from '../lab/profile-chatmail.ts';
import { relayMigration } from '../rehearsal/systems/chatmail.ts';

/** A relay on OLD, a bare NEW, a migration between them, and a checkout to run `cmdeploy` from. */
export interface RelayScene {
  readonly lab: Lab;
  readonly migration: Migration;
  readonly checkout: string;
  /** A stage that must succeed, with the input `cmdeploy` where it takes it. */
  must(stage: StageName, inputs?: Record<string, string>): Promise<ActionResult>;
  run(stage: StageName, inputs?: Record<string, string>): Promise<ActionResult>;
  end(): Promise<void>;
}

export async function relayScene(changes: Record<string, unknown> = {}): Promise<RelayScene> {
  const lab = await startRelayLab({ mailboxes: 12, messagesPerMailbox: 5 });
  const checkout = join(lab.folder, 'relay');
  await makeCheckout(checkout);
  const migration = await Migration.create(lab, { ...relayMigration(), ...changes });
  const withCheckout = (stage: StageName, inputs: Record<string, string>) =>
    ['plan', 'prepare', 'freeze', 'activate'].includes(stage)
      ? { cmdeploy: checkout, ...inputs }
      : inputs;
  return {
    ...{ lab, migration, checkout },
    must: (stage, inputs = {}) => migration.must(stage, withCheckout(stage, inputs)),
    run: (stage, inputs = {}) => migration.run(stage, withCheckout(stage, inputs)),
    async end() {
      await migration.remove();
      await lab.stop();
    },
  };
}

/** In how many files of the host's mailboxes a text stands; Dovecot stores them as gzip(1) does. */
export async function copies(
  { lab }: RelayScene,
  host: 'old' | 'new',
  text: string,
): Promise<number> {
  const { stdout } = await lab
    .host(host)
    .sh(
      'find "$2" -type f \\( -path "*/cur/*" -o -path "*/new/*" \\) -exec zgrep -lF -- "$1" {} + | wc -l',
      [text, relay.mailboxes],
    );
  return Number(stdout.trim());
}

export async function arrived(scene: RelayScene, host: 'old' | 'new', text: string): Promise<void> {
  await waitFor(`${text} on ${host}`, 60, async () => (await copies(scene, host, text)) > 0);
}

/** What runs on a relay that serves. */
export const everyUnit = [
  ...['doveauth', 'chatmail-metadata', 'lastlogin', 'filtermail-incoming', 'opendkim', 'nginx'],
  ...['dovecot', 'postfix@-', 'chatmail-expire.timer', 'acmetool-reconcile.timer'],
] as const;

/** Over port 25, as another relay does. */
export async function send(messageId: string, host: string): Promise<void> {
  const transport = createTransport({ host, port: 25, tls: { rejectUnauthorized: false } });
  const message = { messageId, from: 'post@elsewhere.example', to: relayUser(1), text: 'x' };
  await transport.sendMail(message);
  transport.close();
}

/** Runs `freeze` as soon as the lowered TTL has been out for long enough. */
export async function freezeWhenDue(scene: RelayScene): Promise<ActionResult> {
  const asked = await scene.run('freeze', { 'dry-run': 'true' });
  await sleep(Math.max(0, (notBefore(asked.log)?.getTime() ?? 0) - Date.now()) + 100);
  return scene.must('freeze');
}

/** Units of the relay that run on a host. */
export async function running(
  { lab }: RelayScene,
  host: 'old' | 'new',
): Promise<readonly string[]> {
  const { stdout } = await lab
    .host(host)
    .sh('for unit; do if systemctl is-active -q "$unit"; then echo "$unit"; fi; done', everyUnit);
  return stdout.split('\n').filter(Boolean);
}

/** What clients see of a mailbox: everything a client keys its cache by. */
export async function view(
  { lab }: RelayScene,
  host: 'old' | 'new',
  user: string,
): Promise<string> {
  return lab.host(host).mustSh(
    `doveadm -f tab fetch -u "$1" 'mailbox uid guid flags date.saved' mailbox '*' all | sort
     doveadm -f tab mailbox status -u "$1" 'messages uidvalidity uidnext' '*' | sort
     stat -c '%Y' "$2/$1/password"`,
    [user, relay.mailboxes],
  );
}
