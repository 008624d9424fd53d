import { expect, it } from 'vitest';
import { inTurns } from './in-turns.ts';

it('does so many at a time, all of them, and keeps their order', async () => {
  let [now, most] = [0, 0];
  const results = await inTurns([...Array(305).keys()], 4, async (number) => {
    now += 1;
    most = Math.max(most, now);
    await new Promise(setImmediate);
    now -= 1;
    return number * 2;
  });
  expect(most).toBe(4);
  expect(results).toEqual([...Array(305).keys()].map((number) => number * 2));
});

it('fails with the first that fails', async () => {
  const work = async (number: number) => {
    if (number === 2) throw new Error('two');
    return number;
  };
  await expect(inTurns([1, 2, 3], 2, work)).rejects.toThrow('two');
});
