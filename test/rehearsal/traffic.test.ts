import {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Lab } from '../lab/lab.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { domains, network, outside, virtualUser } from '../lab/world.ts';
import { type Account, isClean } from './account.ts';
import { figures } from './figures.ts';
import { labPlaces, type MailboxPlace } from './layout.ts';
import { newMessageId, render } from './messages.ts';
import { from } from './mixture.ts';
import { trafficLine } from './progress.ts';
import type { Snapshot } from './store.ts';
import { account, inventory, settledAccount } from './taking.ts';
import { traces } from './trace.ts';
import { startTraffic, type Traffic } from './traffic.ts';

/**
 * The traffic against OLD alone: with no migration at all the account must be clean, and each fault
 * that is planted afterwards must be found by name. Else nothing that it says of a migration counts.
 */
const mailboxes = 30;
const trafficSeconds = 15;

let lab: Lab;
let traffic: Traffic;
let seed: Snapshot;
let places: readonly MailboxPlace[];
let clean: Account;
let end: Snapshot;
/** What the mail log says of what is lost or doubled, for whoever reads a failed run. */
let evidence: string;

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes, messagesPerMailbox: 20 }));
  places = labPlaces(lab.host('old').root, mailboxes);
  seed = await inventory(places);
  traffic = await startTraffic({ mailboxes, rate: 10, bigEvery: 5000, seed: 1 });
  await sleep(trafficSeconds * 1000);
  await traffic.stop();
  expect(await traffic.drainQueue(60)).toBe(true);
  clean = await settle(60);
  evidence = await traces([lab.host('old')], [...clean.lost, ...clean.doubled]);
  end = await inventory(places);
});

afterAll(async () => {
  await traffic?.close();
  await lab?.stop();
});

function options(frozen: Snapshot) {
  return { traffic, seed, frozen, owner: places, ownerAddress: network.old.v4 };
}

function settle(seconds: number): Promise<Account> {
  return settledAccount(options(seed), seconds);
}

test('with no migration nothing is lost, doubled, bounced or renumbered', () => {
  if (!isClean(clean)) console.error(evidence);
  const summary = { ...clean, unexplained: clean.unexplained.length };
  expect(summary).toMatchObject({
    ...{ lost: [], doubled: [], doubledByLostReply: [], bounced: [], uidChanges: [] },
    ...{ pending: [], misfiled: [], flagChanges: [], unexplained: 0 },
  });
  expect(isClean(clean)).toBe(true);
  expect(clean.delivered).toBe(clean.sent);
});

test('the traffic was as rich as it should be', () => {
  const { deliveries } = traffic.ledger;
  expect(clean.sent).toBeGreaterThan(trafficSeconds * 10);
  expect(clean.seeded).toBeGreaterThan(mailboxes * 20);
  expect(clean.refusedAsExpected).toBeGreaterThan(0);
  const bySubmission = deliveries.filter(({ via }) => via === 'submission');
  expect(bySubmission.some(({ state }) => state === 'accepted')).toBe(true);
  expect(traffic.sink.received.length).toBeGreaterThan(0);
  const { changes } = traffic.clients.evidence;
  const total = (field: 'added' | 'removed') =>
    changes.reduce((sum, change) => sum + change[field], 0);
  expect(total('added')).toBeGreaterThan(0);
  expect(total('removed')).toBeGreaterThan(0);
  expect(traffic.sender.unreachable.size).toBe(0);
  expect(figures(clean, traffic)).toMatchObject({ smtpRefusedSeconds: 0, reachedNewByDns: 0 });
  expect(figures(clean, traffic).imapAwaySeconds.max).toBeLessThan(10);
  expect(trafficLine(traffic)).toContain('port 25 open');
});

describe('a planted fault is found by name', () => {
  /** The file of a message that came in the traffic, in a mailbox that no mail program works on. */
  function delivered(): { path: string; messageId: string; mailbox: string } {
    const mailbox = virtualUser(1);
    const messageId = traffic.ledger.deliveries.find(
      ({ recipient, state }) => state === 'accepted' && recipient === mailbox,
    )?.messageId;
    const stored = end.messages.find(
      (message) => message.messageId === messageId && message.mailbox === mailbox,
    );
    if (messageId === undefined || !stored) throw new Error('u001 got no mail in the traffic');
    const folder = join(placeOf(mailbox).maildir, 'new');
    const name = readdirSync(folder).find((file) => file.startsWith(stored.base));
    return { path: join(folder, name ?? ''), messageId, mailbox };
  }

  function placeOf(mailbox: string): MailboxPlace {
    const place = places.find((candidate) => candidate.mailbox === mailbox);
    if (!place) throw new Error(`no place for ${mailbox}`);
    return place;
  }

  test('a delivered file deleted', async () => {
    const { path, messageId, mailbox } = delivered();
    const hidden = join(dirname(path), '../tmp/hidden');
    renameSync(path, hidden);
    try {
      const found = await account({ ...options(end), sample: [] });
      expect(found.lost).toMatchObject([{ messageId, mailbox, expected: 1, found: 0 }]);
      expect(found.delivered).toBe(found.sent - 1);
    } finally {
      renameSync(hidden, path);
    }
  });

  test('a delivered file duplicated', async () => {
    const { path, messageId, mailbox } = delivered();
    const twin = join(dirname(path), '1.twin.old:2,');
    copyFileSync(path, twin);
    try {
      const found = await account({ ...options(end), sample: [] });
      expect(found.doubled).toMatchObject([{ messageId, mailbox, expected: 1, found: 2 }]);
    } finally {
      rmSync(twin);
    }
  });

  test('a message accepted and then bounced', async () => {
    const messageId = newMessageId(outside.domain);
    const recipient = `nobody-here@${domains.local}`;
    const message = { messageId, from, recipients: [recipient], subject: 'to nobody', size: 100 };
    await lab.host('old').mustSh('exec sendmail -i -f "$1" "$2"', [from, recipient], {
      stdin: render(message).toString().replaceAll('\r\n', '\n'),
    });
    traffic.ledger.open(message, 'smtp');
    traffic.ledger.accepted(messageId, recipient, network.old.v4, '250 by hand');
    await expect.poll(() => traffic.sink.bounces, { timeout: 30_000 }).toHaveLength(1);
    const found = await account({ ...options(end), sample: [] });
    expect(found.bounced).toMatchObject([{ messageId, recipient, kind: 'report' }]);
    expect(found.lost).toEqual([]);
  });

  test('a UIDVALIDITY changed, seen in the list and over IMAP', async () => {
    const mailbox = virtualUser(2);
    const list = join(placeOf(mailbox).control, 'dovecot-uidlist');
    const text = readFileSync(list, 'latin1');
    const was = end.folders.find((f) => f.mailbox === mailbox && f.folder === 'INBOX')?.uidValidity;
    await lab.host('old').mustSh('doveadm kick "*" || true; systemctl stop dovecot');
    writeFileSync(list, text.replace(/ V\d+/, ' V1234567'), 'latin1');
    const folder = dirname(list);
    for (const name of readdirSync(folder).filter((n) => n.startsWith('dovecot.index'))) {
      rmSync(join(folder, name));
    }
    await lab.host('old').mustSh('systemctl start dovecot');
    const found = await account({ ...options(end), sample: [mailbox] });
    const change = { mailbox, folder: 'INBOX', what: 'UIDVALIDITY', after: '1234567' };
    expect(found.uidChanges).toMatchObject([
      { ...change, before: String(was), seenBy: 'uidlist' },
      { ...change, before: String(was), seenBy: 'imap' },
    ]);
  });
});
