import { mailName } from '../world.ts';

/**
 * The relay of the lab. Its domain is the name that the cutover moves: a relay is both the mail
 * domain and the host.
 */
export const relay = {
  domain: mailName,
  dkimSelector: 'opendkim',
  /** What the CAA record of the relay pins. */
  acmeAccount: 'https://acme-v02.api.letsencrypt.org/acme/acct/1234567',
  mailboxes: `/home/vmail/mail/${mailName}`,
  venv: '/usr/local/lib/chatmaild/venv/bin',
  ini: '/usr/local/lib/chatmaild/chatmail.ini',
  /** Name of the folder in acmetool's state that the certificate lies in. */
  certificate: 'lab0certificate0lab0certificate0lab0certificate0lab00',
} as const;

/** `u001@…`: the plain mailboxes, as `virtualUser` numbers those of the other profile. */
export function relayUser(index: number): string {
  return `u${String(index).padStart(3, '0')}@${relay.domain}`;
}

export const probeUser = `probe@${relay.domain}`;
