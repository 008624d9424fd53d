import { UserError } from '../errors.ts';
import { restoreSteps } from './addresses.ts';
import { runOnRunner } from './dns-cutover.ts';
import { thaw } from './freeze.ts';
import { has } from './ownership.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** From any state before activation back to "OLD serves, nothing lost". */
export async function rollback(context: StageContext): Promise<Stage> {
  const { old, new: target, migration } = context;
  if (await has(old, 'released'))
    throw new UserError(
      `${old.label}: service was handed to NEW, and bringing NEW's mail back is not built yet. NEW serves; nothing was changed`,
    );
  const undo = migration['address-undo-command'];
  return {
    action: 'rollback',
    steps: [
      always('thaw', 'OLD serves again', async () => {
        await thaw(context);
        return undefined;
      }),
      ...(migration.cutover === 'dns' ? restoreSteps(context, 'all') : []),
      ...(migration.cutover === 'address' && context.state.cut && undo
        ? [always('move-address-back', 'Move the address back to OLD', () => runOnRunner(undo))]
        : []),
      always('undo-new', 'Take back what was changed on NEW', async () => {
        for (const group of ['probe', 'door', 'configuration', 'accounts', 'fence']) {
          await target.edit('undo', [group], { purpose: `undo ${group}` });
        }
        await target.edit('remove', ['fenced']);
        return undefined;
      }),
    ],
  };
}
