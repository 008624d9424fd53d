import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult } from '../../src/driver/run-action.ts';
import type { Migration } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { type Action, type Fault, type Moment, mostSteps } from './drawing.ts';
import { inject, type Victim } from './faults.ts';
import { watchJournal } from './watch.ts';

/** A fault that happened, and where. */
export interface Fired {
  readonly kind: Fault['kind'];
  readonly host: Fault['host'];
  readonly action: Action;
  readonly step: string;
  readonly moment: Moment;
  /** False: there was nothing to break at that time. */
  hit: boolean;
}

export interface StageRun {
  readonly result: ActionResult;
  /** Of the run that took over, where there was one. */
  readonly second: ActionResult | undefined;
  readonly fired: readonly Fired[];
  /** Titles of the steps that were begun. */
  readonly titles: readonly string[];
}

/** Stage and inputs of a row of the table of states. */
export function stageOf(action: Action): readonly [StageName, Record<string, string>] {
  if (action === 'transfer live') return ['transfer', { pass: 'live' }];
  if (action === 'transfer final') return ['transfer', { pass: 'final' }];
  return [action, {}];
}

/** Runs a stage with what is to go wrong in it; ends when stage and faults are over. */
export async function runStage(
  lab: Lab,
  migration: Migration,
  action: Action,
  inputs: Readonly<Record<string, string>>,
  faults: readonly Fault[],
): Promise<StageRun> {
  return new Staged(lab, migration, action, inputs, faults).run();
}

class Staged {
  readonly #lab: Lab;
  readonly #migration: Migration;
  readonly #action: Action;
  readonly #inputs: Readonly<Record<string, string>>;
  readonly #waiting: Fault[];
  readonly #gone = new AbortController();
  readonly #cancel = new AbortController();
  readonly #titles: string[] = [];
  readonly #fired: Fired[] = [];
  readonly #work: Promise<void>[] = [];
  #group = 0;
  #second: ActionResult | undefined;
  #phase: Moment = 'before';
  /** The last step whose intent was seen. */
  #intended = 0;
  #end: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  constructor(
    lab: Lab,
    migration: Migration,
    action: Action,
    inputs: Readonly<Record<string, string>>,
    faults: readonly Fault[],
  ) {
    this.#lab = lab;
    this.#migration = migration;
    this.#action = action;
    this.#inputs = inputs;
    this.#waiting = [...faults];
  }

  async run(): Promise<StageRun> {
    const [stage, own] = stageOf(this.#action);
    const journal =
      this.#waiting.length === 0
        ? undefined
        : watchJournal(this.#lab, ({ kind }) => {
            // An outcome may come with the intent of the step after, which has begun by then.
            if (kind === 'intent') this.#intended = this.#titles.length;
            else if (this.#intended !== this.#titles.length) return;
            this.#phase = kind === 'intent' ? 'during' : 'after';
            this.#reach(kind === 'intent' ? 'intent' : 'after');
          });
    try {
      const result = await this.#migration.run(
        stage,
        { ...own, ...this.#inputs },
        {
          signal: this.#cancel.signal,
          runnerGone: this.#gone.signal,
          onStart: (group) => {
            this.#group = group;
          },
          onLine: (line) => {
            if (line.startsWith('== ')) this.#begin(line.slice(3));
          },
        },
      );
      this.#end();
      await Promise.all(this.#work);
      if (this.#titles.length > mostSteps[this.#action])
        throw new Error(
          `${this.#action} has ${this.#titles.length} steps, drawing.ts knows ${mostSteps[this.#action]}`,
        );
      return { result, second: this.#second, fired: this.#fired, titles: this.#titles };
    } finally {
      this.#end();
      journal?.stop();
      await Promise.allSettled(this.#work);
    }
  }

  #begin(title: string): void {
    // A step that was done already has neither intent nor outcome: what waits for them happens now.
    this.#overdue();
    this.#titles.push(title);
    this.#phase = 'before';
    this.#reach('before');
  }

  /** Faults of the step that is under way, at this moment of it. */
  #reach(moment: Moment): void {
    for (const fault of this.#take((fault) => fault.step === this.#titles.length)) {
      if (fault.moment === moment) this.#fire(fault);
      else if (fault.moment === 'during' && moment === 'intent')
        setTimeout(() => this.#fire(fault), fault.delay);
      else this.#waiting.push(fault);
    }
  }

  #overdue(): void {
    const passed = this.#titles.length;
    for (const fault of this.#take((fault) => passed > 0 && fault.step === passed))
      this.#fire(fault);
  }

  #take(test: (fault: Fault) => boolean): readonly Fault[] {
    const taken = this.#waiting.filter(test);
    for (const fault of taken) this.#waiting.splice(this.#waiting.indexOf(fault), 1);
    return taken;
  }

  #fire(fault: Fault): void {
    const { kind, host } = fault;
    const moment = this.#phase === 'during' && fault.moment === 'intent' ? 'intent' : this.#phase;
    const step = this.#titles.at(-1) ?? '';
    const fired: Fired = { kind, host, action: this.#action, step, moment, hit: true };
    this.#fired.push(fired);
    this.#work.push(
      inject[kind](fault, this.#lab, this.#victim).then((hit) => {
        fired.hit = hit;
      }),
    );
  }

  get #victim(): Victim {
    const signal = (name: NodeJS.Signals) => {
      try {
        process.kill(-this.#group, name);
      } catch {
        // It had ended by itself.
      }
    };
    return {
      kill: () => this.#gone.abort(),
      cancel: () => this.#cancel.abort(),
      suspend: () => signal('SIGSTOP'),
      wake: () => signal('SIGCONT'),
      takeOver: async () => {
        const [stage, own] = stageOf(this.#action);
        this.#second = await this.#migration.run(stage, { ...own, ...this.#inputs });
      },
      ended: this.#ended,
    };
  }
}
