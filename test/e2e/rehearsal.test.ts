import { expect, test } from 'vitest';
import type { RehearsalOptions } from '../rehearsal/options.ts';
import { rehearse } from '../rehearsal/run.ts';

/*
 * A whole migration in each way, under traffic: the main job, small.
 */

const small: RehearsalOptions = {
  system: 'postfix-dovecot',
  mailboxes: 30,
  messages: 20,
  rate: 10,
  freeze: 'hold',
  keep: false,
  out: undefined,
  seed: undefined,
};

async function run(options: Partial<RehearsalOptions>) {
  const lines: string[] = [];
  try {
    return await rehearse(
      { ...small, ...options },
      (line) => lines.push(line),
      () => () => undefined,
      async () => undefined,
    );
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${lines.slice(-60).join('\n')}`, {
      cause: error,
    });
  }
}

test('hold: OLD accepts all the time, and every message arrives once', {
  timeout: 400_000,
}, async () => {
  const { rehearsal, account } = await run({ freeze: 'hold' });
  expect(account).toMatchObject({
    lost: [],
    doubled: [],
    bounced: [],
    uidChanges: [],
    pending: [],
  });
  expect(rehearsal.smtpRefusedSeconds).toBe(0);
  expect(rehearsal.heldInOldQueue).toBeGreaterThanOrEqual(20);
  expect(rehearsal.reachedNewByDns).toBeGreaterThanOrEqual(100);
  expect(rehearsal.clean).toBe(true);
});

test('stop: senders wait, and every message arrives once', { timeout: 400_000 }, async () => {
  const { rehearsal, account } = await run({ freeze: 'stop' });
  expect(account).toMatchObject({
    lost: [],
    doubled: [],
    bounced: [],
    uidChanges: [],
    pending: [],
  });
  expect(rehearsal.clean).toBe(true);
});
