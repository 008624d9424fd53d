import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { byWorkflow, type DispatchRecord, type WorkflowMove } from '../rehearsal/by-workflow.ts';
import type { RehearsalOptions } from '../rehearsal/options.ts';
import { rehearse } from '../rehearsal/run.ts';
import { act } from './act.ts';

/*
 * migrate.yml under act, while mail flows: what a dispatch of it does to two real hosts. What of this
 * is real and what is not stands in act.ts.
 */

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
  const [, caller] = /^```yaml\n(on:\n[\s\S]*?)^```$/m.exec(text) ?? [];
  if (caller === undefined) throw new Error('the README shows no workflow');
  return caller;
}

async function move(way: WorkflowMove) {
  const records: DispatchRecord[] = [];
  const lines: string[] = [];
  const began = performance.now();
  const { account, rehearsal } = await rehearse(
    small,
    (line) => {
      if (/dispatch:/.test(line)) console.log(Math.round(performance.now() - began), line);
      lines.push(line);
    },
    () => () => undefined,
    async () => undefined,
    byWorkflow(way, (record) => records.push(record)),
  ).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}\n${lines.slice(-80).join('\n')}`, {
      cause: error,
    });
  });
  console.log(Math.round(performance.now() - began), rehearsal.downtimeSeconds);
  return { account, rehearsal, records };
}

describe.skipIf(act === undefined)('migrate.yml under act', () => {
  test('a runner dies in the final pass; a second dispatch, in the other form, goes on', {
    timeout: 400_000,
  }, async () => {
    const death = { at: 'Run Main activate', from: 'activate' };
    const { account, records } = await move({ form: (process.env.FORM ?? 'gated') as 'gated', ...(process.env.KILL ? { death } : {}), caller: callerOfReadme() });
    for (const { inputs, code, succeeded, failed, artifacts } of records)
      console.log(inputs, code, succeeded, failed, artifacts);
    console.log(records.at(-1)?.log.split('\n').filter((line) => /error/.test(line)));
    expect(account).toMatchObject({
      lost: [],
      doubled: [],
      bounced: [],
      uidChanges: [],
      pending: [],
    });
  });
});
