import { expect, test } from 'vitest';
import { rehearse } from '../rehearsal/run.ts';

/*
 * The whole move of a relay under traffic, small: `npm run rehearse -- --system chatmail`.
 */

test('a relay moves, and every message arrives once', { timeout: 600_000 }, async () => {
  const lines: string[] = [];
  const { rehearsal, account } = await rehearse(
    {
      system: 'chatmail',
      mailboxes: 12,
      messages: 5,
      rate: 10,
      freeze: undefined,
      keep: false,
      out: undefined,
      seed: undefined,
    },
    (line) => lines.push(line),
    () => () => undefined,
    async () => undefined,
  ).catch((error: Error) => {
    throw new Error(`${error.message}\n${lines.slice(-60).join('\n')}`, { cause: error });
  });
  expect(account).toMatchObject({
    lost: [],
    doubled: [],
    bounced: [],
    uidChanges: [],
    pending: [],
  });
  expect(rehearsal.faults).toEqual([]);
  expect(rehearsal.smtpRefusedSeconds).toBe(0);
  expect(rehearsal.heldInOldQueue).toBeGreaterThanOrEqual(10);
  expect(rehearsal.clean).toBe(true);
});
