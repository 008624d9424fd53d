import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { has } from '../hosts/marks.ts';
import { restoreSteps } from './addresses.ts';
import { contents } from './copying.ts';
import { withoutOld } from './dead.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/**
 * The end: what helped the move goes; OLD's fence and `finished.json` stay. OLD's mail is deleted
 * only when told to in words.
 */
export async function finish(context: StageContext): Promise<Stage> {
  const { migration, system } = context;
  demandDigest(context);
  const dead = withoutOld(context, 'finish');
  if (dead.length > 0 && context.erase)
    throw new UserError(
      'OLD was declared dead, so its mail can not be erased. Leave erase-old-mail empty',
    );
  const stores = dead.length > 0 ? [] : (await contents(context)).stores;
  return {
    action: 'finish',
    steps: [
      ...dead,
      always('list', 'What is removed, and can not be undone', async () => {
        const lines = [...system.removes(context), ...erasure(context, stores)];
        for (const line of lines) context.log.info(line);
        return `${lines.length} things`;
      }),
      ...(migration.cutover === 'dns' ? restoreSteps(context, 'ttl') : []),
      ...(await system.steps('finish', context)),
      ...(context.erase ? [erase(context, stores)] : []),
      always('mark-finished', 'Leave a note on both hosts', () => note(context)),
    ],
  };
}

/** What can't be undone is done only for the plan that was approved. */
function demandDigest(context: StageContext): void {
  const given = context.inputs.planDigest;
  const recorded = context.entries().at(-1)?.planDigest;
  if (given === undefined)
    throw new UserError(
      'finish can not be undone: set the input plan-digest to the digest that was approved',
    );
  if (recorded !== undefined && given !== recorded)
    throw new UserError(
      `input plan-digest: ${given.slice(0, 12)}… is not the plan that this migration went by, which is ${recorded.slice(0, 12)}…. Nothing was changed`,
    );
}

function erasure(context: StageContext, stores: readonly string[]): readonly string[] {
  return context.erase
    ? stores.map((store) => `OLD: all mail in ${store}`)
    : ['OLD: no mail; delete it yourself when you are sure, or run finish with erase-old-mail'];
}

function erase(context: StageContext, stores: readonly string[]): Step {
  const { old, new: fresh, system } = context;
  return always('erase', 'Erase the mail on OLD', async () => {
    const marks = await Promise.all([
      has(old, 'released'),
      has(old, 'fenced'),
      has(fresh, 'owner'),
    ]);
    if (!marks.every(Boolean))
      throw new UserError('NEW does not own the mailboxes, so nothing is erased on OLD');
    return system.erase(old, stores);
  });
}

async function note(context: StageContext): Promise<undefined> {
  const { migration, inputs, old, new: fresh, erase, dead } = context;
  const finished = new Date().toISOString();
  const text = `${JSON.stringify({ migration: migration.name, finished, planDigest: inputs.planDigest, erased: erase })}\n`;
  await Promise.all(
    (dead === 'old' ? [fresh] : [old, fresh]).map((host) =>
      host.edit('put', ['finished.json'], { stdin: text }),
    ),
  );
}
