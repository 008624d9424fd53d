import { dovecotUnits, postfixUnits } from '../postfix-dovecot/names.ts';
import type { RelayIni } from './ini.ts';

/*
 * systemd units of a relay (cmdeploy/src/cmdeploy of chatmail/relay, 1.12: deployers.py and the folders
 * service, filtermail, acmetool).
 */

/** What writes into mailboxes beside Dovecot: accounts, tokens and pending notices, last logins. */
const proxies = ['doveauth.service', 'chatmail-metadata.service', 'lastlogin.service'] as const;

/** Expiry deletes mail; renewal writes the certificates that are copied; the report only reads. */
const jobs = [
  'chatmail-expire.timer',
  'chatmail-expire.service',
  'chatmail-fsreport.timer',
  'chatmail-fsreport.service',
  'acmetool-reconcile.timer',
  'acmetool-reconcile.service',
] as const;

/** Between Postfix and Postfix, and between Postfix and the world. */
const filters = [
  'filtermail.service',
  'filtermail-incoming.service',
  'filtermail-transport.service',
] as const;

/** Its 443 carries IMAP and submission as well, parted by ALPN. */
export const web = ['nginx.service', 'fcgiwrap.socket', 'fcgiwrap.service'] as const;

const others = [
  'acmetool-redirector.service',
  'turnserver.service',
  'iroh-relay.service',
  'mtail.service',
] as const;

/**
 * Stopped in every freeze. With `hold` Postfix stays, with the filters that port 25 needs; nginx too,
 * for mail that other relays bring by HTTPS: what it would carry to IMAP and submission finds no
 * listener.
 */
export const frozenUnits = [...dovecotUnits, ...proxies, ...jobs] as const;

/** Stopped too where OLD does not go on accepting. */
export const servingUnits = [...filters, 'opendkim.service', ...web] as const;

/** Nothing of these may run on a NEW that does not own the mailboxes. */
export const fencedUnits = [
  ...dovecotUnits,
  ...postfixUnits,
  ...proxies,
  ...jobs,
  ...filters,
  'opendkim.service',
  ...web,
  ...others,
] as const;

/** On NEW, before Dovecot and Postfix; in the order of `cmdeploy`. */
export const startedFirst = [
  'filtermail.service',
  'filtermail-incoming.service',
  'filtermail-transport.service',
  'doveauth.service',
  'chatmail-metadata.service',
  'lastlogin.service',
  'opendkim.service',
] as const;

/** On NEW, once mail flows. Units that are not there are passed over. */
export function startedLast(ini: RelayIni): readonly string[] {
  return [
    'unbound.service',
    'turnserver.service',
    ...(ini.hasIroh ? ['iroh-relay.service'] : []),
    ...(ini.certificates === 'acme'
      ? ['acmetool-redirector.service', 'acmetool-reconcile.timer']
      : []),
    'chatmail-expire.timer',
    'chatmail-fsreport.timer',
    'fcgiwrap.socket',
    'nginx.service',
    ...(ini.hasMtail ? ['mtail.service'] : []),
  ];
}

/** Started at boot from now on: `cmdeploy` enables them, Debian's own packages are enabled already. */
export function enabledOnNew(ini: RelayIni): readonly string[] {
  return [...startedFirst, ...startedLast(ini), 'dovecot.service', 'postfix.service'];
}
