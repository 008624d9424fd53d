import type { Step } from '../engine/step.ts';
import { command } from '../hosts/command.ts';
import { proveStill } from '../mail-systems/stillness.ts';
import { demandLowTtl } from './addresses.ts';
import { contents } from './copying.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

export async function freeze(context: StageContext): Promise<Stage> {
  if (context.migration.cutover === 'dns') demandLowTtl(context);
  return {
    action: 'freeze',
    steps: [
      limit(context),
      ...(await context.system.steps('freeze', context)),
      always('prove-still', 'Prove that the mailboxes on OLD stand still', async () =>
        proveStill(context.old, (await contents(context)).stores),
      ),
    ],
    onFailure: () => thaw(context),
  };
}

/** The limit comes first: from here on OLD thaws by itself, whatever happens to the runner. */
function limit(context: StageContext): Step {
  const { old, migration } = context;
  const minutes = migration.freeze['max-minutes'];
  return {
    id: 'limit',
    title: `Let OLD thaw by itself after ${minutes} minutes`,
    done: async () => false,
    do: async () => `until ${await old.edit('begin-freeze', [String(minutes)], { purpose: 'set the limit of the freeze' })}`,
  };
}

/** Takes service on OLD up again. */
export async function thaw(context: StageContext): Promise<void> {
  const { old } = context;
  await old.change(command([old.hostctl, 'thaw-locked'], { purpose: 'thaw' }));
  context.log.info(`${old.label} serves again`);
}
