import { expect, test } from 'vitest';
import type { StageName } from '../../src/actions/stages.ts';
import { KillOnce, type RunStage } from './kill-once.ts';

/* With stages that run in this process: a few steps each, some too short to die in. */

const order: readonly StageName[] = [
  ...(['plan', 'prepare', 'transfer', 'freeze', 'transfer', 'activate'] as const),
  ...(['dns-cutover', 'verify', 'drain'] as const),
];

/** A runner whose stages have three steps; it notices its death at once, or never where `quick`. */
function runner(quick: (stage: StageName) => boolean): RunStage {
  return async (stage, inputs, { onLine, runnerGone }) => {
    const titles = [1, 2, 3].map((step) => `${stage} ${step}`);
    const ended = (code: number, log = '') => ({ code, log, outputs: {}, summary: '' });
    if (inputs['dry-run'] === 'true')
      return ended(0, titles.map((title) => `would: ${title}\n`).join(''));
    for (const title of titles) {
      if (!quick(stage)) onLine?.(`== ${title}`);
      if (runnerGone?.aborted) return ended(137);
    }
    return ended(0);
  };
}

async function migrate(seed: number, quick: (stage: StageName) => boolean): Promise<KillOnce> {
  const killer = new KillOnce(runner(quick), seed);
  for (const stage of order) if (killer.comes(stage)) await killer.kill(stage, {});
  return killer;
}

const seeds = Array.from({ length: 60 }, (_, seed) => seed);

test('the runner is killed, whatever the seed, and in every stage that changes hosts', async () => {
  const stages = new Set<string | undefined>();
  for (const seed of seeds) stages.add((await migrate(seed, () => false)).death?.stage);
  expect([...stages].sort()).toEqual(
    [...new Set(order)].filter((stage) => stage !== 'plan' && stage !== 'verify').sort(),
  );
});

test('the same seed, the same death', async () => {
  const death = async () => {
    const { stage, step } = (await migrate(7, () => false)).death ?? {};
    return [stage, step];
  };
  expect(await death()).toEqual(await death());
});

test('a stage that ends before its death leaves it to the next', async () => {
  for (const seed of seeds) {
    const { death } = await migrate(seed, (stage) => stage !== 'drain');
    expect(death).toMatchObject({ stage: 'drain' });
  }
});

test('one that is never killed says so', async () => {
  expect((await migrate(1, () => true)).death).toBeUndefined();
});
