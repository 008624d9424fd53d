import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import type { MailContext } from '../mail-system.ts';
import { doorSteps } from './door.ts';
import { fence, fenced, runningUnits, stopUnits } from './fence.ts';
import { dovecotUnits, milterUnits, postfixUnits } from './names.ts';
import { missingOwners } from './owners.ts';
import { countQueue } from './queue.ts';
import { untilPostfixIsDown, waitUntilNothing } from './waiting.ts';

const fencedUnits = [...dovecotUnits, ...postfixUnits, ...milterUnits];

/** NEW is closed before anything is brought to it: nothing delivers, serves, or starts at boot. */
export function prepareSteps(
  context: MailContext,
  owners: () => Promise<readonly string[]>,
  /** `provision: copy`: what brings accounts and configuration, for a NEW that is fenced. */
  copying: readonly Step[] = [],
  units: readonly string[] = fencedUnits,
): readonly Step[] {
  const { new: target } = context;
  return [
    ...afterReturn(context, units),
    ...copying,
    {
      id: 'owners',
      title: 'Check that every owner of mail on OLD exists on NEW',
      done: async () => false,
      do: async () => {
        const wanted = await owners();
        const missing = await missingOwners(context, wanted);
        if (missing.length > 0)
          throw new UserError(
            `${target.label}: these owners of mail on OLD don't exist: ${missing.join(', ')}. Create them (their numbers may differ), then run prepare again`,
          );
        return `${wanted.length} owners, by name`;
      },
    },
    ...doorSteps(context),
  ];
}

/**
 * Fences NEW. Where it has served before and given all back, it sends on what still comes to it:
 * that ends here, once its queue is empty.
 */
function afterReturn(context: MailContext, fencing: readonly string[]): readonly Step[] {
  const { old, new: target } = context;
  return [
    {
      id: 'empty-queue',
      title: 'Wait until NEW has sent on to OLD what still came to it',
      done: async () => !(await has(target, 'forwarding')) || (await has(target, 'fenced')),
      do: async () => {
        await target.change(command(['postqueue', '-f'], { purpose: 'flush the queue' }));
        await waitUntilNothing(target, 'postqueue -j', {
          seconds: 60,
          what: 'its queue is empty',
          cure: 'Look at `postqueue -p` on NEW, then run prepare again; OLD goes on serving',
        });
        return undefined;
      },
    },
    ...fenceSteps(context, fencing),
    {
      id: 'dismantle',
      title: 'Take away what an earlier rollback left on both hosts',
      done: async () => !(await has(target, 'frozen')) && !(await has(old, 'undo/door')),
      do: async () => {
        if (await has(target, 'forwarding')) await demandNothingCame(target);
        await target.edit('dismantle', [], { purpose: 'end the forward of NEW' });
        await old.edit('undo', ['door'], { purpose: 'take the door of OLD down' });
        return undefined;
      },
    },
  ];
}

/** Its port 25 was open until it was fenced: what came by then must not stay without a way to OLD. */
async function demandNothingCame(target: MailHost): Promise<void> {
  const count = await countQueue(target);
  if (count === 0) return;
  await liftFence(target);
  throw new UserError(
    `${target.label}: mail came to it in the moment when it was closed (messages: ${count}), so it sends on to OLD again. Run prepare again; OLD goes on serving`,
  );
}

async function liftFence(target: MailHost): Promise<void> {
  await target.edit('remove', ['fenced'], { purpose: 'lift the fence' });
  await target.edit('undo', ['fence'], { purpose: 'take the fence down' });
}

/** NEW is closed: nothing serves, delivers, or starts at boot, and whoever logs in is told. */
export function fenceSteps(
  context: MailContext,
  units: readonly string[] = fencedUnits,
): readonly Step[] {
  const { new: target } = context;
  return [
    {
      id: 'fence',
      title: 'Fence NEW: nothing is served or delivered there until it is activated',
      done: async () =>
        (await runningUnits(target, units)) === '' &&
        (await fenced(target, 'fenced', context, units)),
      do: async () => {
        await stopUnits(target, 'fence', units);
        await target.edit('put', ['fenced'], { stdin: new Date().toISOString() });
        await fence(target, 'fence', 'fenced', context, units);
        await untilPostfixIsDown(target);
        return undefined;
      },
      undo: () => liftFence(target),
    },
  ];
}
