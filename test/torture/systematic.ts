import { setTimeout as sleep } from 'node:timers/promises';
import type { FreezeMode } from '../../src/config/schema.ts';
import { notBefore } from '../e2e/migration.ts';
import { Random } from '../rehearsal/random.ts';
import type { Snapshot } from '../rehearsal/store.ts';
import {
  type Action,
  actions,
  type Beginning,
  type Fault,
  type Moment,
  mostSteps,
} from './drawing.ts';
import { Load } from './load.ts';
import { type Fired, runStage } from './stage-run.ts';
import { takeVerdict, type Verdict } from './verdict.ts';
import type { World } from './world.ts';

/** One migration in which the runner is killed in every step of some stages, and goes on each time. */
export interface Course {
  readonly name: string;
  readonly freezeMode: FreezeMode;
  readonly from: Beginning;
  readonly way: readonly Action[];
  readonly owner: 'old' | 'new';
}

/** Every stage once, and rollback from each kind of state that it can find, with both kinds of freeze. */
export const courses: readonly Course[] = (['hold', 'stop'] as const).flatMap((freezeMode) => [
  { name: `${freezeMode}, to the end`, freezeMode, from: 'fresh', way: actions, owner: 'new' },
  {
    name: `${freezeMode}, back from NEW`,
    ...{ freezeMode, from: 'active', way: ['rollback'], owner: 'old' },
  },
  {
    name: `${freezeMode}, back from a frozen OLD`,
    ...{ freezeMode, from: 'transferred', way: ['rollback'], owner: 'old' },
  },
]);

/** There and back in one: for the short form, which kills in some steps only. */
export const thereAndBack: Course = {
  name: 'hold, there and back',
  ...{ freezeMode: 'hold', from: 'fresh', owner: 'old' },
  way: [...actions.slice(0, actions.indexOf('dns-cutover') + 1), 'rollback'],
};

/** Which moments of a step to kill at. */
export type Choose = (action: Action, step: number) => readonly Moment[];

export const allMoments: Choose = () => ['before', 'during', 'after'];

/** One moment of every second step or so, the same for the same seed; none outside the given stages. */
export function sample(seed: number, stages: readonly Action[]): Choose {
  return (action, step) => {
    if (!stages.includes(action)) return [];
    const random = new Random(seed * 1009 + actions.indexOf(action as never) * 101 + step);
    const moment = random.pick(['before', 'during', 'after'] as const);
    return random.next() < 0.5 ? [moment] : [];
  };
}

export interface CourseResult {
  readonly course: Course;
  readonly fired: readonly Fired[];
  /** How many stages were run. */
  readonly stages: number;
  readonly verdict: Verdict | undefined;
  /** Why it did not come to its end. */
  readonly failure: string | undefined;
}

const mostStepsOfAny = 40;

/** Runs a course to the exact account, or to where a stage can't go on after a kill. */
export async function runCourse(
  world: World,
  course: Course,
  choose: Choose,
  seed = 1,
): Promise<CourseResult> {
  const startedAt = Date.now();
  const { from } = course;
  await world.reset(from, course.freezeMode);
  const before = await world.inventory(from === 'active' ? 'new' : 'old');
  const snapshots: Snapshot[] = [before];
  const load = await Load.start(seed, from !== 'transferred');
  const migration = await world.migration(course.freezeMode);
  const fired: Fired[] = [];
  let digest = '';
  let stages = 0;
  const attempt = async (action: Action, fault: Fault | undefined) => {
    for (;;) {
      const inputs = {
        'force-unlock': 'true',
        ...(action === 'finish' ? { 'plan-digest': digest } : {}),
      };
      const faults = fault === undefined ? [] : [fault];
      stages += 1;
      const ran = await runStage(world.lab, migration, action, inputs, faults);
      const { code, log, outputs } = ran.result;
      digest = outputs['plan-digest'] || digest;
      // Killed when all was done and on record.
      if (action === 'finish' && /this migration is finished/.test(log)) return ran;
      const at = action === 'freeze' ? notBefore(log) : undefined;
      if (at === undefined || ran.fired.length > 0) {
        if (code !== 0 && code !== 137)
          throw new Error(`${action} after ${JSON.stringify(fired.at(-1))}:\n${log}`);
        return ran;
      }
      await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
    }
  };
  const killEverywhere = async (action: Action) => {
    const random = new Random(seed);
    for (let step = 1; step < mostStepsOfAny; step += 1) {
      for (const moment of choose(action, step)) {
        const delay = random.between(10, 120);
        const kill = { kind: 'runner-killed', host: 'old', lasts: 0 } as const;
        const ran = await attempt(action, { ...kill, action, step, moment, delay });
        fired.push(...ran.fired);
        // The stage has no such step.
        if (ran.fired.length === 0) return;
      }
      if (step > mostSteps[action]) break;
    }
    await attempt(action, undefined);
  };
  try {
    for (const action of course.way) {
      if (action === 'rollback') snapshots.push(await world.inventory('old'));
      await killEverywhere(action);
      if (action === 'freeze') snapshots.push(await world.inventory('old'));
      if (action === 'activate') snapshots.push(await world.inventory('new'));
    }
    const { owner } = course;
    const verdict = await takeVerdict({ world, load, owner, seed: before, snapshots, startedAt });
    return { course, fired, stages, verdict, failure: undefined };
  } catch (error) {
    const failure = (error as Error).stack ?? String(error);
    return { course, fired, stages, verdict: undefined, failure };
  } finally {
    await load.close().catch(() => undefined);
    await migration.remove();
  }
}
