import { describe, expect, test } from 'vitest';
import { domains, outside, special, virtualUser } from '../lab/world.ts';
import { isClean, judge } from './account.ts';
import { type Evidence, noClients } from './evidence.ts';
import { expand, overlap } from './expansion.ts';
import type { Delivery } from './ledger.ts';
import type { Snapshot, StoredFolder, StoredMessage } from './store.ts';

const u1 = virtualUser(1);
const u7 = virtualUser(7);
const nothing: Snapshot = { messages: [], folders: [], bounces: [] };

function sent(messageId: string, recipient: string, more: Partial<Delivery> = {}): Delivery {
  const fixed = { via: 'smtp', createdAt: 0, folder: undefined, attempts: 1 } as const;
  return { messageId, recipient, ...fixed, state: 'accepted', lostReplies: 0, ...more };
}

function copy(mailbox: string, messageId: string, more: Partial<StoredMessage> = {}) {
  return { mailbox, messageId, folder: 'INBOX', base: `b-${messageId}`, flags: '', ...more };
}

function holding(...messages: StoredMessage[]): Snapshot {
  return { ...nothing, messages };
}

function given(evidence: Partial<Evidence>): Evidence {
  const empty = { deliveries: [], received: [], bounces: [], imapUidChanges: [] };
  const snapshots = { seed: nothing, frozen: nothing, final: nothing };
  return { ...empty, ...snapshots, clients: noClients, ...evidence };
}

describe('expansion', () => {
  test('an alias that names itself ends in both mailboxes', () => {
    expect(expand(virtualUser(3))).toEqual([virtualUser(3), virtualUser(4)]);
  });
  test('a plain address ends in its own mailbox', () => {
    expect(expand(u7)).toEqual([u7]);
  });
  test('overlap is seen through aliases', () => {
    expect(overlap([`team@${domains.virtual}`, u1])).toBe(true);
    expect(overlap([`team@${domains.virtual}`, u7])).toBe(false);
  });
});

describe('lost and doubled', () => {
  test('every mailbox of an alias is counted', () => {
    const recipient = `team@${domains.virtual}`;
    const account = judge(
      given({ deliveries: [sent('<a>', recipient)], final: holding(copy(u1, '<a>')) }),
    );
    expect(account.sent).toBe(2);
    expect(account.delivered).toBe(1);
    expect(account.lost).toMatchObject([
      { messageId: '<a>', recipient, mailbox: virtualUser(2), expected: 1, found: 0 },
    ]);
    expect(isClean(account)).toBe(false);
  });

  test('all there, once each: clean', () => {
    const account = judge(
      given({
        deliveries: [sent('<a>', u1), sent('<b>', `forward@${domains.virtual}`)],
        final: holding(copy(u1, '<a>')),
        received: [{ messageId: '<b>', recipient: `friend@${outside.domain}`, at: 1 }],
      }),
    );
    expect(account).toMatchObject({ sent: 2, delivered: 2, lost: [], doubled: [], bounced: [] });
    expect(isClean(account)).toBe(true);
  });

  test('a second copy, in whatever folder, is doubled', () => {
    const final = holding(copy(u1, '<a>'), copy(u1, '<a>', { folder: 'Old', base: 'x' }));
    const account = judge(given({ deliveries: [sent('<a>', u1)], final }));
    expect(account.doubled).toMatchObject([
      { messageId: '<a>', mailbox: u1, expected: 1, found: 2, folders: ['INBOX', 'Old'] },
    ]);
  });

  test('a second copy after a reply that never came is told apart', () => {
    const final = holding(copy(u1, '<a>'), copy(u1, '<a>', { base: 'x' }));
    const account = judge(given({ deliveries: [sent('<a>', u1, { lostReplies: 1 })], final }));
    expect(account.doubled).toEqual([]);
    expect(account.doubledByLostReply).toHaveLength(1);
  });

  test('one lost reply does not excuse two copies more', () => {
    const final = holding(...['x', 'y', 'z'].map((base) => copy(u1, '<a>', { base })));
    const account = judge(given({ deliveries: [sent('<a>', u1, { lostReplies: 1 })], final }));
    expect(account.doubled).toHaveLength(1);
  });

  test('a copy in a mailbox where it was not sent to is doubled', () => {
    const final = holding(copy(u1, '<a>'), copy(u7, '<a>'));
    const account = judge(given({ deliveries: [sent('<a>', u1)], final }));
    expect(account.doubled).toMatchObject([{ mailbox: u7, expected: 0, found: 1 }]);
  });

  test('what was never accepted is not lost but pending', () => {
    const account = judge(given({ deliveries: [sent('<a>', u1, { state: 'queued' })] }));
    expect(account).toMatchObject({ sent: 0, lost: [] });
    expect(account.pending).toHaveLength(1);
    expect(isClean(account)).toBe(false);
  });

  test('a message outside that never came is lost', () => {
    const deliveries = [sent('<a>', `friend@${outside.domain}`, { via: 'submission' })];
    expect(judge(given({ deliveries })).lost).toHaveLength(1);
  });

  test('a seeded message that is gone is lost, one that came back twice is doubled', () => {
    const seed = holding(copy(u1, '<a>'), copy(u1, '<b>'));
    const final = holding(copy(u1, '<b>'), copy(u1, '<b>', { base: 'x' }));
    const account = judge(given({ seed, final }));
    expect(account.lost).toMatchObject([{ messageId: '<a>', recipient: 'seed' }]);
    expect(account.doubled).toMatchObject([{ messageId: '<b>', found: 2 }]);
  });

  test('a file that nobody sent is unexplained, not doubled', () => {
    const account = judge(given({ final: holding(copy(u1, '<cron>')) }));
    expect(account.unexplained).toMatchObject([{ messageId: '<cron>' }]);
    expect(account.doubled).toEqual([]);
  });
});

describe('mail programs', () => {
  const change = { mailbox: u1, added: 0, maybeAdded: 0, removed: 0, maybeRemoved: 0 };

  test('an expunged message that is there again is doubled', () => {
    const clients = { ...noClients, changes: [{ ...change, messageId: '<a>', removed: 1 }] };
    const seed = holding(copy(u1, '<a>'));
    expect(judge(given({ seed, clients })).lost).toEqual([]);
    expect(judge(given({ seed, clients, final: seed })).doubled).toHaveLength(1);
  });

  test('an expunge in doubt excuses both outcomes', () => {
    const clients = { ...noClients, changes: [{ ...change, messageId: '<a>', maybeRemoved: 1 }] };
    const seed = holding(copy(u1, '<a>'));
    for (const final of [seed, nothing]) {
      expect(judge(given({ seed, clients, final }))).toMatchObject({ lost: [], doubled: [] });
    }
  });

  test('an acknowledged append must be there, an unacknowledged one may', () => {
    const acked = { ...noClients, changes: [{ ...change, messageId: '<a>', added: 1 }] };
    expect(judge(given({ clients: acked })).lost).toMatchObject([{ recipient: 'client' }]);
    const open = { ...noClients, changes: [{ ...change, messageId: '<a>', maybeAdded: 1 }] };
    expect(judge(given({ clients: open })).lost).toEqual([]);
    expect(judge(given({ clients: open, final: holding(copy(u1, '<a>')) })).doubled).toEqual([]);
  });
});

describe('bounces and refusals', () => {
  test('the over-quota mailbox may refuse, nobody else', () => {
    const refused = { state: 'refused', reply: '552 5.2.2 over quota' } as const;
    const deliveries = [sent('<a>', special.full, refused), sent('<a>', u1, refused)];
    const account = judge(given({ deliveries }));
    expect(account.refusedAsExpected).toBe(1);
    expect(account.bounced).toMatchObject([{ recipient: u1, kind: 'refused' }]);
  });

  test('a report that came back is a bounce, and its message not lost as well', () => {
    const report = { messageId: '<a>', recipient: virtualUser(5), diagnostic: 'smtp; 550 no' };
    const account = judge(
      given({
        deliveries: [sent('<a>', `list@${domains.local}`)],
        final: holding(copy(virtualUser(6), '<a>'), copy(special.localUsers[0], '<a>')),
        bounces: [report],
      }),
    );
    expect(account.bounced).toMatchObject([{ messageId: '<a>', kind: 'report' }]);
    expect(account).toMatchObject({ lost: [], sent: 3, delivered: 2 });
  });

  test('a report in a mailbox of the owner counts too', () => {
    const final = {
      ...nothing,
      bounces: [{ messageId: '<a>', recipient: 'friend@elsewhere.example', diagnostic: '' }],
    };
    expect(judge(given({ final })).bounced).toHaveLength(1);
  });
});

describe('order', () => {
  test('a sieved message in INBOX is misfiled', () => {
    const deliveries = [sent('<a>', special.sieve, { folder: 'Filed' })];
    const wrong = judge(given({ deliveries, final: holding(copy(special.sieve, '<a>')) }));
    expect(wrong.misfiled).toMatchObject([{ before: 'Filed', after: 'INBOX' }]);
    const right = holding(copy(special.sieve, '<a>', { folder: 'Filed' }));
    expect(judge(given({ deliveries, final: right })).misfiled).toEqual([]);
  });

  test('flags and folder of a seeded message stay, unless its user changed them', () => {
    const seed = holding(copy(u1, '<a>', { flags: 'FS' }), copy(u1, '<b>', { folder: 'Old' }));
    const final = holding(copy(u1, '<a>', { flags: 'S' }), copy(u1, '<b>'));
    const account = judge(given({ seed, final }));
    expect(account.flagChanges).toMatchObject([{ messageId: '<a>', before: 'FS', after: 'S' }]);
    expect(account.misfiled).toMatchObject([{ messageId: '<b>', before: 'Old', after: 'INBOX' }]);
    const touched = ['<a>', '<b>'].map((messageId) => ({ mailbox: u1, messageId }));
    expect(isClean(judge(given({ seed, final, clients: { ...noClients, touched } })))).toBe(true);
  });
});

describe('UID lists', () => {
  const folder = (uidValidity: number, uids: Record<string, number>): StoredFolder => {
    return { mailbox: u1, folder: 'INBOX', uidValidity, uids: new Map(Object.entries(uids)) };
  };
  const frozen = { ...nothing, folders: [folder(42, { a: 1, b: 2 })] };
  const changes = (...folders: StoredFolder[]) => {
    const final = { ...holding(copy(u1, '<a>', { base: 'a' })), folders };
    return judge(given({ frozen, final })).uidChanges;
  };

  test('the same list, or one less by an expunge, is no change', () => {
    expect(changes(folder(42, { a: 1, b: 2 }))).toEqual([]);
    expect(changes(folder(42, { a: 1, c: 3 }))).toEqual([]);
  });
  test('another UID', () => {
    expect(changes(folder(42, { a: 7, b: 2 }))).toMatchObject([
      { what: 'a', before: '1', after: '7' },
    ]);
  });
  test('a file that lost its UID', () => {
    expect(changes(folder(42, { b: 2 }))).toMatchObject([
      { what: 'a', before: '1', after: 'none' },
    ]);
  });
  test('another UIDVALIDITY', () => {
    expect(changes(folder(43, { a: 1, b: 2 }))).toMatchObject([
      { mailbox: u1, folder: 'INBOX', what: 'UIDVALIDITY', before: '42', after: '43' },
    ]);
  });
  test('no list at all', () => {
    expect(changes()).toMatchObject([{ what: 'UIDVALIDITY', after: 'no UID list' }]);
  });
});
