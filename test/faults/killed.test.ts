import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCourse, sample, thereAndBack } from '../torture/systematic.ts';
import { complaints } from '../torture/verdict.ts';
import { World } from '../torture/world.ts';

/*
 * The short form of `npm run torture -- --systematic`: one migration there and back under mail load,
 * whose runner is killed in steps of the stages between freeze and rollback, drawn from a fixed seed.
 */

const seed = 20;

let world: World;

beforeAll(async () => {
  world = await World.start(() => undefined);
});
afterAll(() => world?.stop());

test('killed again and again, there and back: each message once, one server', {
  timeout: 600_000,
}, async () => {
  const stages = ['freeze', 'transfer final', 'activate', 'rollback'] as const;
  const { fired, verdict, failure } = await runCourse(
    world,
    thereAndBack,
    sample(seed, stages),
    seed,
  );
  expect(failure).toBeUndefined();
  expect(verdict && complaints(verdict)).toEqual([]);
  expect(verdict?.delivered).toBe(verdict?.sent);
  expect(new Set(fired.map(({ action, step }) => `${action}: ${step}`)).size).toBeGreaterThan(8);
});
