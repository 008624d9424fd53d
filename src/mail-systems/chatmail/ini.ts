import { isIPv4 } from 'node:net';

/** What `chatmail.ini` says, as far as a move is concerned (chatmaild/src/chatmaild/config.py of the relay, 1.12). */
export interface RelayIni {
  readonly domain: string;
  readonly mailboxes: string;
  /** acme: acmetool. self: made by the tool itself. external: files of the administrator's. */
  readonly certificates: 'acme' | 'self' | 'external';
  readonly certificate: string;
  readonly key: string;
  readonly hasIpv6: boolean;
  readonly hasIroh: boolean;
  readonly hasMtail: boolean;
  /** Every setting as it stands there. */
  readonly settings: ReadonlyMap<string, string>;
}

/** Undefined where there is no `mail_domain`. */
export function parseIni(text: string): RelayIni | undefined {
  const settings = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (name !== undefined) settings.set(name, value ?? '');
  }
  const domain = settings.get('mail_domain');
  if (!domain) return undefined;
  return {
    domain,
    mailboxes: settings.get('mailboxes_dir') || `/home/vmail/mail/${domain}`,
    ...certificateOf(domain, settings.get('tls_external_cert_and_key') ?? ''),
    hasIpv6: settings.get('disable_ipv6')?.toLowerCase() !== 'true',
    hasIroh: !settings.has('iroh_relay'),
    hasMtail: Boolean(settings.get('mtail_address')),
    settings,
  };
}

function certificateOf(
  domain: string,
  external: string,
): Pick<RelayIni, 'certificates' | 'certificate' | 'key'> {
  const [certificate = '', key = ''] = external.split(/\s+/);
  if (external !== '') return { certificates: 'external', certificate, key };
  if (domain.startsWith('_') || isIPv4(domain))
    return {
      certificates: 'self',
      certificate: '/etc/ssl/certs/mailserver.pem',
      key: '/etc/ssl/private/mailserver.key',
    };
  const live = `/var/lib/acme/live/${domain}`;
  return { certificates: 'acme', certificate: `${live}/fullchain`, key: `${live}/privkey` };
}

/** Names of settings in which two differ. */
export function differences(one: RelayIni, other: RelayIni): readonly string[] {
  const names = new Set([...one.settings.keys(), ...other.settings.keys()]);
  return [...names]
    .filter((name) => (one.settings.get(name) ?? '') !== (other.settings.get(name) ?? ''))
    .sort();
}
