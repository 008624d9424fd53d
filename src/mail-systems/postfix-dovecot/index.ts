import { createHash } from 'node:crypto';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { Contents, MailContext, MailStage, MailSystem } from '../mail-system.ts';
import { activateSteps, forwardSteps } from './activate.ts';
import { checks } from './checks.ts';
import { readDovecot, withoutNested } from './dovecot.ts';
import { holdSteps, stopSteps } from './freeze.ts';
import { dovecotUnits, postfixUnits } from './names.ts';
import { readPostfix } from './postfix.ts';
import { ownersOf, prepareSteps } from './prepare.ts';
import { queueStatus, setAsideQueue } from './queue.ts';

/** Postfix, Dovecot 2.3 with Maildir, OpenDKIM. */
export const postfixDovecot: MailSystem = {
  name: 'postfix-dovecot',
  freezeModes: ['hold', 'stop'],
  async checks(context, fresh) {
    return checks(context, fresh, (await contents(context)).stores);
  },
  contents,
  async writers() {
    return { units: [...postfixUnits, ...dovecotUnits], ports: [25, 110, 143, 465, 587, 993, 995, 4190] };
  },
  fingerprint,
  async steps(stage: MailStage, context: MailContext) {
    switch (stage) {
      case 'prepare':
        return prepareSteps(context, async () => ownersOf(context, (await contents(context)).stores));
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

async function contents(context: MailContext): Promise<Contents> {
  const { migration, old } = context;
  const [dovecot, postfix] = await Promise.all([readDovecot(old), readPostfix(old)]);
  const base = postfix?.parameters.get('virtual_mailbox_base') ?? '';
  const discovered = withoutNested([...(dovecot?.paths ?? []), ...(base.startsWith('/') ? [base] : [])]);
  const stores = migration.stores ?? discovered;
  const carried = [...migration.carry, ...(dovecot?.files ?? [])].filter(
    (path) => !stores.some((store) => path === store || path.startsWith(`${store}/`)),
  );
  return { stores, carried: withoutNested(carried) };
}

/** Settings by which a reviewer would notice a change of OLD's or NEW's set-up; never our own edits. */
const fingerprinted = ['mydestination', 'virtual_mailbox_domains', 'virtual_alias_maps', 'mail_version', 'myhostname'];

async function fingerprint(host: MailHost): Promise<string> {
  const [postfix, dovecot] = await Promise.all([readPostfix(host), readDovecot(host)]);
  const text = [
    ...fingerprinted.map((parameter) => `${parameter}=${postfix?.parameters.get(parameter) ?? ''}`),
    `dovecot=${dovecot?.version ?? ''}`,
    `mail_location=${dovecot?.settings.get('mail_location') ?? ''}`,
  ].join('\n');
  return createHash('sha256').update(text).digest('hex');
}
