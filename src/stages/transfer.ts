import { UserError } from '../errors.ts';
import { askedOnce } from '../hosts/asked-once.ts';
import { endPasses } from '../transfer/ending.ts';
import { compareOrRepair, contents, copyFinally, copyLive } from './copying.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** `transfer`: one pass, of the kind that the input `pass` names. */
export async function transfer(context: StageContext): Promise<Stage> {
  switch (context.inputs.pass) {
    case 'live':
      return {
        action: 'transfer live',
        steps: [always('copy', 'Copy while OLD serves', () => copyLive(context))],
        onFailure: () => dismissKey(context),
      };
    case 'final': {
      // Asked once, and while the stage begins: the configuration of a frozen host stands still.
      const found = askedOnce(() => contents(context));
      // The step that needs it is told of a failure; a dry run needs nothing.
      if (!context.inputs.dryRun) found().catch(() => undefined);
      return {
        action: 'transfer final',
        steps: [
          ...(await context.system.steps('queue', context)),
          always('copy', 'Copy what changed since the last pass', async () =>
            copyFinally(context, await found()),
          ),
          always('compare', 'Compare both hosts', async () =>
            compareOrRepair(context, await found()),
          ),
        ],
        onFailure: () => dismissKey(context),
      };
    }
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
