import { UserError } from '../errors.ts';
import { removePassKey } from '../transfer/pass-key.ts';
import { compareOrRepair, copy } from './copying.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

export async function transfer(context: StageContext): Promise<Stage> {
  switch (context.inputs.pass) {
    case 'live':
      return {
        action: 'transfer live',
        steps: [always('copy', 'Copy while OLD serves', () => copy(context, true, []))],
        onFailure: () => dismissKey(context),
      };
    case 'final':
      return {
        action: 'transfer final',
        steps: [
          ...(await context.system.steps('queue', context)),
          always('copy', 'Copy what changed since the last pass', () =>
            copy(context, false, [`${context.old.folder}/queue`]),
          ),
          always('compare', 'Compare both hosts', () => compareOrRepair(context)),
        ],
        onFailure: () => dismissKey(context),
      };
    case 'late': {
      const steps = await context.system.steps('late', context);
      if (steps.length > 0)
        return { action: 'transfer late', steps, onFailure: () => dismissKey(context) };
      throw new UserError(
        `${context.migration['mail-system']}: no late pass is needed: what still reaches OLD goes on to NEW by itself. Run drain`,
      );
    }
  }
}

async function dismissKey(context: StageContext): Promise<void> {
  await removePassKey(context.old, context.new, context.migration.name);
}
