import { UserError } from '../errors.ts';
import { endPasses } from '../transfer/ending.ts';
import { compareOrRepair, copyFinally, copyLive } from './copying.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

export async function transfer(context: StageContext): Promise<Stage> {
  switch (context.inputs.pass) {
    case 'live':
      return {
        action: 'transfer live',
        steps: [always('copy', 'Copy while OLD serves', () => copyLive(context))],
        onFailure: () => dismissKey(context),
      };
    case 'final':
      return {
        action: 'transfer final',
        steps: [
          ...(await context.system.steps('queue', context)),
          always('copy', 'Copy what changed since the last pass', () => copyFinally(context)),
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
  await endPasses(context.old, context.new, context.migration.name);
}
