import { createHash } from 'node:crypto';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { iniFile } from './relay.ts';

/** In the folder of the migration: the fingerprint from before `cmdeploy` made a relay of the host. */
const kept = 'relay-fingerprint';

/** What of a relay a reviewer approves: its settings, its revision and the versions of its servers. */
export async function fingerprint(host: MailHost): Promise<string> {
  const result = await host.read(
    script(
      `if [ -e "$2" ]; then cat "$2"; exit 0; fi
       {
         cat "$1" 2>/dev/null || echo 'no relay'
         head -n 1 /etc/chatmail-version 2>/dev/null || echo '?'
         postconf -h mail_version 2>/dev/null || echo 'no Postfix'
         doveconf --version 2>/dev/null || dovecot --version 2>/dev/null || echo 'no Dovecot'
       } | cat`,
      [iniFile, `${host.folder}/${kept}`],
      { purpose: 'read what is deployed' },
    ),
  );
  const text = result.stdout.toString('utf8');
  return /^[0-9a-f]{64}$/.test(text.trim())
    ? text.trim()
    : createHash('sha256').update(text).digest('hex');
}

/** Before the first change: what our own stages do is no change of the plan. */
export async function keepFingerprint(host: MailHost): Promise<void> {
  await host.edit('put', [kept], {
    stdin: await fingerprint(host),
    purpose: 'keep the fingerprint',
  });
}
