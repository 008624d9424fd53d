import type { Step } from '../../engine/step.ts';
import type { Contents, MailContext, MailStage, MailSystem } from '../mail-system.ts';
import { eraseStores } from '../postfix-dovecot/finish.ts';
import { activateSteps, forwardSteps, giveBackSteps, noteStuck } from './activate.ts';
import { assignSteps } from './assign.ts';
import { callersStep } from './callers.ts';
import { checks } from './checks.ts';
import { loadSteps } from './database-steps.ts';
import { drainSteps } from './drain.ts';
import { fingerprint } from './fingerprint.ts';
import { finishRemoves, finishSteps } from './finish.ts';
import { endForwardSteps, freezeSteps, mailboxPorts } from './freeze.ts';
import { readHomes, storesOf } from './homes.ts';
import { homingStep } from './homing.ts';
import { beforeReturn, lateSteps } from './late.ts';
import { configuration, fenceSteps, prepareSteps } from './prepare.ts';
import { tell } from './program.ts';
import { queueStatus } from './queue.ts';
import { refusals } from './refusals.ts';

/** qmail, notqmail and their kin: control files, Maildirs, users/assign, vpopmail's folders, MySQL patches. */
export const qmail: MailSystem = {
  name: 'qmail',
  freezeModes: ['hold'],
  service: { startTls: false, mailbox: 'pop3' },
  sendersGiveUpDays: 4,
  async refusals({ old, new: target, migration }) {
    const [there, here] = await Promise.all([
      refusals(old, migration),
      refusals(target, migration),
    ]);
    return [...there, ...here];
  },
  async checks(context, fresh) {
    return checks(context, fresh, await contents(context));
  },
  contents,
  // Units are found on each host, and POP3 is closed by its own way: see host-program.ts.
  async writers() {
    return { units: [], ports: mailboxPorts };
  },
  fingerprint: (host, { migration }) => fingerprint(host, migration),
  async steps(stage: MailStage, context: MailContext) {
    switch (stage) {
      case 'prepare':
        return prepareSteps(context, async () => (await contents(context)).stores);
      case 'fence':
        return fenceSteps(context);
      case 'door':
        return beforeReturn(context);
      case 'freeze':
        return freezeSteps(context);
      case 'queue':
        return context.source.role === 'new'
          ? assignSteps(context)
          : [noteStuck(context), ...assignSteps(context), ...loadSteps(context)];
      case 'activate':
        return activateSteps(context);
      // It opens service by service, each with what had kept it closed.
      case 'unfence':
      case 'return-queue':
        return [];
      case 'forward':
        return forwardSteps(context);
      case 'end-forward':
        return endForwardSteps(context);
      case 'late':
        return lateSteps(context);
      case 'drain':
        return [callersStep(context), ...drainSteps(context)];
      case 'finish':
        return finishSteps(context);
      // What reached it goes home by itself, while or after "after-rollback" waits for it.
      case 'take-back-late':
        return [];
      case 'after-rollback':
        return [...giveBackSteps(context), ...afterRollback(context)];
    }
  },
  queue: (host, { migration }) => queueStatus(host, migration),
  flush: async (host) => {
    await tell(host, ['alrm']);
  },
  removes: finishRemoves,
  erase: eraseStores,
};

/** OLD serves by now: what is left is its own mail on its way home, and names that were added for the move. */
function afterRollback({ old, log }: MailContext): readonly Step[] {
  const homing = homingStep(old);
  return [
    {
      ...homing,
      do: async () => {
        try {
          return await homing.do();
        } catch (error) {
          log.warning((error as Error).message);
          return 'some mail is on its way still';
        }
      },
    },
    {
      id: 'undo-old',
      title: 'Take back what prepare added to control files on OLD',
      done: async () => false,
      do: async () => {
        await old.edit('undo', [configuration], { purpose: `undo ${configuration}` });
        await old.edit('remove', ['fingerprint']);
        return undefined;
      },
    },
  ];
}

async function contents({ migration, source }: MailContext): Promise<Contents> {
  const homes = await readHomes(source, migration);
  const stores = migration.stores ?? storesOf(homes);
  const alias = homes.homes.filter(({ from }) => from === 'alias').map(({ path }) => path);
  const carried = [...migration.carry, ...alias, ...homes.dotFiles].filter(
    (path) => !stores.some((store) => path === store || path.startsWith(`${store}/`)),
  );
  const outermost = [...new Set(carried)].filter(
    (path, _, all) => !all.some((other) => path.startsWith(`${other}/`)),
  );
  return { stores, carried: outermost.sort(), bookkeeping: [] };
}
