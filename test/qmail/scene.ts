import { setTimeout as sleep } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import { expect } from 'vitest';
import { Migration, notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { type QmailOptions, startQmailLab } from '../lab/profile-qmail.ts';
import { domains } from '../lab/world.ts';

export type Strategy = 'snapshot' | 'redirect';
export type Side = 'old' | 'new';

/** What the migration file of a qmail lab has besides that of the other labs. */
export function qmailFile(
  strategy: Strategy,
  variant: 'files' | 'mysql' = 'files',
): Record<string, unknown> {
  return {
    'mail-system': 'qmail',
    qmail: { strategy, variant },
    carry: [],
    domains: Object.values(domains),
    freeze: { 'max-minutes': 10 },
  };
}

/** No DNS: its waits are tested elsewhere. */
export const withoutDns = {
  cutover: 'address',
  'address-command': ['true'],
  'address-undo-command': ['true'],
  dns: [],
};

export const folder = '/var/lib/mail-cutover/orchard';

/** Two qmail hosts, a migration between them, and what tests ask of them. */
export class QmailScene {
  readonly lab: Lab;
  readonly migration: Migration;

  private constructor(lab: Lab, migration: Migration) {
    this.lab = lab;
    this.migration = migration;
  }

  static async start(
    strategy: Strategy,
    options: QmailOptions = {},
    changes: Record<string, unknown> = withoutDns,
  ): Promise<QmailScene> {
    const { lab } = await startQmailLab({ mailboxes: 6, messagesPerMailbox: 5, ...options });
    const file = { ...qmailFile(strategy, options.variant), ...changes };
    return new QmailScene(lab, await Migration.create(lab, file));
  }

  async end(): Promise<void> {
    await this.migration.remove();
    await this.lab.stop();
  }

  /** Sends one message over port 25; returns its Message-ID. */
  async send(side: Side, to: string): Promise<string> {
    const transport = createTransport({ host: this.lab.host(side).address, port: 25 });
    try {
      const sent = await transport.sendMail({
        from: 'post@elsewhere.example',
        to,
        subject: 'test',
        text: 'x',
      });
      return sent.messageId;
    } finally {
      transport.close();
    }
  }

  /** In how many files of the host's Maildirs a Message-ID stands. */
  async copies(side: Side, messageId: string): Promise<number> {
    const { stdout } = await this.lab
      .host(side)
      .sh(
        'find /mail /home -type f \\( -path "*/cur/*" -o -path "*/new/*" \\) -exec grep -lF -- "$1" {} + | wc -l',
        [messageId],
      );
    return Number(stdout.trim());
  }

  async arrived(side: Side, messageId: string): Promise<void> {
    await waitFor(
      `${messageId} on ${side}`,
      60,
      async () => (await this.copies(side, messageId)) > 0,
    );
  }

  /** In how many messages of a host's queue a Message-ID stands. */
  async queued(side: Side, messageId: string): Promise<number> {
    const { stdout } = await this.lab
      .host(side)
      .sh('find /var/qmail/queue/mess -type f -exec grep -lF -- "$1" {} + | wc -l', [messageId]);
    return Number(stdout.trim());
  }

  /** All stages up to that one, on a migration that has not begun or was rolled back. */
  async upTo(last: 'freeze' | 'final' | 'active'): Promise<void> {
    const { migration } = this;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await migration.must('freeze');
    if (last === 'freeze') return;
    await migration.must('transfer', { pass: 'final' });
    if (last === 'active') await migration.must('activate');
  }

  /** Each message has come to that host once, and waits nowhere. */
  async onceOn(side: Side, ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      await this.arrived(side, id);
      // qmail-send(8) removes a message from its queue after it was told that it is delivered.
      await waitFor(
        `${id} left the queue of OLD`,
        60,
        async () => (await this.queued('old', id)) === 0,
      );
      expect([id, await this.copies(side, id)]).toEqual([id, 1]);
    }
  }

  /** Each message waits in OLD's queue, and is in no mailbox there. */
  async waitsOnOld(ids: readonly string[]): Promise<void> {
    for (const id of ids)
      expect([id, await this.copies('old', id), await this.queued('old', id)]).toEqual([id, 0, 1]);
  }

  /** Freezes as soon as the lowered TTL allows it. */
  async freeze(): Promise<void> {
    const asked = await this.migration.run('freeze', { 'dry-run': 'true' });
    const at = notBefore(asked.log);
    if (at) await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
    await this.migration.must('freeze');
  }

  /** Whether mailboxes are opened and whether mail is delivered: the proof of one server at most. */
  async serves(side: Side): Promise<{ readonly pop3: boolean; readonly delivers: boolean }> {
    const host = this.lab.host(side);
    const { stdout } = await host.sh('ss -Hltn "sport = :110" | wc -l');
    const id = `probe-${Math.random().toString(36).slice(2)}@serves.example`;
    await host.sh(
      `printf 'To: u001@orchard.example\\nMessage-ID: <%s>\\n\\nx\\n' "$1" | /var/qmail/bin/qmail-inject -f '' u001@orchard.example`,
      [id],
    );
    await sleep(1500);
    return { pop3: stdout.trim() !== '0', delivers: (await this.copies(side, id)) > 0 };
  }
}
