import { outside, special } from '../lab/world.ts';
import type { BounceReport } from './bounce.ts';
import type { Disorder, Evidence, UidChange } from './evidence.ts';
import { expand } from './expansion.ts';
import type { Delivery } from './ledger.ts';
import type { StoredMessage } from './store.ts';
import { compareUidLists } from './uid-account.ts';

/** A message whose copies in a mailbox are not the number that they must be. */
export interface Finding {
  readonly messageId: string;
  /** To whom it was sent, or `seed` or `client` for what was there before or appended. */
  readonly recipient: string;
  readonly mailbox: string;
  readonly expected: number;
  readonly found: number;
  /** Where the copies lie. */
  readonly folders: readonly string[];
}

export interface Bounced {
  readonly messageId: string;
  readonly recipient: string;
  readonly reason: string;
  /** A 5xx at the door, or a report that came back. */
  readonly kind: 'refused' | 'report';
}

/** The exact account of a rehearsal. Good is: all lists empty, nothing pending, delivered = sent. */
export interface Account {
  /** (message, recipient, mailbox) that a server answered for with 250. */
  readonly sent: number;
  /** Of those, the ones that are there. */
  readonly delivered: number;
  /** Messages that lay in the mailboxes before the traffic. */
  readonly seeded: number;
  /** Seeded, sent or appended with an acknowledgement, and not there. */
  readonly lost: readonly Finding[];
  /** There more often than can be explained, or in a mailbox where it was not sent to. */
  readonly doubled: readonly Finding[];
  /** One copy more for each answer that was cut off (RFC 1047, or a cut-off APPEND or MOVE). */
  readonly doubledByLostReply: readonly Finding[];
  readonly bounced: readonly Bounced[];
  readonly uidChanges: readonly UidChange[];
  /** Refusals of the over-quota mailbox, as they should be. */
  readonly refusedAsExpected: number;
  /** Never accepted and never refused: still in the sender's queue. */
  readonly pending: readonly Delivery[];
  /** In the right mailbox but the wrong folder. */
  readonly misfiled: readonly Disorder[];
  readonly flagChanges: readonly Disorder[];
  /** Files that nobody of the rehearsal has sent. */
  readonly unexplained: readonly StoredMessage[];
}

/** What is expected of one message in one mailbox. */
interface Expectation {
  readonly messageId: string;
  readonly mailbox: string;
  recipient: string;
  /** Copies that must be there. */
  min: number;
  /** Copies that should be there when every answer had arrived. */
  usual: number;
  /** Copies that may be there. */
  max: number;
}

/** Judges the evidence. Knows no host and no network, so that its logic can be tested by itself. */
export function judge(evidence: Evidence): Account {
  const reports = [...evidence.bounces, ...evidence.final.bounces];
  const bouncedKeys = new Set(reports.flatMap(bouncedCopies));
  const scales = weigh(expect(evidence), collect(evidence), bouncedKeys);
  const accepted = evidence.deliveries.filter(({ state }) => state === 'accepted');
  const sent = accepted.flatMap(copiesOf);
  const missing = new Set(scales.lost.map(keyOf));
  const refused = evidence.deliveries.filter(({ state }) => state === 'refused');
  const [asExpected, unexpected] = split(refused, ({ recipient }) => recipient === special.full);
  return {
    sent: sent.length,
    delivered: sent.filter((key) => !missing.has(key) && !bouncedKeys.has(key)).length,
    seeded: evidence.seed.messages.length,
    ...scales,
    bounced: [...unexpected.map(refusal), ...reports.map(reported)],
    uidChanges: [
      ...compareUidLists(evidence.frozen, evidence.final),
      ...evidence.clients.uidChanges,
      ...evidence.imapUidChanges,
    ],
    refusedAsExpected: asExpected.length,
    pending: evidence.deliveries.filter(({ state }) => state === 'queued'),
    ...inOrder(evidence),
  };
}

type Scales = Pick<Account, 'lost' | 'doubled' | 'doubledByLostReply'> & {
  readonly unexplained: StoredMessage[];
};

/** Holds what was found against what is expected. A bounced copy is not lost: its sender was told. */
function weigh(
  expectations: Map<string, Expectation>,
  copies: Map<string, Copies>,
  bouncedKeys: ReadonlySet<string>,
): Scales {
  const lost: Finding[] = [];
  const doubled: Finding[] = [];
  const doubledByLostReply: Finding[] = [];
  const unexplained: StoredMessage[] = [];
  const knownIds = new Set<string>();
  for (const [key, expectation] of expectations) {
    knownIds.add(expectation.messageId);
    const folders = copies.get(key)?.folders ?? [];
    const found = folders.length;
    if (found < expectation.min && !bouncedKeys.has(key)) lost.push(finding(expectation, folders));
    if (found > expectation.max) doubled.push(finding(expectation, folders));
    else if (found > expectation.usual) doubledByLostReply.push(finding(expectation, folders));
  }
  for (const [key, { messageId, mailbox, folders, messages }] of copies) {
    if (expectations.has(key)) continue;
    if (knownIds.has(messageId)) {
      doubled.push(finding({ messageId, mailbox, recipient: 'nobody', usual: 0 }, folders));
    } else unexplained.push(...messages);
  }
  return { lost, doubled, doubledByLostReply, unexplained };
}

function finding(
  { messageId, recipient, mailbox, usual }: Omit<Expectation, 'min' | 'max'>,
  folders: readonly string[],
): Finding {
  return { messageId, recipient, mailbox, expected: usual, found: folders.length, folders };
}

/** Whether an account is without fault; what must be 0 for the rehearsal to pass. */
export function isClean(account: Account): boolean {
  return (
    account.lost.length === 0 &&
    account.doubled.length === 0 &&
    account.bounced.length === 0 &&
    account.uidChanges.length === 0 &&
    account.pending.length === 0 &&
    account.misfiled.length === 0 &&
    account.flagChanges.length === 0
  );
}

function expect(evidence: Evidence): Map<string, Expectation> {
  const expectations = new Map<string, Expectation>();
  const at = (messageId: string, mailbox: string, recipient: string): Expectation => {
    const key = keyOf({ messageId, mailbox });
    const known = expectations.get(key);
    if (known) return known;
    const fresh = { messageId, mailbox, recipient, min: 0, usual: 0, max: 0 };
    expectations.set(key, fresh);
    return fresh;
  };
  for (const { messageId, mailbox } of evidence.seed.messages) {
    const expectation = at(messageId, mailbox, 'seed');
    expectation.min += 1;
    expectation.usual += 1;
    expectation.max += 1;
  }
  for (const { messageId, recipient, state, lostReplies } of evidence.deliveries) {
    const certain = state === 'accepted' ? 1 : 0;
    for (const mailbox of expand(recipient)) {
      const expectation = at(messageId, mailbox, recipient);
      expectation.min += certain;
      expectation.usual += certain;
      expectation.max += certain + lostReplies;
    }
  }
  for (const change of evidence.clients.changes) {
    const expectation = at(change.messageId, change.mailbox, 'client');
    expectation.min += change.added - change.removed - change.maybeRemoved;
    expectation.usual += change.added - change.removed;
    expectation.max += change.added + change.maybeAdded - change.removed;
  }
  return expectations;
}

interface Copies {
  readonly messageId: string;
  readonly mailbox: string;
  readonly folders: string[];
  readonly messages: StoredMessage[];
}

function collect(evidence: Evidence): Map<string, Copies> {
  const copies = new Map<string, Copies>();
  const at = (messageId: string, mailbox: string): Copies => {
    const key = keyOf({ messageId, mailbox });
    const known = copies.get(key) ?? { messageId, mailbox, folders: [], messages: [] };
    copies.set(key, known);
    return known;
  };
  for (const message of evidence.final.messages) {
    const { folders, messages } = at(message.messageId, message.mailbox);
    folders.push(message.folder);
    messages.push(message);
  }
  for (const { messageId, recipient } of evidence.received) {
    if (recipient.endsWith(`@${outside.domain}`)) at(messageId, recipient).folders.push('outside');
  }
  return copies;
}

/** Folder and flags of what no mail program has touched. */
function inOrder(evidence: Evidence): Pick<Account, 'misfiled' | 'flagChanges'> {
  const touched = new Set(evidence.clients.touched.map(keyOf));
  const final = Map.groupBy(evidence.final.messages, keyOf);
  const misfiled: Disorder[] = [];
  const flagChanges: Disorder[] = [...evidence.clients.flagChanges];
  for (const message of evidence.seed.messages) {
    const key = keyOf(message);
    const now = final.get(key);
    if (touched.has(key) || !now) continue;
    const there = now.filter(({ folder }) => folder === message.folder);
    const { mailbox, messageId } = message;
    if (there.length === 0) {
      const after = now.map(({ folder }) => folder).join(', ');
      misfiled.push({ mailbox, messageId, before: message.folder, after });
    } else if (!there.some(({ flags }) => flags === message.flags)) {
      const after = there.map(({ flags }) => flags).join(', ');
      flagChanges.push({ mailbox, messageId, before: message.flags, after });
    }
  }
  for (const { messageId, recipient, folder: wanted = 'INBOX', state } of evidence.deliveries) {
    if (state !== 'accepted') continue;
    for (const mailbox of expand(recipient)) {
      const key = keyOf({ messageId, mailbox });
      if (touched.has(key)) continue;
      const wrong = (final.get(key) ?? []).filter(({ folder }) => folder !== wanted);
      for (const { folder } of wrong) {
        misfiled.push({ mailbox, messageId, before: wanted, after: folder });
      }
    }
  }
  return { misfiled, flagChanges };
}

function copiesOf({ messageId, recipient }: { messageId: string; recipient: string }): string[] {
  return expand(recipient).map((mailbox) => keyOf({ messageId, mailbox }));
}

/** The copies for which a report stands: it may name the recipient as sent to, or as expanded. */
function bouncedCopies({ messageId, recipient }: BounceReport): string[] {
  if (messageId === undefined) return [];
  return [...copiesOf({ messageId, recipient }), keyOf({ messageId, mailbox: recipient })];
}

function refusal({ messageId, recipient, reply = '' }: Delivery): Bounced {
  return { messageId, recipient, reason: reply, kind: 'refused' };
}

function reported({ messageId = '', recipient, diagnostic }: BounceReport): Bounced {
  return { messageId, recipient, reason: diagnostic, kind: 'report' };
}

function keyOf({ messageId, mailbox }: { messageId: string; mailbox: string }): string {
  return `${mailbox}\n${messageId}`;
}

function split<T>(items: readonly T[], test: (item: T) => boolean): [T[], T[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}
