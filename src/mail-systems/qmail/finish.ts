import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has, mark, unmark } from '../../hosts/marks.ts';
import { ConnectionLost } from '../../hosts/ssh-connection.ts';
import { finishedGroup, type MailContext } from '../mail-system.ts';
import { mailboxPorts } from './freeze.ts';
import { restoreControl } from './prepare.ts';
import { ask, tell } from './program.ts';
import { readQueue } from './queue.ts';
import { until } from './until.ts';

const closed = ['send', 'smtpd', 'pop'] as const;

/** For a message that is on its way in; who is cut off then was told nothing, and sends it to NEW. */
const arrivingSeconds = 60;

/** OLD is closed for good, and what we put on both hosts goes. */
export function finishSteps(context: MailContext): readonly Step[] {
  const { old, new: fresh } = context;
  return [
    {
      id: 'close-old',
      title: 'Stop qmail on OLD for good, and keep it from starting',
      done: async () => (await has(old, 'fenced')) && (await open(old)) === '',
      do: () => closeOld(context),
    },
    {
      id: 'end-forward',
      title: 'Give OLD its own control files again; its services stay closed',
      done: async () => !(await has(old, 'forwarding')),
      do: async () => {
        await restoreControl(old);
        await old.edit('undo-kind', ['freeze', 'seal'], { purpose: 'make the stores writable' });
        for (const name of ['frozen', 'thawed', 'thawing', 'forwarding']) await unmark(old, name);
        return undefined;
      },
    },
    {
      id: 'remove-helpers',
      title: 'Remove timers, lists and undo data on both hosts',
      done: async () => false,
      do: async () => {
        for (const host of [old, fresh]) {
          await host.change(
            command(['rm', '-rf', '--', `${host.folder}/late`, `${host.folder}/qmail`], {
              purpose: 'remove the lists',
            }),
          );
          await host.edit('clean-up', [finishedGroup], { purpose: 'remove timers and undo data' });
        }
        return undefined;
      },
    },
  ];
}

async function open(host: MailHost): Promise<string> {
  const running = await Promise.all(closed.map((role) => ask(host, 'running', role)));
  const ports = await ask(host, 'listening', '25', ...mailboxPorts.map(String));
  return [...running, ports].filter((text) => text !== '').join('\n');
}

/**
 * A message that was acknowledged at the last moment must not be locked in: a connection goes on when the service
 * that took it is closed, and programs of the host itself send mail too. Whatever fails, OLD runs again.
 */
async function closeOld({ old, new: fresh, migration }: MailContext): Promise<string> {
  if (!(await has(old, 'released')) || !(await has(fresh, 'owner')))
    throw new UserError('NEW does not own the mailboxes, so OLD stays open. Run activate first');
  const demandEmpty = async (cure: string) => {
    const { messages, todo } = await readQueue(old, migration);
    const count = messages.length + todo;
    if (count > 0)
      throw new UserError(`${old.label}: ${count} messages wait in its queue. ${cure}`);
  };
  const demandStill = async () => {
    await tell(old, ['end-arriving', String(arrivingSeconds)]);
    await demandEmpty('OLD runs again; run drain, then finish');
  };
  try {
    await demandEmpty(
      'Run drain again, then finish; mail for others may take its time, look at qmail-qread',
    );
    await tell(old, ['close', finishedGroup, 'smtpd']);
    await demandStill();
    for (const role of closed) await tell(old, ['close', finishedGroup, role]);
    await demandStill();
  } catch (error) {
    // The step is tried again, once nothing of this try is under way.
    if (error instanceof ConnectionLost) throw error;
    await unmark(old, 'fenced');
    await old.edit('undo', [finishedGroup], { purpose: 'start the services again' });
    throw error;
  }
  await mark(old, 'fenced');
  await until(old, () => open(old), {
    seconds: 60,
    what: 'qmail is down',
    cure: 'Stop what still listens there, then run finish again',
  });
  return 'its queue is empty';
}

/** What `finish` removes, one line each. */
export function finishRemoves({ migration }: MailContext): readonly string[] {
  return [
    'OLD: qmail-send, qmail-smtpd, POP3 and IMAP are stopped and may not start again',
    `OLD: the routes to NEW in control/smtproutes; locals and virtualdomains are as they were${migration.qmail?.variant === 'mysql' ? ', and so are the tables' : ''}`,
    'both: the lists of late messages, the timer of the freeze, the data by which stages are undone',
  ];
}
