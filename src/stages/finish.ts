import { UserError } from '../errors.ts';
import { restoreSteps } from './addresses.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** The end: what helped the move goes, OLD's fence and `finished.json` stay. OLD's mail is not touched. */
export async function finish(context: StageContext): Promise<Stage> {
  const { migration, inputs, old, new: target } = context;
  if (inputs.planDigest === undefined)
    throw new UserError(
      'finish can not be undone: set the input plan-digest to the digest that was approved',
    );
  if (inputs.eraseOldMail !== undefined)
    throw new UserError(
      'erasing the mail of OLD is not built yet. Leave erase-old-mail empty, and erase OLD yourself',
    );
  return {
    action: 'finish',
    steps: [
      ...(migration.cutover === 'dns' ? restoreSteps(context, 'ttl') : []),
      ...(await context.system.steps('finish', context)),
      always('mark-finished', 'Leave a note on both hosts', async () => {
        const note = `${JSON.stringify({ migration: migration.name, finished: new Date().toISOString(), planDigest: inputs.planDigest })}\n`;
        await Promise.all(
          [old, target].map((host) => host.edit('put', ['finished.json'], { stdin: note })),
        );
        return undefined;
      }),
    ],
  };
}
