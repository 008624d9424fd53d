import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult } from '../../src/driver/run-action.ts';
import type { Scene } from './scene.ts';

/** When a runner dies: as a step begins, or so many milliseconds into it. */
export interface Death {
  /** Counts from 1; a stage has as many as its steps, those too that are done already. */
  readonly step: number;
  readonly after: number;
}

export interface Killed {
  /** Title of the step, or undefined where the stage ended before. */
  readonly title: string | undefined;
  readonly result: ActionResult;
}

/** How the driver shows that a step begins. */
const groupStart = /^== /;

/** Runs a stage and kills its whole process tree in one of its steps. */
export async function runAndKill(
  { migration }: Scene,
  stage: StageName,
  inputs: Record<string, string>,
  death: Death,
): Promise<Killed> {
  let group = 0;
  let seen = 0;
  let title: string | undefined;
  const die = () => {
    try {
      process.kill(-group, 'SIGKILL');
    } catch {
      // It had ended by itself.
    }
  };
  const result = await migration.run(
    stage,
    { ...inputs, 'force-unlock': 'true' },
    {
      onStart: (pid) => {
        group = pid;
      },
      onLine: (line) => {
        if (!groupStart.test(line)) return;
        seen += 1;
        if (seen !== death.step) return;
        title = line.replace(groupStart, '');
        if (death.after === 0) die();
        else setTimeout(die, death.after);
      },
    },
  );
  return { title, result };
}

/** Kills a stage in every step, one run each, going on where the last one died, until it has ended. */
export async function killEverywhere(
  stage: Scene,
  name: StageName,
  inputs: Record<string, string>,
  delays: readonly number[],
  covered: (stage: string, title: string, after: number) => void,
): Promise<void> {
  for (let step = 1; step < 40; step += 1) {
    for (const after of delays) {
      const { title, result } = await runAndKill(stage, name, inputs, { step, after });
      if (title === undefined) {
        if (result.code !== 0) throw new Error(`${name} after kills:\n${result.log}`);
        return;
      }
      covered(name, title, after);
      if (result.code !== 0 && result.code !== 137)
        throw new Error(`${name}, killed in "${title}" after ${after} ms:\n${result.log}`);
    }
  }
}
