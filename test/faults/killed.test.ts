import { expect, test } from 'vitest';
import { scene } from './scene.ts';
import { type Covered, counting, everyStep, withoutDns } from './torture.ts';

/*
 * The short form of `npm run torture`: one migration there and back, whose runner is killed as each
 * step begins.
 */

test('killed as every step begins, there and back: each message once, one server', {
  timeout: 400_000,
}, async () => {
  const here = await scene(withoutDns);
  const table: Covered = new Map();
  try {
    await everyStep(here, [40], counting(table));
  } finally {
    await here.end();
  }
  console.log([...table.keys()].join('\n'));
  expect(table.size).toBeGreaterThan(25);
});
