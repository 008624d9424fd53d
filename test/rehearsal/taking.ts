import { setTimeout as sleep } from 'node:timers/promises';
import { type Account, judge } from './account.ts';
import { lookOverImap } from './imap-look.ts';
import type { MailboxPlace } from './layout.ts';
import { type HeadCache, readStore, type Snapshot } from './store.ts';
import type { Traffic } from './traffic.ts';

export interface AccountOptions {
  readonly traffic: Traffic;
  /** OLD before the traffic, as `inventory` gave it. */
  readonly seed: Snapshot;
  /** OLD in the freeze, or later: while OLD does not serve, its UID lists stand still. */
  readonly frozen: Snapshot;
  /** The mailboxes of the host that owns the mail at the end. */
  readonly owner: readonly MailboxPlace[];
  /** Address of that host, for a look over IMAP. */
  readonly ownerAddress: string;
  /** Mailboxes to look at over IMAP. Default: 20 over the whole range. */
  readonly sample?: readonly string[];
  /** Called between looks; may flush the owner's queue, where a deferred message waits for minutes. */
  readonly nudge?: () => Promise<unknown>;
}

/** What the mailboxes hold now. Take it before the traffic, and again in the freeze. */
export function inventory(mailboxes: readonly MailboxPlace[]): Promise<Snapshot> {
  return readStore(mailboxes);
}

/** The exact account, once all queues are empty: every mailbox is read, some also over IMAP. */
export async function account(options: AccountOptions): Promise<Account> {
  const { traffic, frozen, ownerAddress } = options;
  await traffic.clients.lastLook(60);
  const sample = options.sample ?? spread(frozen, 20);
  const imapUidChanges = await lookOverImap(ownerAddress, sample, frozen);
  return weigh(options, await readStore(options.owner), imapUidChanges);
}

/**
 * Waits, at most so many seconds, until no accepted message is on its way any more, and then takes
 * the account. Mail that the final server still holds in its queue needs this time.
 */
export async function settledAccount(options: AccountOptions, seconds: number): Promise<Account> {
  const cache: HeadCache = new Map();
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    const now = weigh(options, await readStore(options.owner, cache), []);
    if (now.lost.length === 0) break;
    await options.nudge?.();
    await sleep(1000);
  }
  return account(options);
}

function weigh(
  { traffic, seed, frozen }: AccountOptions,
  final: Snapshot,
  imapUidChanges: Account['uidChanges'],
): Account {
  return judge({
    ...{ seed, frozen, final, imapUidChanges },
    deliveries: traffic.ledger.deliveries,
    received: traffic.sink.received,
    bounces: traffic.sink.bounces,
    clients: traffic.clients.evidence,
  });
}

/** So many mailboxes, evenly over all that have a UID list. */
function spread({ folders }: Snapshot, count: number): readonly string[] {
  const all = [...new Set(folders.map(({ mailbox }) => mailbox))];
  const step = Math.max(1, all.length / count);
  return Array.from({ length: Math.min(count, all.length) }, (_, index) => {
    return all[Math.floor(index * step)] ?? '';
  });
}
