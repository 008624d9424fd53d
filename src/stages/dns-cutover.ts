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
      always('move-address', 'Move the address to NEW', () => moveAddress(context, words)),
    ],
  };
}

/**
 * The user's own command, on the runner: no shell, so nothing in it is taken for syntax. It is told the
 * number of this run's lock, which only grows: what moves the address can refuse a run that was
 * overtaken and woke after the last look at the lock.
 */
export async function moveAddress(
  context: StageContext,
  words: readonly string[],
): Promise<string> {
  await confirmLock(context);
  // The intent of this very step, written under this run's lock.
  const lock = context.history().at(-1)?.lock ?? 0;
  const [program = '', ...args] = words;
  const env = { ...(process.env as Record<string, string>), MAIL_CUTOVER_LOCK: String(lock) };
  const result = await getExecOutput(program, args, { ignoreReturnCode: true, silent: true, env });
  if (result.exitCode !== 0)
    throw new UserError(
      `${program} failed with exit code ${result.exitCode}: ${result.stderr.trim().split('\n').at(-1) ?? ''}. Correct address-command, then run this stage again`,
    );
  return `${program} succeeded`;
}
