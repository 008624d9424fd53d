import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { has } from '../hosts/marks.ts';
import { declareDead, takeAlone } from './dead.ts';
import { thaw } from './freeze.ts';
import { handOver } from './ownership.ts';
import type { Stage, StageContext } from './stage.ts';

/** `activate`: service changes hands, then NEW is proved and opened. */
export async function activate(context: StageContext): Promise<Stage> {
  const { declareDead: dead } = context.inputs;
  if (dead === 'new') throw new UserError('NEW can not be activated and be dead. Run rollback');
  if (dead === 'old') return activateAlone(context);
  return {
    action: 'activate',
    steps: [
      ...handOver(context),
      thawTarget(context),
      ...(await context.system.steps('activate', context)),
      ...(context.system.carry?.(context) ?? []),
      ...(await context.system.steps('forward', context)),
      ...(await context.system.steps('unfence', context)),
    ],
  };
}

/** OLD died after the final pass: nothing that it had acknowledged by then is missing on NEW. */
async function activateAlone(context: StageContext): Promise<Stage> {
  const { old, target, migration, system } = context;
  const queue =
    migration.freeze.mode === 'hold'
      ? 'What OLD accepted during the freeze waits in its queue, and is lost with it'
      : 'Its queue was copied';
  return {
    action: 'activate',
    steps: [
      declareDead(
        context,
        old,
        `NEW takes service without a release by OLD, which must never run again: it would thaw and serve too. ${queue}`,
      ),
      takeAlone(target),
      thawTarget(context),
      ...(await system.steps('activate', context)),
      ...(await system.steps('unfence', context)),
    ],
  };
}

/** A rollback that was cut off may have frozen NEW: it owns the mailboxes again, so it serves again. */
function thawTarget(context: StageContext): Step {
  const { target } = context;
  return {
    id: 'thaw-new',
    title: 'End a freeze of NEW that a rollback began',
    done: async () => !(await has(target, 'frozen')),
    do: async () => {
      await thaw(context, target);
      return undefined;
    },
  };
}
