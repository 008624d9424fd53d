import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../lab/lab.ts';
import { type Account, type Finding, judge } from '../rehearsal/account.ts';
import { explainDoubles } from '../rehearsal/doubles.ts';
import { overlapInWords, overlaps, readServing } from '../rehearsal/serving.ts';
import { type HeadCache, readStore, type Snapshot } from '../rehearsal/store.ts';
import { compareUidLists } from '../rehearsal/uid-account.ts';
import type { Load } from './load.ts';
import { folder, journalLines } from './watch.ts';
import type { World } from './world.ts';

/** What a run came to. All lists are empty and all counts zero where nothing is wrong. */
export interface Verdict {
  readonly sent: number;
  readonly delivered: number;
  readonly seeded: number;
  readonly lost: readonly Finding[];
  readonly doubled: readonly Finding[];
  /** Doubles that SMTP or LMTP made when a host died in mid-reply, each with its line of the log. */
  readonly rfc1047: readonly string[];
  /** Flags that a server with a full disk said it had set. */
  readonly flagsOnFullDisk: number;
  /** Files that wait in a queue, by host. */
  readonly stuck: readonly string[];
  readonly uidChanges: number;
  /** Bounced, pending at their sender, in the wrong folder, with other flags. */
  readonly disorder: readonly string[];
  readonly servers: readonly string[];
  readonly overlaps: readonly string[];
  /** Processes, keys and marks that should be gone, and journals that differ. */
  readonly leftovers: readonly string[];
}

export function isGood(verdict: Verdict): boolean {
  return complaints(verdict).length === 0;
}

/** What is wrong, a line each. */
export function complaints(verdict: Verdict): readonly string[] {
  const findings = (what: string, list: readonly Finding[]) =>
    list.map(
      ({ messageId, recipient, mailbox, expected, found, folders }) =>
        `${what}: ${messageId} to ${recipient} in ${mailbox}: ${found} instead of ${expected} (${folders.join(', ')})`,
    );
  return [
    ...findings('lost', verdict.lost),
    ...findings('doubled', verdict.doubled),
    ...verdict.stuck.map((line) => `stuck: ${line}`),
    ...(verdict.uidChanges > 0 ? [`${verdict.uidChanges} UID changes`] : []),
    ...verdict.disorder,
    ...verdict.servers,
    ...verdict.overlaps,
    ...verdict.leftovers,
  ];
}

export interface Case {
  readonly world: World;
  readonly load: Load;
  readonly owner: 'old' | 'new';
  readonly seed: Snapshot;
  /** OLD or NEW at times when UIDs were given that must stay. */
  readonly snapshots: readonly Snapshot[];
  readonly startedAt: number;
  /** Filled disks on the way: Dovecot then answers OK to flags that it keeps in memory only. */
  readonly diskFull?: boolean;
  /** Rolled back before anything was copied: NEW is as its administrator had it, services and all. */
  readonly untouched?: boolean;
}

const settleSeconds = 60;

/** Ends the load and takes the exact account on the owner. */
export async function takeVerdict(what: Case): Promise<Verdict> {
  const { world, load, owner } = what;
  const { lab } = world;
  const servers = await oneServer(lab, owner, what.untouched ?? false);
  await load.stop();
  const isDrained = await load.drained(settleSeconds);
  await settled(what);
  if (servers.length === 0) await load.lastLook();
  const final = await readStore(world.places(owner));
  const last = judgeNow(what, final);
  const { explained, rest } = await explainDoubles(
    [lab.host('old'), lab.host('new')],
    last.doubled,
  );
  const uidChanges = [
    ...what.snapshots.flatMap((before) => compareUidLists(before, final)),
    ...last.uidChanges,
  ].filter(({ mailbox, what: name }) => !moved(what, mailbox, name));
  const serving = await readServing(lab, what.startedAt);
  return {
    sent: last.sent,
    delivered: last.delivered,
    seeded: last.seeded,
    lost: last.lost,
    doubled: rest,
    rfc1047: explained,
    flagsOnFullDisk: what.diskFull ? last.flagChanges.length : 0,
    stuck: await stuck(lab, owner),
    uidChanges: uidChanges.length,
    disorder: [
      ...(isDrained ? [] : ['some mail still waits at its sender']),
      ...last.bounced.map(
        ({ messageId, recipient, reason }) => `bounced: ${messageId} to ${recipient}: ${reason}`,
      ),
      ...last.pending.map(
        ({ messageId, recipient, reply }) => `pending: ${messageId} to ${recipient}: ${reply}`,
      ),
      ...last.misfiled.map(
        ({ messageId, mailbox, before, after }) =>
          `misfiled: ${messageId} in ${mailbox}: ${before}, now ${after}`,
      ),
      ...(what.diskFull ? [] : last.flagChanges).map(
        ({ messageId, mailbox, before, after }) =>
          `flags: ${messageId} in ${mailbox}: ${before}, now ${after}`,
      ),
      ...uidChanges.map((change) => `uid: ${JSON.stringify(change)}`),
    ],
    servers,
    overlaps: overlaps(serving).map(overlapInWords),
    leftovers: await leftovers(lab),
  };
}

/** Whether the mailbox's own mail program has moved this file, perhaps away and back: a new UID is due. */
function moved({ snapshots, load }: Case, mailbox: string, base: string): boolean {
  const ids = snapshots.flatMap(({ messages }) =>
    messages.filter((message) => message.mailbox === mailbox && message.base === base),
  );
  const touched = load.evidence.touched.filter((each) => each.mailbox === mailbox);
  return ids.some(({ messageId }) => touched.some((each) => each.messageId === messageId));
}

function judgeNow({ load, seed, snapshots }: Case, final: Snapshot): Account {
  return judge({
    ...{ seed, final, imapUidChanges: [] },
    frozen: snapshots.at(-1) ?? seed,
    deliveries: load.ledger.deliveries,
    received: load.sink.received,
    bounces: load.sink.bounces,
    clients: load.evidence,
  });
}

/** Waits until nothing is on its way any more. */
async function settled(what: Case): Promise<void> {
  const { world, owner } = what;
  const cache: HeadCache = new Map();
  const end = Date.now() + settleSeconds * 1000;
  for (;;) {
    for (const side of ['old', 'new'] as const)
      await world.lab.host(side).sh('postfix status 2>/dev/null && postqueue -f');
    const account = judgeNow(what, await readStore(world.places(owner), cache));
    const isQuiet = account.lost.length === 0 && (await stuck(world.lab, owner)).length === 0;
    if (isQuiet || Date.now() > end) return;
    await sleep(700);
  }
}

/**
 * Postfix's own notices to the postmaster, whose mailbox the lab does not have, are not counted; nor what is not
 * executable, which is not whole and was never acknowledged: postcat(1) goes round in such a file for ever.
 */
const queues = `cd /var/spool/postfix
find maildrop incoming active deferred hold "$@" -type f -perm -u+x 2>/dev/null | while read -r file; do
  postcat -e "$file" 2>/dev/null | grep -qa '^sender: double-bounce@' || printf '%s\\n' "$file"
done | head -n 20`;

/**
 * What waits in a queue of Postfix, or on the owner in one that was set aside. On the other host that
 * is the spare copy of a queue that went over with the mailboxes (`stop`).
 */
async function stuck(lab: Lab, owner: 'old' | 'new'): Promise<readonly string[]> {
  const found = await Promise.all(
    (['old', 'new'] as const).map(async (side) => {
      const { stdout } = await lab.host(side).sh(queues, side === owner ? [`${folder}/queue`] : []);
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((path) => `${side}: ${path}`);
    }),
  );
  return found.flat();
}

const look = `ss -Hltn "( sport = :143 or sport = :993 or sport = :995 or sport = :110 )" | wc -l
postconf -h local_transport
if postfix status 2>/dev/null; then echo running; else echo down; fi`;

/** The owner serves, and the other host does not. */
async function oneServer(
  lab: Lab,
  owner: 'old' | 'new',
  untouched: boolean,
): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const side of ['old', 'new'] as const) {
    const { stdout } = await lab.host(side).sh(look);
    const [imap = '0', transport = '', postfix = ''] = stdout.split('\n');
    const delivers = postfix === 'running' && !transport.startsWith('mail-cutover');
    const reads = Number(imap) > 0;
    if (side === owner && !(reads && delivers))
      faults.push(`${side} does not serve: ${stdout.trim().replaceAll('\n', ', ')}`);
    if (side !== owner && !untouched && (reads || delivers))
      faults.push(`${side} serves too: ${stdout.trim().replaceAll('\n', ', ')}`);
  }
  return faults;
}

const remains = `for process in /proc/[0-9]*; do
  tr '\\0' ' ' < "$process/cmdline" 2>/dev/null | grep -o 'mail-cutover/.*' | grep -v grep || :
done | head -n 5
grep -l 'mail-cutover' /root/.ssh/authorized_keys 2>/dev/null || :`;

async function leftovers(lab: Lab): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const side of ['old', 'new'] as const) {
    const { stdout } = await lab.host(side).sh(remains);
    lines.push(
      ...stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => `left on ${side}: ${line}`),
    );
  }
  const [old, target] = [journalLines(lab, 'old'), journalLines(lab, 'new')];
  if (old.join('\n') !== target.join('\n'))
    lines.push(`the journals differ: ${old.length} lines on OLD, ${target.length} on NEW`);
  return lines;
}
