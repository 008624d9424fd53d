import { createHash } from 'node:crypto';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { mailLocation, readDovecot } from './dovecot.ts';
import { readPostfix } from './postfix.ts';

/** Settings by which a reviewer would notice a change of OLD's or NEW's set-up; never our own edits. */
const fingerprinted = [
  'mydestination',
  'virtual_mailbox_domains',
  'virtual_alias_maps',
  'mail_version',
  'myhostname',
];

/** In the folder of the migration: the fingerprint from before `provision: copy` changed the host. */
const kept = 'fingerprint';
/** The undo records of that change; while they stand, so does the kept fingerprint. */
export const configurationGroup = 'configuration';

/** A stable text of the configuration that a reviewer approves, as it was before our own edits. */
export async function fingerprint(host: MailHost): Promise<string> {
  const before = await host.read(
    script(
      'if [ -d "$1/undo/$2" ] && [ -e "$1/$3" ]; then cat "$1/$3"; fi',
      [host.folder, configurationGroup, kept],
      {
        purpose: 'look for the fingerprint from before',
      },
    ),
  );
  return before.stdout.toString('utf8').trim() || fingerprintNow(host);
}

/** Keeps the fingerprint for the time that the configuration is ours. Before its first edit. */
export async function keepFingerprint(host: MailHost): Promise<void> {
  await host.edit('put', [kept], {
    stdin: await fingerprint(host),
    purpose: 'keep the fingerprint',
  });
}

async function fingerprintNow(host: MailHost): Promise<string> {
  const [postfix, dovecot] = await Promise.all([readPostfix(host), readDovecot(host)]);
  const text = [
    ...fingerprinted.map((parameter) => `${parameter}=${postfix?.parameters.get(parameter) ?? ''}`),
    `dovecot=${dovecot?.version ?? ''}`,
    `mail_location=${dovecot ? mailLocation(dovecot) : ''}`,
  ].join('\n');
  return createHash('sha256').update(text).digest('hex');
}
