import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { withoutNested } from '../postfix-dovecot/dovecot.ts';
import { parseIni, type RelayIni } from './ini.ts';

/** The relay's settings on its host, and the file that closes it to new accounts (doveauth.py). */
export const iniFile = '/usr/local/lib/chatmaild/chatmail.ini';
export const noCreateFile = '/etc/chatmail-nocreate';
export const dkimFolder = '/etc/dkimkeys';
export const acmeFolder = '/var/lib/acme';

export interface Relay {
  readonly ini: RelayIni;
  /** First line of `/etc/chatmail-version`: the git revision that was deployed. Empty where unknown. */
  readonly revision: string;
}

/** Undefined where no relay is. */
export async function readRelay(host: MailHost): Promise<Relay | undefined> {
  const result = await host.read(
    script(
      '[ -e "$1" ] || exit 44; head -n 1 /etc/chatmail-version 2>/dev/null || echo; cat "$1"',
      [iniFile],
      {
        allow: [0, 44],
        purpose: 'read chatmail.ini',
      },
    ),
  );
  const [revision = '', ...lines] = result.stdout.toString('utf8').split('\n');
  const ini = result.code === 44 ? undefined : parseIni(lines.join('\n'));
  return ini && { ini, revision: revision.trim() };
}

export async function demandRelay(host: MailHost): Promise<Relay> {
  const relay = await readRelay(host);
  if (!relay)
    throw new UserError(
      `${host.label}: it is no chatmail relay (${iniFile} is not there). Check the address, and mail-system`,
    );
  return relay;
}

/** The guide moves `/home/vmail/mail` as a whole; older relays keep pending notices beside the mailboxes. */
const usualStore = '/home/vmail/mail';

/** Trees with mailboxes. */
export function storesOf({ mailboxes }: RelayIni): readonly string[] {
  return [mailboxes.startsWith(`${usualStore}/`) ? usualStore : mailboxes];
}

/** What moves besides: DKIM keys, certificates, and with acmetool the account that CAA pins. */
export function carriedBy(ini: RelayIni): readonly string[] {
  const certificates = ini.certificates === 'acme' ? [acmeFolder] : [ini.certificate, ini.key];
  return withoutNested([dkimFolder, ...certificates]);
}
