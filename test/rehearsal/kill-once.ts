import type { StageName } from '../../src/actions/stages.ts';
import type { Migration } from '../e2e/migration.ts';
import { Random } from './random.ts';

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

/** How the driver shows that a step begins. */
const groupStart = /^== /;

/**
 * Kills the runner's whole process group once, in a stage, step and moment drawn from the seed.
 * Returns what runs a stage to its death: true when it died, false when this stage is not the one.
 * A stage that ended before its death leaves it to the next one.
 */
export function killOnce(
  migration: Migration,
  seed: number,
  say: (line: string) => void,
): (stage: StageName, inputs: Readonly<Record<string, string>>) => Promise<boolean> {
  const random = new Random(seed + 77);
  const chosen = random.between(0, mortal.length - 1);
  const death = { step: random.between(1, 6), after: random.pick([0, 20, 80, 200, 500]) };
  let index = -1;
  let dead = false;
  return async (stage, inputs) => {
    if (!mortal.includes(stage)) return false;
    index += 1;
    if (dead || index < chosen) return false;
    let group = 0;
    let seen = 0;
    let title = '';
    const die = () => {
      try {
        process.kill(-group, 'SIGKILL');
      } catch {
        // It had ended by itself.
      }
    };
    const result = await migration.run(
      stage,
      { ...inputs },
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
    dead = result.code === 137;
    if (dead) say(`killed in ${stage}, ${death.after} ms into "${title}"`);
    else if (result.code !== 0)
      throw new Error(`${stage} ended with ${result.code}:\n${result.log}`);
    return dead;
  };
}
