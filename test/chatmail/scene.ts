import { join } from 'node:path';
import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult } from '../../src/driver/run-action.ts';
import { Migration } from '../e2e/migration.ts';
import { makeCheckout } from '../lab/chatmail/checkout.ts';
import { relay } from '../lab/chatmail/relay.ts';
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
    ['plan', 'prepare', 'activate'].includes(stage) ? { cmdeploy: checkout, ...inputs } : inputs;
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

/** Units of the relay that run on a host. */
export async function running(
  { lab }: RelayScene,
  host: 'old' | 'new',
): Promise<readonly string[]> {
  const units = [
    ...['doveauth', 'chatmail-metadata', 'lastlogin', 'filtermail-incoming', 'opendkim', 'nginx'],
    ...['dovecot', 'postfix@-', 'chatmail-expire.timer', 'acmetool-reconcile.timer'],
  ];
  const { stdout } = await lab
    .host(host)
    .sh('for unit; do if systemctl is-active -q "$unit"; then echo "$unit"; fi; done', units);
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
