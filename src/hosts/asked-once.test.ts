import { expect, it } from 'vitest';
import { askedOnce } from './asked-once.ts';

it('asks once, and again only after a failure', async () => {
  let asked = 0;
  const ask = askedOnce(async () => {
    asked += 1;
    if (asked === 1) throw new Error('the connection was lost');
    return asked;
  });
  await expect(ask()).rejects.toThrow('lost');
  expect(await Promise.all([ask(), ask()])).toEqual([2, 2]);
  expect(await ask()).toBe(2);
});
