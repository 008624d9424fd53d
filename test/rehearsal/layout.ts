import { join } from 'node:path';
import { domains, special, virtualUser } from '../lab/world.ts';

/** Where the mailboxes of a domain lie on a host; `%d` is the domain, `%n` the user. */
export interface StoreLayout {
  readonly domain: string;
  /** Absolute path on the host of the Maildir itself. */
  readonly maildir: string;
  /** Where Dovecot keeps `dovecot-uidlist` (CONTROL=), where that is not the Maildir. */
  readonly control?: string;
}

/** Where one mailbox is to be read, as paths of this machine. */
export interface MailboxPlace {
  /** Its address. */
  readonly mailbox: string;
  readonly maildir: string;
  readonly control: string;
}

/** The places of mailboxes below the file tree of a host (`root`: where the host's `/` is to be seen). */
export function places(
  root: string,
  layouts: readonly StoreLayout[],
  mailboxes: readonly string[],
): readonly MailboxPlace[] {
  return mailboxes.map((mailbox) => {
    const [user = '', domain = ''] = mailbox.split('@');
    const layout = layouts.find((candidate) => candidate.domain === domain);
    if (!layout) throw new Error(`no store layout for ${mailbox}`);
    const fill = (template: string) =>
      join(root, template.replaceAll('%d', domain).replaceAll('%n', user));
    return {
      mailbox,
      maildir: fill(layout.maildir),
      control: fill(layout.control ?? layout.maildir),
    };
  });
}

/** Every mailbox of the lab with that many plain ones. The probe's own is none of the account's. */
export function labMailboxes(plain: number): readonly string[] {
  return [
    ...Array.from({ length: plain }, (_, index) => virtualUser(index + 1)),
    special.sieve,
    special.full,
    special.piped,
    ...special.localUsers,
    ...special.atticUsers,
  ];
}

/** Where the lab's Postfix and Dovecot keep their mail, on OLD and NEW alike. */
export const labLayouts: readonly StoreLayout[] = [
  { domain: domains.virtual, maildir: '/var/vmail/%d/%n/Maildir' },
  { domain: domains.attic, maildir: '/var/vmail/%d/%n' },
  { domain: domains.local, maildir: '/home/%n/Maildir' },
];

/** All mailboxes of the lab on a host whose `/` is to be seen at `root`. */
export function labPlaces(root: string, plain: number): readonly MailboxPlace[] {
  return places(root, labLayouts, labMailboxes(plain));
}
