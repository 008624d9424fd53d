import { getExecOutput } from '@actions/exec';
import { UserError } from '../errors.ts';
import { cutoverSteps } from './addresses.ts';
import { withoutOld } from './dead.ts';
import { confirmLock } from './ownership.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** `dns-cutover`: the records, or the command of the user that moves the address. */
export async function dnsCutover(context: StageContext): Promise<Stage> {
  const { migration } = context;
  const dead = withoutOld(context, 'dns-cutover');
  if (migration.cutover === 'dns')
    return { action: 'dns-cutover', steps: [...dead, ...cutoverSteps(context)] };
  const words = migration['address-command'] ?? [];
  return {
    action: 'dns-cutover',
    steps: [
      ...dead,
      always('move-address', 'Move the address to NEW', async () => {
        await confirmLock(context);
        return runOnRunner(words);
      }),
    ],
  };
}

/** The user's own command, on the runner: no shell, so nothing in it is taken for syntax. */
export async function runOnRunner(words: readonly string[]): Promise<string> {
  const [program = '', ...args] = words;
  const result = await getExecOutput(program, args, { ignoreReturnCode: true, silent: true });
  if (result.exitCode !== 0)
    throw new UserError(
      `${program} failed with exit code ${result.exitCode}: ${result.stderr.trim().split('\n').at(-1) ?? ''}. Correct address-command, then run this stage again`,
    );
  return `${program} succeeded`;
}
