import type { Contents, MailContext, MailStage, MailSystem } from '../mail-system.ts';
import { activateSteps, forwardSteps } from './activate.ts';
import { checks } from './checks.ts';
import { copySteps } from './copy.ts';
import { type Dovecot, readDovecot, withoutNested } from './dovecot.ts';
import { fingerprint } from './fingerprint.ts';
import { holdSteps, stopSteps } from './freeze.ts';
import { dovecotUnits, postfixUnits } from './names.ts';
import { ownersOf } from './owners.ts';
import { readPostfix } from './postfix.ts';
import { prepareSteps } from './prepare.ts';
import { queueStatus, setAsideQueue } from './queue.ts';
import { refusals } from './refusals.ts';

/** Postfix, Dovecot 2.3 with Maildir, OpenDKIM. */
export const postfixDovecot: MailSystem = {
  name: 'postfix-dovecot',
  freezeModes: ['hold', 'stop'],
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
  async steps(stage: MailStage, context: MailContext) {
    switch (stage) {
      case 'prepare':
        return prepareSteps(
          context,
          async () => ownersOf(context, (await contents(context)).stores),
          context.migration.provision === 'copy' ? copySteps(context, () => contents(context)) : [],
        );
      case 'freeze':
        return context.migration.freeze.mode === 'hold' ? holdSteps(context) : stopSteps(context);
      case 'queue':
        return context.migration.freeze.mode === 'stop' ? [setAsideQueue(context)] : [];
      case 'activate':
        return activateSteps(context);
      case 'forward':
        return forwardSteps(context);
      case 'drain':
      case 'finish':
        return [];
    }
  },
  queue: (host) => queueStatus(host),
};

/**
 * quota-status answers port 25 of a frozen OLD, and to do so counts mailboxes anew now and then. It
 * touches no message: the sums and the list of mailboxes are made again from the store by whoever
 * needs them.
 */
const quotaBookkeeping = [
  'maildirsize',
  'dovecot.list.index',
  'dovecot.list.index.log',
  'dovecot.list.index.log.2',
];

function hasQuotaStatus(dovecot: Dovecot): boolean {
  return [...dovecot.settings.values()].some((value) => value.startsWith('quota-status'));
}

async function contents(context: MailContext): Promise<Contents> {
  const { migration, old } = context;
  const [dovecot, postfix] = await Promise.all([readDovecot(old), readPostfix(old)]);
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
