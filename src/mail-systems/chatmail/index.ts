import type { Contents, MailContext, MailStage, MailSystem } from '../mail-system.ts';
import { forwardSteps } from '../postfix-dovecot/activate.ts';
import { withoutNested } from '../postfix-dovecot/dovecot.ts';
import { postfixDovecot } from '../postfix-dovecot/index.ts';
import { dovecotUnits, postfixUnits } from '../postfix-dovecot/names.ts';
import { activateRelay, deployedSteps } from './activate.ts';
import { carryRelay } from './carry.ts';
import { checks } from './checks.ts';
import { fingerprint } from './fingerprint.ts';
import { finishRelay, finishRemovesOfRelay } from './finish.ts';
import { freezeSteps } from './freeze.ts';
import { fenceRelay, prepareRelay, relayDoor } from './prepare.ts';
import { carriedBy, demandRelay, storesOf } from './relay.ts';
import { frozenUnits } from './units.ts';

/**
 * A chatmail relay: Postfix, Dovecot and OpenDKIM in the one way that `cmdeploy` sets them up, with
 * the programs of its own around them. What is not said here is as with every Postfix and Dovecot.
 */
export const chatmail: MailSystem = {
  ...postfixDovecot,
  name: 'chatmail',
  service: { ...postfixDovecot.service, submission: 587 },
  // maximal_queue_lifetime of every relay (cmdeploy/src/cmdeploy/postfix/main.cf.j2).
  sendersGiveUpDays: 2,
  async refusals(context) {
    const found = await postfixDovecot.refusals(context);
    // cmdeploy installs it, before the first pass.
    const isToBeInstalled = context.migration.provision === 'cmdeploy';
    return found.filter(
      ({ text }) =>
        !isToBeInstalled ||
        !text.startsWith(context.new.label) ||
        !text.endsWith('the program rsync is missing'),
    );
  },
  checks,
  contents,
  async writers() {
    return {
      units: [...postfixUnits, ...dovecotUnits, ...frozenUnits],
      ports: [25, 143, 443, 465, 587, 993],
    };
  },
  fingerprint,
  // Its users are none of the system's.
  accountsBack: () => [],
  carry: carryRelay,
  async steps(stage: MailStage, context: MailContext) {
    switch (stage) {
      case 'prepare':
        return prepareRelay(context);
      case 'fence':
        return fenceRelay(context);
      case 'door':
        return relayDoor(context);
      case 'freeze':
        return freezeSteps(context);
      case 'activate':
        return activateRelay(context);
      case 'forward':
        // filtermail refuses mail that is not encrypted, and who sent that must hear it: so OLD's own
        // goes on judging, and what it took NEW takes.
        return [...forwardSteps(context, 'source'), ...deployedSteps(context)];
      case 'finish':
        return finishRelay(context);
      default:
        return postfixDovecot.steps(stage, context);
    }
  },
  removes: finishRemovesOfRelay,
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
