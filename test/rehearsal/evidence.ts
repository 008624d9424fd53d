import type { BounceReport } from './bounce.ts';
import type { Delivery } from './ledger.ts';
import type { Received } from './sink.ts';
import type { Snapshot } from './store.ts';

/** How the number of copies of one message in one mailbox was changed by its own user's mail program. */
export interface ClientChange {
  readonly mailbox: string;
  readonly messageId: string;
  /** Copies appended with a tagged OK. */
  added: number;
  /** APPENDs and MOVEs whose answer never came: each may have left one more copy. */
  maybeAdded: number;
  /** Copies expunged with a tagged OK. */
  removed: number;
  /** Expunges whose answer never came. */
  maybeRemoved: number;
}

/** Something that a mail program would trip over. */
export interface UidChange {
  readonly mailbox: string;
  readonly folder: string;
  /** What was asked: `UIDVALIDITY`, a UID with its Message-ID, or a file name. */
  readonly what: string;
  readonly before: string;
  readonly after: string;
  /** Who saw it: the UID lists compared, a mail program at work, or a look over IMAP at the end. */
  readonly seenBy: 'uidlist' | 'client' | 'imap';
}

/** A flag or a folder that is not as it was left. */
export interface Disorder {
  readonly mailbox: string;
  readonly messageId: string;
  readonly before: string;
  readonly after: string;
}

/** What the mail programs have to say in the end. */
export interface ClientEvidence {
  readonly changes: readonly ClientChange[];
  /** Messages (mailbox and Message-ID) whose flags or folder a mail program has touched. */
  readonly touched: readonly { readonly mailbox: string; readonly messageId: string }[];
  readonly uidChanges: readonly UidChange[];
  readonly flagChanges: readonly Disorder[];
}

/** All that the account is made from. */
export interface Evidence {
  readonly deliveries: readonly Delivery[];
  /** OLD before the traffic. */
  readonly seed: Snapshot;
  /** OLD in the freeze, or at any later time while it does not serve: its UID lists then stand still. */
  readonly frozen: Snapshot;
  /** The owner at the end. */
  readonly final: Snapshot;
  readonly received: readonly Received[];
  /** Bounces that came back to the outside sender. */
  readonly bounces: readonly BounceReport[];
  readonly clients: ClientEvidence;
  /** UID changes found by looking over IMAP at the end. */
  readonly imapUidChanges: readonly UidChange[];
}

export const noClients: ClientEvidence = {
  changes: [],
  touched: [],
  uidChanges: [],
  flagChanges: [],
};
