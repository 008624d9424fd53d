import { setTimeout as sleep } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import { Migration, notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { ttl } from '../lab/world.ts';

/** Two hosts, a migration between them, and what tests ask of them. */
export interface Scene {
  readonly lab: Lab;
  readonly migration: Migration;
  readonly end: () => Promise<void>;
}

/** No DNS: its waits are tested elsewhere, and would be most of the time here. */
export const withoutDns = {
  cutover: 'address',
  'address-command': ['true'],
  'address-undo-command': ['true'],
  dns: [],
};

export const folder = '/var/lib/mail-cutover/orchard';
export type Side = 'old' | 'new';

/** Seconds for which caches may keep an answer before the migration; most waits are for this. */
export const ttlBefore = ttl.lowered + 1;

export async function scene(changes: Record<string, unknown> = {}): Promise<Scene> {
  const { lab } = await startMailLab({ mailboxes: 6, messagesPerMailbox: 10, ttl: ttlBefore });
  const migration = await Migration.create(lab, changes);
  return {
    lab,
    migration,
    end: async () => {
      await migration.remove();
      await lab.stop();
    },
  };
}

/** Freezes as soon as the lowered TTL allows it. */
export async function freeze(stage: Scene): Promise<void> {
  await whenCachesForget(stage, 'freeze');
}

/** Runs a stage that is refused as long as caches may know an answer. */
async function whenCachesForget(here: Scene, stage: 'prepare' | 'freeze'): Promise<void> {
  const { code, log } = await onceCachesForget(here, stage);
  if (code !== 0) throw new Error(`${stage} ended with ${code}:\n${log}`);
}

/** The same, however the stage ends. */
export async function onceCachesForget({ migration }: Scene, stage: 'prepare' | 'freeze') {
  const first = await migration.run(stage);
  const at = notBefore(first.log);
  if (first.code === 0 || at === undefined) return first;
  await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
  return migration.run(stage);
}

/** Every stage up to a frozen OLD whose copy is on NEW. */
export async function transferred(stage: Scene): Promise<void> {
  const { migration } = stage;
  await whenCachesForget(stage, 'prepare');
  await migration.must('transfer', { pass: 'live' });
  await freeze(stage);
  await migration.must('transfer', { pass: 'final' });
}

/** Every stage up to NEW serving. */
export async function activate(stage: Scene): Promise<void> {
  await transferred(stage);
  await stage.migration.must('activate');
}

/** Sends one message over port 25; returns its Message-ID. */
export async function send(
  { lab }: Scene,
  host: Side,
  to: string,
  subject = 'test',
): Promise<string> {
  const { address } = lab.host(host);
  const transport = createTransport({
    host: address,
    port: 25,
    tls: { rejectUnauthorized: false },
  });
  try {
    const sent = await transport.sendMail({
      from: 'post@elsewhere.example',
      to,
      subject,
      text: 'x',
    });
    return sent.messageId;
  } finally {
    transport.close();
  }
}

/** In how many files of the host's mailboxes a Message-ID stands. */
export async function copies({ lab }: Scene, host: Side, messageId: string): Promise<number> {
  const { stdout } = await lab
    .host(host)
    .sh(
      'find /var/vmail /home -type f \\( -path "*/cur/*" -o -path "*/new/*" \\) -exec grep -lF -- "$1" {} + | wc -l',
      [messageId],
    );
  return Number(stdout.trim());
}

/** Waits until a message has arrived in one mailbox of the host. */
export async function arrived(stage: Scene, host: Side, messageId: string): Promise<void> {
  await waitFor(
    `${messageId} on ${host}`,
    60,
    async () => (await copies(stage, host, messageId)) > 0,
  );
}

/** In how many messages of a host's queue a Message-ID stands. */
export async function queued({ lab }: Scene, host: Side, messageId: string): Promise<number> {
  const { stdout } = await lab
    .host(host)
    .sh(
      `find /var/spool/postfix/maildrop /var/spool/postfix/incoming /var/spool/postfix/active /var/spool/postfix/deferred -type f -perm -u+x | while read -r file; do postcat "$file" 2>/dev/null | grep -cF -- "$1" | grep -v '^0$'; done | wc -l`,
      [messageId],
    );
  return Number(stdout.trim());
}

/**
 * Whether clients and deliveries are served: the proof that there is one server at most. A port that is
 * carried on to the other host is systemd's, not Dovecot's.
 */
export async function serves({ lab }: Scene, host: Side): Promise<boolean> {
  const { stdout } = await lab
    .host(host)
    .sh(
      'ss -Hltnp "( sport = :143 or sport = :993 )" | grep -c dovecot || :; postconf -h local_transport; postfix status 2>&1 || :',
    );
  const [imap = '0', transport = ''] = stdout.split('\n');
  const delivers = /is running/.test(stdout) && !transport.startsWith('mail-cutover');
  return Number(imap) > 0 || delivers;
}
