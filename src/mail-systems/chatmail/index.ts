import { command } from '../../hosts/command.ts';
import type { Contents, MailContext, MailStage, MailSystem } from '../mail-system.ts';
import { forwardSteps } from '../postfix-dovecot/activate.ts';
import { callersSteps } from '../postfix-dovecot/callers.ts';
import { withoutNested } from '../postfix-dovecot/dovecot.ts';
import { eraseStores } from '../postfix-dovecot/finish.ts';
import { endForwardSteps } from '../postfix-dovecot/freeze.ts';
import { dovecotUnits, postfixUnits } from '../postfix-dovecot/names.ts';
import { queueStatus, returnQueue, setAsideQueue } from '../postfix-dovecot/queue.ts';
import { refusals } from '../postfix-dovecot/refusals.ts';
import { activateRelay, deployedSteps } from './activate.ts';
import { checks } from './checks.ts';
import { fingerprint } from './fingerprint.ts';
import { finishRelay, finishRemovesOfRelay } from './finish.ts';
import { freezeSteps } from './freeze.ts';
import { lateClientSteps } from './late-clients.ts';
import { fenceRelay, prepareRelay, relayDoor } from './prepare.ts';
import { carriedBy, demandRelay, storesOf } from './relay.ts';
import { frozenUnits } from './units.ts';

/**
 * A chatmail relay: Postfix, Dovecot and OpenDKIM in the one way that `cmdeploy` sets them up, with
 * the programs of its own around them. What Postfix and Dovecot need is the same as elsewhere and
 * comes from there.
 */
export const chatmail: MailSystem = {
  name: 'chatmail',
  freezeModes: ['hold', 'stop'],
  service: { startTls: true, mailbox: 'imap' },
  async refusals(context) {
    const [there, here] = await Promise.all([refusals(context.old), refusals(context.new)]);
    // cmdeploy installs it, before the first pass.
    const isToBeInstalled = context.migration.provision === 'cmdeploy';
    return [
      ...there,
      ...here.filter(
        ({ text }) => !isToBeInstalled || !text.endsWith('the program rsync is missing'),
      ),
    ];
  },
  async checks(context, fresh) {
    return checks(context, fresh);
  },
  contents,
  async writers() {
    return {
      units: [...postfixUnits, ...dovecotUnits, ...frozenUnits],
      ports: [25, 143, 443, 465, 587, 993],
    };
  },
  fingerprint,
  async steps(stage: MailStage, context: MailContext) {
    const isStop = context.migration.freeze.mode === 'stop';
    switch (stage) {
      case 'prepare':
        return prepareRelay(context);
      case 'fence':
        return fenceRelay(context);
      case 'door':
        return relayDoor(context);
      case 'freeze':
        return freezeSteps(context);
      case 'queue':
        return isStop ? [setAsideQueue(context)] : [];
      case 'activate':
        return activateRelay(context);
      case 'return-queue':
        return isStop ? [returnQueue(context)] : [];
      case 'forward':
        // filtermail refuses mail that is not encrypted, and who sent that must hear it: so OLD's own
        // goes on judging, and what it took NEW takes.
        return [
          ...forwardSteps(context, 'source'),
          ...lateClientSteps(context),
          ...deployedSteps(context),
        ];
      case 'end-forward':
        return endForwardSteps(context);
      case 'drain':
        return callersSteps(context);
      case 'finish':
        return finishRelay(context);
      // What still reaches OLD goes on by itself, and nothing is left to do after a rollback.
      case 'late':
      case 'after-rollback':
        return [];
    }
  },
  queue: (host) => queueStatus(host),
  async flush(host) {
    await host.change(command(['postqueue', '-f'], { purpose: 'flush the queue' }));
  },
  removes: finishRemovesOfRelay,
  erase: eraseStores,
};

async function contents(context: MailContext): Promise<Contents> {
  const { migration, source } = context;
  const { ini } = await demandRelay(source);
  const stores = migration.stores ?? storesOf(ini);
  const isInStore = (path: string) =>
    stores.some((store) => path === store || path.startsWith(`${store}/`));
  const carried = [...migration.carry, ...carriedBy(ini)].filter((path) => !isInStore(path));
  return { stores, carried: withoutNested(carried), bookkeeping: [] };
}
