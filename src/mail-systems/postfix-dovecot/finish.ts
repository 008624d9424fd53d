import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { printable } from '../../hosts/printable.ts';
import { finishedGroup, type MailContext } from '../mail-system.ts';
import { mountsBelow } from '../mounts.ts';
import { carriedPorts } from './carry.ts';
import { fence, fenced, runningUnits, stopUnits } from './fence.ts';
import { dovecotUnits, latePort, names, postfixUnits } from './names.ts';
import { countQueue } from './queue.ts';
import { untilPostfixIsDown } from './waiting.ts';

/** OLD is closed for good, and what carried late mail is taken away on both hosts. */
export function finishSteps(context: MailContext): readonly Step[] {
  const { old, new: fresh, migration } = context;
  const units = [...dovecotUnits, ...postfixUnits];
  const { certificate } = names(migration);
  const hosts = context.dead === 'old' ? [fresh] : [old, fresh];
  const ofOld: readonly Step[] = [
    {
      id: 'close-old',
      title: 'Stop Postfix and Dovecot on OLD for good, and keep them from starting',
      done: async () =>
        (await runningUnits(old, units)) === '' && (await fenced(old, 'fenced', context, units)),
      do: () => closeOld(context, units),
    },
    {
      id: 'end-forward',
      title: 'Take the forwarding of OLD and the limit of its freeze away',
      done: async () => !(await has(old, 'frozen')) && !(await has(old, 'undo/freeze')),
      do: async () => {
        // What was copied belongs to NEW: it must not come back with the settings.
        await old.edit('queue-drop', [], { purpose: 'forget the copied queue' });
        await old.edit('dismantle', [], { purpose: 'end the forward' });
        return undefined;
      },
    },
  ];
  return [
    ...(context.dead === 'old' ? [] : ofOld),
    {
      id: 'close-door',
      title: `Take down NEW's doors for late mail, ports ${migration['late-mail'].port} and ${latePort(migration)}`,
      done: async () => {
        for (const host of hosts) if (await has(host, 'undo/door')) return false;
        return true;
      },
      do: async () => {
        for (const host of hosts) {
          await host.edit('undo', ['door'], { purpose: 'take the door down' });
        }
        return undefined;
      },
    },
    {
      id: 'remove-helpers',
      title: 'Remove certificates, timers and undo data on both hosts',
      done: async () => false,
      do: async () => {
        for (const host of hosts) {
          await host.change(
            command(['rm', '-f', '--', certificate], { purpose: 'remove the certificate' }),
          );
          await host.edit('clean-up', [finishedGroup], { purpose: 'remove timers and undo data' });
        }
        return undefined;
      },
    },
  ];
}

/** What `finish` removes, one line each. */
export function finishRemoves(context: MailContext): readonly string[] {
  const { migration } = context;
  const { certificate, clients, routes, transport, hold, door, lateDoor } = names(migration);
  return [
    'OLD: Postfix and Dovecot are stopped and may not start again',
    `OLD: ${routes}, the transports ${transport} and ${hold}, and the settings that route mail to NEW`,
    `NEW: the listeners ${door} and ${lateDoor}, and ${clients}`,
    ...(carriedPorts(context).length > 0
      ? ['OLD: the ports that carry clients on to NEW; NEW: the limits that were lifted for them']
      : []),
    `both: ${certificate}, the timer of the freeze, the data by which stages are undone`,
  ];
}

const byHand =
  'A program on OLD handed it in after the queue was copied, or somebody started Postfix there by hand, and nothing sends it on. Hand it in on NEW yourself and delete it on OLD, or run rollback, which delivers it on OLD';

/** A message that came at the last moment must not be locked in. */
async function closeOld(context: MailContext, units: readonly string[]): Promise<string> {
  const { old, new: fresh } = context;
  if (!(await has(old, 'released')) || !(await has(fresh, 'owner')))
    throw new UserError('NEW does not own the mailboxes, so OLD stays open. Run activate first');
  await demandEmptyQueue(
    old,
    context.migration.freeze.mode === 'hold'
      ? 'Run drain again, then finish. OLD goes on sending it to NEW'
      : byHand,
  );
  await stopUnits(old, finishedGroup, units);
  await untilPostfixIsDown(old);
  try {
    await demandEmptyQueue(
      old,
      context.migration.freeze.mode === 'hold' ? 'OLD runs again; run drain, then finish' : byHand,
    );
  } catch (error) {
    await old.edit('undo', [finishedGroup], { purpose: 'start the services again' });
    throw error;
  }
  await old.edit('put', ['fenced'], { stdin: new Date().toISOString(), purpose: 'note the fence' });
  await fence(old, finishedGroup, 'fenced', context, units);
  return 'its queue is empty';
}

async function demandEmptyQueue(host: MailHost, cure: string): Promise<void> {
  const count = await countQueue(host);
  if (count > 0) throw new UserError(`${host.label}: ${count} messages wait in its queue. ${cure}`);
}

/** Deletes what lies in the stores of OLD; the folders themselves stay, and file systems that are mounted in them. */
export async function eraseStores(host: MailHost, stores: readonly string[]): Promise<string> {
  const safe = stores.filter((store) => /^\/[^/]+\/./.test(store));
  await host.change(
    script(
      // Folders apart: no folder above a mount point can go, nor the mount point itself.
      `for store; do
         if [ -d "$store" ]; then
           find "$store" -xdev -mindepth 1 ! -type d -delete
           find "$store" -xdev -mindepth 1 -type d -empty -delete
         fi
       done
       sync`,
      safe,
      { timeout: 6 * 3600, purpose: 'erase the mail' },
    ),
  );
  const left = (await mountsBelow(host, safe)).flat().map(({ path }) => path);
  const apart = left.length === 0 ? '' : `; left as they are, file systems of their own: `;
  return `erased: ${safe.join(', ')}${apart}${left.map((path) => printable(Buffer.from(path, 'latin1'))).join(', ')}`;
}
