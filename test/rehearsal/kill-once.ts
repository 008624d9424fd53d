import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult, RunActionOptions } from '../../src/driver/run-action.ts';
import { Random } from './random.ts';

/** Runs one stage, as `Migration.run` does. */
export type RunStage = (
  stage: StageName,
  inputs: Record<string, string>,
  options: Partial<RunActionOptions>,
) => Promise<ActionResult>;

/** Where a runner was killed. */
export interface Death {
  /** And which pass, of `transfer`. */
  readonly stage: string;
  /** Title of the step that was under way. */
  readonly step: string;
  /** Milliseconds after that step had begun. */
  readonly after: number;
}

/** Stages that change hosts, in the order in which they come; `transfer` twice. */
const mortal: readonly StageName[] = [
  'prepare',
  'transfer',
  'freeze',
  'transfer',
  'activate',
  'dns-cutover',
  'drain',
];

const delays = [0, 20, 80, 200, 500] as const;

/** How the driver shows that a step begins. */
const stepBegins = /^== /;
/** How a dry run names the steps that there are. */
const stepThatWould = /^(?:would|already done): /gm;

/**
 * Kills the runner once, in a stage, step and moment drawn from the seed, as if its machine had gone.
 * A dry run tells how many steps the drawn stage has. A step that is over before its moment leaves it
 * to the beginning of the next one, and a stage to that of the next stage. `death` tells where it was;
 * undefined, and the run proves nothing, where even the last stage ended before it noticed.
 */
export class KillOnce {
  readonly #run: RunStage;
  readonly #random: Random;
  readonly #chosen: number;
  #reached = -1;
  #death: Death | undefined;

  constructor(run: RunStage, seed: number) {
    this.#run = run;
    this.#random = new Random(seed + 77);
    this.#chosen = this.#random.between(0, mortal.length - 1);
  }

  get death(): Death | undefined {
    return this.#death;
  }

  /** Whether the runner is to be killed in this stage, or, where that failed, in a later one. */
  comes(stage: StageName): boolean {
    if (mortal.includes(stage)) this.#reached += 1;
    return mortal.includes(stage) && this.#death === undefined && this.#reached >= this.#chosen;
  }

  /** Runs a stage to the death of its runner. False: it came to its end before. */
  async kill(stage: StageName, inputs: Readonly<Record<string, string>>): Promise<boolean> {
    const { step, after } = await this.#draw(stage, inputs);
    const gone = new AbortController();
    let seen = 0;
    let begunAt = 0;
    let title = '';
    const die = () => {
      if (gone.signal.aborted) return;
      const name = [stage, inputs.pass].filter((word) => word !== undefined).join(' ');
      this.#death = { stage: name, step: title, after: Math.round(performance.now() - begunAt) };
      gone.abort();
    };
    let timer: NodeJS.Timeout | undefined;
    const result = await this.#run(
      stage,
      { ...inputs },
      {
        runnerGone: gone.signal,
        onLine: (line) => {
          if (!stepBegins.test(line) || gone.signal.aborted) return;
          seen += 1;
          title = line.replace(stepBegins, '');
          begunAt = performance.now();
          if (seen < step) return;
          if (seen > step || after === 0) die();
          else timer = setTimeout(die, after);
        },
      },
    );
    clearTimeout(timer);
    if (result.code === 137) return true;
    this.#death = undefined;
    if (result.code !== 0)
      throw new Error(`${stage} ended with ${result.code} before it was killed:\n${result.log}`);
    return false;
  }

  async #draw(
    stage: StageName,
    inputs: Readonly<Record<string, string>>,
  ): Promise<{ step: number; after: number }> {
    if (this.#reached > this.#chosen) return { step: 1, after: 0 };
    const dry = await this.#run(
      stage,
      { ...inputs, 'dry-run': 'true' },
      { onLine: () => undefined },
    );
    const steps = dry.log.match(stepThatWould)?.length ?? 0;
    if (dry.code !== 0 || steps === 0)
      throw new Error(`${stage} as a dry run ended with ${dry.code}:\n${dry.log}`);
    const step = this.#random.between(1, steps);
    // Nothing comes after the last step of all.
    const isLast = step === steps && this.#reached === mortal.length - 1;
    return { step, after: isLast ? 0 : this.#random.pick(delays) };
  }
}
