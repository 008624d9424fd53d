import type { Migration } from '../../config/schema.ts';

/** Names of what we put on the hosts, all carrying the migration's name so that a person can tell. */
export function names(migration: Migration) {
  const tag = `mail-cutover-${migration.name}`;
  return {
    /** On the frozen host: routes every local address, first to nowhere, later to the other. regexp_table(5). */
    routes: `/etc/postfix/${tag}.regexp`,
    /** master.cf transport there that delivers nothing and defers everything. */
    hold: 'mail-cutover-hold',
    /** master.cf transport there that ends at the other host's own door. */
    transport: 'mail-cutover',
    /** master.cf transport there for what was accepted after it gave service away, and for its questions. */
    late: 'mail-cutover-late',
    /** Certificate and key with which the hosts know each other; never leaves its host. */
    certificate: `/etc/postfix/${tag}.pem`,
    /** On the host with the door: fingerprints that may use it. */
    clients: `/etc/postfix/${tag}.clients`,
    /** One for each reason not to start, so that each is lifted by itself. */
    dropIn: (unit: string, reason: 'frozen' | 'fenced') =>
      `/etc/systemd/system/${unit}.d/${tag}-${reason}.conf`,
    /** Tells whoever logs in why mail stands still. */
    greeting: (group: string) => `/etc/profile.d/${tag}-${group}.sh`,
    door: `${migration['late-mail'].port}/inet`,
    /** The second door: addresses are judged and mapped there. */
    lateDoor: `${latePort(migration)}/inet`,
  } as const;
}

/** The port after the first door's. */
export function latePort(migration: Migration): number {
  return migration['late-mail'].port + 1;
}

/**
 * systemd units of Postfix and Dovecot. Up to Debian 12 `postfix.service` only wraps `postfix@-.service`; in
 * Debian 13 it is Postfix itself.
 */
export const postfixUnits = ['postfix.service', 'postfix@-.service'] as const;
export const dovecotUnits = ['dovecot.service', 'dovecot.socket'] as const;

/** Signs and checks mail for Postfix; starts anew with the keys that came from OLD. */
export const milterUnits = ['opendkim.service'] as const;
