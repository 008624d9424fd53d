import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command } from '../../hosts/command.ts';
import {
  type Contents,
  called,
  type MailContext,
  type MailStage,
  type MailSystem,
} from '../mail-system.ts';
import { latestAccountsStep, notePasswordsStep, returnAccountsStep } from './accounts-along.ts';
import { activateSteps, forwardSteps, unfenceStep } from './activate.ts';
import { lastLateStep } from './asking.ts';
import { callersSteps } from './callers.ts';
import { carrySteps } from './carry.ts';
import { checks } from './checks.ts';
import { copySteps } from './copy.ts';
import { doorSteps } from './door.ts';
import { type Dovecot, readDovecot, withoutNested } from './dovecot.ts';
import { fingerprint } from './fingerprint.ts';
import { eraseStores, finishRemoves, finishSteps } from './finish.ts';
import { endForwardSteps, holdSteps, stopSteps } from './freeze.ts';
import { dovecotUnits, postfixUnits } from './names.ts';
import { missingOwners, ownersOf } from './owners.ts';
import { readPostfix } from './postfix.ts';
import { fenceSteps, prepareSteps } from './prepare.ts';
import { queueStatus, returnQueue, setAsideQueue } from './queue.ts';
import { refusals } from './refusals.ts';
import { unreadable } from './versions.ts';

/** Postfix, Dovecot 2.3 with Maildir, OpenDKIM. */
export const postfixDovecot: MailSystem = {
  name: 'postfix-dovecot',
  freezeModes: ['hold', 'stop'],
  service: { startTls: true, mailbox: 'imap' },
  // RFC 5321 section 4.5.4.1: at least four or five.
  sendersGiveUpDays: 4,
  async refusals({ old, new: target }) {
    const [there, here] = await Promise.all([refusals(old), refusals(target)]);
    return [...there, ...here];
  },
  async checks(context, fresh) {
    return checks(context, fresh, await contents(context));
  },
  contents,
  async writers() {
    return {
      units: [...postfixUnits, ...dovecotUnits],
      ports: [25, 110, 143, 465, 587, 993, 995, 4190],
    };
  },
  fingerprint,
  unreadable,
  accountsBack,
  carry: carrySteps,
  async steps(stage: MailStage, context: MailContext) {
    switch (stage) {
      case 'prepare':
        return prepareSteps(
          context,
          async () => ownersOf(context, (await contents(context)).stores),
          context.migration.provision === 'copy' ? copySteps(context, () => contents(context)) : [],
        );
      case 'fence':
        return fenceSteps(context);
      case 'door':
        return doorSteps(context);
      case 'freeze':
        return context.migration.freeze.mode === 'hold' ? holdSteps(context) : stopSteps(context);
      case 'queue':
        return [
          ...accountsForth(context),
          ...(context.migration.freeze.mode === 'stop' ? [setAsideQueue(context)] : []),
        ];
      case 'activate':
        return [notePasswordsStep(context), ...activateSteps(context)];
      case 'return-queue':
        return context.migration.freeze.mode === 'stop' ? [returnQueue(context)] : [];
      case 'forward':
        return forwardSteps(context);
      case 'unfence':
        return [unfenceStep(context)];
      case 'end-forward':
        return endForwardSteps(context);
      case 'drain':
        return callersSteps(context);
      case 'finish':
        return finishSteps(context);
      case 'take-back-late':
        return context.migration.freeze.mode === 'hold' ? [lastLateStep(context)] : [];
      // What still reaches OLD goes on by itself, and nothing else is left to do after a rollback.
      case 'late':
      case 'after-rollback':
        return [];
    }
  },
  queue: (host) => queueStatus(host),
  async flush(host) {
    await host.change(command(['postqueue', '-f'], { purpose: 'flush the queue' }));
  },
  removes: finishRemoves,
  erase: eraseStores,
};

/**
 * quota-status answers port 25 of a frozen OLD, and to do so counts mailboxes anew now and then. It
 * touches no message: the sums and the list of mailboxes are made again from the store by whoever
 * needs them.
 */
const quotaBookkeeping = ['maildirsize*', 'dovecot.list.index*'];

function hasQuotaStatus(dovecot: Dovecot): boolean {
  return [...dovecot.settings.values()].some((value) => value.startsWith('quota-status'));
}

/** All that own anything, as long as the source serves; in its freeze, when every second counts, who owns a store. */
function accountsBack(context: MailContext, when: 'early' | 'frozen'): readonly Step[] {
  return when === 'early'
    ? [
        returnAccountsStep(context, 'accounts-back-early', mailOf(context, 'all')),
        ownersOnTarget(context),
      ]
    : [returnAccountsStep(context, 'accounts-back', mailOf(context, 'top'))];
}

function accountsForth(context: MailContext): readonly Step[] {
  const { migration, source, old } = context;
  if (migration.provision !== 'copy' || source !== old) return [];
  return [latestAccountsStep(context, mailOf(context, 'top'))];
}

function mailOf(context: MailContext, depth: 'all' | 'top') {
  const trees = async () => (await contents(context)).stores;
  return { trees, owners: async () => ownersOf(context, await trees(), depth) };
}

/** Taken back, too, owners go by name: one that was made on NEW alone would become a bare number. */
function ownersOnTarget(context: MailContext): Step {
  const { source, target } = context;
  return {
    id: 'owners',
    title: `Check that every owner of mail on ${called(source)} exists on ${called(target)}`,
    done: async () => false,
    do: async () => {
      const wanted = await ownersOf(context, (await contents(context)).stores);
      const missing = await missingOwners(context, wanted);
      if (missing.length > 0)
        throw new UserError(
          `${target.label}: these owners of mail on ${called(source)} don't exist: ${missing.join(', ')}. Create them (their numbers may differ), then run this stage again. Nothing was changed`,
        );
      return `${wanted.length} owners, by name`;
    },
  };
}

async function contents(context: MailContext): Promise<Contents> {
  const { migration, source } = context;
  const [dovecot, postfix] = await Promise.all([readDovecot(source), readPostfix(source)]);
  const base = postfix?.parameters.get('virtual_mailbox_base') ?? '';
  const discovered = withoutNested([
    ...(dovecot?.paths ?? []),
    ...(base.startsWith('/') ? [base] : []),
  ]);
  const stores = migration.stores ?? discovered;
  const carried = [...migration.carry, ...(dovecot?.files ?? [])].filter(
    (path) => !stores.some((store) => path === store || path.startsWith(`${store}/`)),
  );
  return {
    stores,
    carried: withoutNested(carried),
    bookkeeping: dovecot && hasQuotaStatus(dovecot) ? quotaBookkeeping : [],
  };
}
