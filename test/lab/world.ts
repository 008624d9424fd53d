/**
 * The small world of the lab: who is where. Lab, traffic and tests all read it from here.
 * Every address lies in a network namespace that no packet leaves.
 */

export const network = {
  bridge: { v4: '10.77.0.1', v6: 'fd77::1' },
  old: { v4: '10.77.0.11', v6: 'fd77::11' },
  new: { v4: '10.77.0.12', v6: 'fd77::12' },
  /** Authoritative name server (BIND or Knot). */
  dns: { v4: '10.77.0.53', v6: 'fd77::53' },
  /** Caching resolver (unbound), what senders and clients ask. */
  resolver: { v4: '10.77.0.54', v6: 'fd77::54' },
  prefix: { v4: 24, v6: 64 },
} as const;

/** The mail system that moves. */
export const domains = {
  /** Virtual users, Dovecot LMTP. */
  virtual: 'orchard.example',
  /** System users, delivered by local(8) through dovecot-lda. */
  local: 'villa.example',
  /** Virtual users, delivered by virtual(8) into Maildirs, by a per-domain transport. */
  attic: 'attic.example',
} as const;

/** Name that MX and clients use; A and AAAA of it are what the cutover changes. */
export const mailName = 'mail.orchard.example';

/** The world outside: a domain whose MX is the caller's own SMTP sink (bridge address, port 25). */
export const outside = { domain: 'elsewhere.example', mx: 'mx.elsewhere.example' } as const;

/** Seconds; what the zone holds before `prepare` lowers it. */
export const ttl = { before: 20, lowered: 5 } as const;

export const tsig = {
  name: 'mail-cutover',
  algorithm: 'hmac-sha256',
  secret: 'bWFpbC1jdXRvdmVyLWxhYi1rZXktbm90LWEtc2VjcmV0IQ==',
} as const;

/** One password for every lab mailbox, IMAP, POP3 and submission alike. */
export const password = 'lab-Passw0rd with space';

/** `u001@orchard.example` …; plain mailboxes. */
export function virtualUser(index: number): string {
  return `u${String(index).padStart(3, '0')}@${domains.virtual}`;
}

/** Mailboxes with a role, all at the virtual domain unless said otherwise. */
export const special = {
  probe: `probe@${domains.virtual}`,
  /** Sieve files mail whose subject holds "file me" into the folder `Filed`. */
  sieve: `sieve@${domains.virtual}`,
  /** Over quota from the start: quota-status refuses it with a 5xx. */
  full: `full@${domains.virtual}`,
  /** Where the pipe alias ends. */
  piped: `piped@${domains.virtual}`,
  localUsers: [`anna@${domains.local}`, `bert@${domains.local}`],
  atticUsers: [`carla@${domains.attic}`, `dario@${domains.attic}`],
} as const;

/** Addresses that expand, and to what: each recipient gets the message exactly once. */
export const aliases: Readonly<Record<string, readonly string[]>> = {
  /** virtual alias to two mailboxes */
  [`team@${domains.virtual}`]: [virtualUser(1), virtualUser(2)],
  /** virtual alias that names itself and another */
  [virtualUser(3)]: [virtualUser(3), virtualUser(4)],
  /** aliases(5) with :include: of a list file */
  [`list@${domains.local}`]: [virtualUser(5), virtualUser(6), `anna@${domains.local}`],
  /** aliases(5) that names itself and another: "bert: \bert, anna" */
  [`bert@${domains.local}`]: [`bert@${domains.local}`, `anna@${domains.local}`],
  /** aliases(5) with a "|command" that hands the message to sendmail for `piped` */
  [`pipe@${domains.local}`]: [special.piped],
  /** virtual alias to an address outside */
  [`forward@${domains.virtual}`]: [`friend@${outside.domain}`],
};

/** Numeric ids differ between the hosts on purpose: ownership must travel by name. */
export const ids = {
  old: { vmail: 5000, anna: 1001, bert: 1002 },
  new: { vmail: 6100, anna: 1302, bert: 1301 },
} as const;
