import { setTimeout as sleep } from 'node:timers/promises';
import type { ActionResult } from '../../src/driver/run-action.ts';
import { type Migration, notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { type Action, type Drawing, type Fault, firstStage } from './drawing.ts';
import { type Fired, runStage } from './stage-run.ts';

/** One stage as it was run, for the record of a run that went wrong. */
export interface Attempt {
  readonly action: Action;
  readonly at: number;
  readonly seconds: number;
  readonly code: number;
  readonly log: string;
}

export interface Operated {
  readonly fired: readonly Fired[];
  readonly attempts: readonly Attempt[];
}

/** More attempts than faults can explain. */
const mostAttempts = 40;
const mostFailures = 5;

/**
 * Who runs the migration: stage after stage, mends what broke, runs again what failed, does what a
 * refusal says. Knows nothing but what the stages print.
 */
export class Operator {
  readonly #lab: Lab;
  readonly #migration: Migration;
  readonly #drawing: Drawing;
  readonly #hooks: Hooks;
  readonly #faults: Fault[];
  readonly #fired: Fired[] = [];
  readonly attempts: Attempt[] = [];
  #digest = '';
  #failures = 0;
  #force = false;

  constructor(lab: Lab, migration: Migration, drawing: Drawing, hooks: Hooks) {
    this.#lab = lab;
    this.#migration = migration;
    this.#drawing = drawing;
    this.#hooks = hooks;
    this.#faults = [...drawing.faults];
  }

  get fired(): readonly Fired[] {
    return this.#fired;
  }

  /** To the end of the way that was drawn. */
  async operate(): Promise<void> {
    const { last, backAfter, from } = this.#drawing;
    let next: Action = firstStage[from];
    while (this.attempts.length < mostAttempts) {
      await this.#hooks.before(next);
      const result = await this.#attempt(next);
      if (result.code === 0) {
        this.#failures = 0;
        if (next === 'rollback') return;
        if (next === last) {
          if (backAfter === undefined) return;
          next = 'rollback';
          continue;
        }
        await this.#hooks.after(next);
        next = following(result, next);
      } else {
        const after = await this.#afterFailure(result, next);
        // Another try had finished the migration.
        if (after === 'none') return;
        next = after;
      }
    }
    throw new Error(`no end after ${mostAttempts} stages`);
  }

  async #attempt(action: Action): Promise<ActionResult> {
    const now = this.#faults.filter((fault) => fault.action === action);
    for (const fault of now) this.#faults.splice(this.#faults.indexOf(fault), 1);
    // Of two faults in one stage the second waits for the next run of that stage.
    const [first, ...rest] = now;
    this.#faults.push(...rest);
    const inputs = {
      ...(this.#force ? { 'force-unlock': 'true' } : {}),
      ...(action === 'finish' ? { 'plan-digest': this.#digest } : {}),
    };
    const at = Date.now();
    const ran = await runStage(this.#lab, this.#migration, action, inputs, first ? [first] : []);
    const result = ran.second ?? ran.result;
    this.#keep(action, at, ran.result);
    if (ran.second) this.#keep(action, at, ran.second);
    this.#fired.push(...ran.fired);
    this.#digest = result.outputs['plan-digest'] || this.#digest;
    this.#force = false;
    return result;
  }

  #keep(action: Action, at: number, { code, log }: ActionResult): void {
    this.attempts.push({ action, at, seconds: (Date.now() - at) / 1000, code, log });
  }

  async #afterFailure({ log }: ActionResult, action: Action): Promise<Action | 'none'> {
    const at = notBefore(log);
    if (at !== undefined && action === 'freeze') {
      await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
      return action;
    }
    const ordered = /is out of order: .*its next stage is ([a-z -]+)/.exec(log)?.[1];
    if (ordered !== undefined && action !== 'rollback') return ordered.trim() as Action | 'none';
    if (/is at work on this migration/.test(log)) {
      this.#force = true;
      return action;
    }
    this.#failures += 1;
    if (this.#failures > mostFailures) throw new Error(`${action} fails again and again:\n${log}`);
    // A host that starts takes its time.
    await sleep(/can't connect to/.test(log) ? 5000 : 500);
    return action;
  }
}

export interface Hooks {
  before(action: Action): Promise<void>;
  after(action: Action): Promise<void>;
}

function following(result: ActionResult, action: Action): Action {
  const next = result.outputs['next-stage'];
  if (next === undefined || next === '') throw new Error(`${action} names no next stage`);
  return next as Action;
}
