import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { password } from '../lab/world.ts';
import { byWorkflow, type DispatchRecord } from '../rehearsal/by-workflow.ts';
import type { RehearsalOptions } from '../rehearsal/options.ts';
import { rehearse } from '../rehearsal/run.ts';
import { act } from './act.ts';

const small: RehearsalOptions = {
  system: 'postfix-dovecot',
  mailboxes: 12,
  messages: 5,
  rate: 10,
  freeze: 'hold',
  keep: false,
  out: undefined,
  seed: undefined,
};

/** The first workflow that the README shows: what users write. */
function callerOfReadme(): string {
  const text = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  const [, caller] = /^```yaml\n(name: Migrate\n[\s\S]*?)^```$/m.exec(text) ?? [];
  if (caller === undefined) throw new Error('the README shows no workflow');
  return caller;
}

/*
 * migrate.yml under act, while mail flows: what a dispatch of it does to two real hosts. What of this
 * is real and what is not stands in act.ts.
 */
test.skipIf(act === undefined)(
  'migrate.yml under act: a runner dies in the final pass, a second dispatch goes on',
  {
    timeout: 900_000,
  },
  async () => {
    const records: DispatchRecord[] = [];
    const lines: string[] = [];
    const way = { form: 'gated', death: 'go-on', caller: callerOfReadme(), shards: '2' } as const;
    const { account } = await rehearse(
      small,
      (line) => lines.push(line),
      () => () => undefined,
      async () => undefined,
      byWorkflow(way, (record) => records.push(record)),
    ).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${lines.slice(-400).join('\n')}`, {
        cause: error,
      });
    });
    expect(account).toMatchObject({
      lost: [],
      doubled: [],
      bounced: [],
      uidChanges: [],
      pending: [],
    });
    expect(records.map(({ code, succeeded, failed }) => ({ code, succeeded, failed }))).toEqual([
      { code: 0, succeeded: ['dry run'], failed: [] },
      {
        code: 0,
        succeeded: ['plan', 'prepare', 'transfer-live-1', 'transfer-live-2'],
        failed: [],
      },
      // The dry run of `freeze` refuses while caches may hold the old TTL, and says until when.
      { code: expect.any(Number), succeeded: expect.any(Array), failed: expect.any(Array) },
      { code: 137, succeeded: ['freeze'], failed: [] },
      {
        code: 0,
        succeeded: ['transfer-final', 'activate', 'dns-cutover', 'verify', 'drain'],
        failed: [],
      },
      { code: 1, succeeded: ['plan'], failed: ['prepare'] },
    ]);
    const [dry, parts, , , gone, again] = records;
    expect(dry?.log).toContain('would: ');
    for (const part of [1, 2]) expect(parts?.log).toContain(`part ${part} of 2: `);
    expect(gone?.artifacts).toEqual(['mail-cutover-audit-verify-1']);
    expect(again?.log).toContain('prepare is out of order: the freeze has begun');
    for (const { log } of records) {
      expect(log).not.toContain('PRIVATE KEY');
      expect(log).not.toContain(password);
    }
  },
);
