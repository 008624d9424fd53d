import { aliases as worldAliases } from '../lab/world.ts';

export type Aliases = Readonly<Record<string, readonly string[]>>;

/** The mailboxes (here or outside) in which a message to this recipient ends, each exactly once. */
export function expand(recipient: string, aliases: Aliases = worldAliases): readonly string[] {
  return aliases[recipient.toLowerCase()] ?? [recipient.toLowerCase()];
}

/**
 * Whether two of these recipients end in one mailbox. How many copies such a message makes is up
 * to each delivery agent's own duplicate filter, so the rehearsal never sends one.
 */
export function overlap(recipients: readonly string[], aliases: Aliases = worldAliases): boolean {
  const mailboxes = recipients.flatMap((recipient) => expand(recipient, aliases));
  return new Set(mailboxes).size < mailboxes.length;
}
