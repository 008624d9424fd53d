import type { Migration } from '../../config/schema.ts';

/** Names of what we put on the hosts, all carrying the migration's name so that a person can tell. */
export function names(migration: Migration) {
  const tag = `mail-cutover-${migration.name}`;
  return {
    /** On OLD: routes every local address, first to nowhere, later to NEW. regexp_table(5). */
    routes: `/etc/postfix/${tag}.regexp`,
    /** master.cf transport on OLD that delivers nothing and defers everything. */
    hold: 'mail-cutover-hold',
    /** master.cf transport on OLD that ends at NEW's own door. */
    transport: 'mail-cutover',
    /** Certificate and key with which the hosts know each other; never leaves its host. */
    certificate: `/etc/postfix/${tag}.pem`,
    /** On NEW: fingerprints that may use the door. */
    clients: `/etc/postfix/${tag}.clients`,
    dropIn: (unit: string) => `/etc/systemd/system/${unit}.d/${tag}.conf`,
    door: `${migration['late-mail'].port}/inet`,
  } as const;
}

/** systemd units of Postfix and Dovecot. Debian's `postfix.service` only wraps `postfix@-.service`. */
export const postfixUnits = ['postfix.service', 'postfix@-.service'] as const;
export const dovecotUnits = ['dovecot.service', 'dovecot.socket'] as const;

/** Signs and checks mail for Postfix; starts anew with the keys that came from OLD. */
export const milterUnits = ['opendkim.service'] as const;
