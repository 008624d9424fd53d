import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StageName } from '../../src/actions/stages.ts';
import type { Entry } from '../../src/engine/journal.ts';
import { downtimeSeconds } from '../../src/report/downtime.ts';
import { Migration, notBefore } from '../e2e/migration.ts';
import { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { provision } from '../lab/profile-postfix-dovecot.ts';
import { special, ttl } from '../lab/world.ts';
import { readServing } from '../rehearsal/serving.ts';
import { cutOver, getReady } from './cutover-guide.ts';
import { median, spread } from './median.ts';
import { SteadySender } from './steady-sender.ts';

/*
 * From OLD's last delivery into a mailbox to NEW's first, by the logs of both hosts: the built actions
 * from freeze to dns-cutover as `form: swift` runs them in one job, against the commands of a guide.
 */

/** Something that took its time, in milliseconds since 1970. */
export interface Part {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** One move, measured. */
interface Gap {
  readonly seconds: number;
  /** For how long users reach their mailboxes on neither host. */
  readonly mailboxes: number;
  /** What fell into it, in seconds; the sum is all of it. */
  readonly parts: ReadonlyMap<string, number>;
}

const ways = ['hold', 'stop', 'guide'] as const;
type Way = (typeof ways)[number];

/** What is measured, as people read it. */
const titles: Readonly<Record<Way, string>> = {
  hold: 'ours, `freeze.mode: hold`',
  stop: 'ours, `freeze.mode: stop`',
  guide: "the guide's commands",
};

export interface DowntimeSize {
  readonly mailboxes: number;
  /** In each of them. */
  readonly messages: number;
  readonly runs: number;
}

/** Every way once a run, one after the other on hosts that are reset. Returns the tables. */
export async function downtime({ mailboxes, messages, runs }: DowntimeSize): Promise<string> {
  const lab = await Lab.start({ boot: false, ttl: ttl.lowered });
  try {
    await provision(lab, { mailboxes, messagesPerMailbox: messages });
    const gaps: Readonly<Record<Way, Gap[]>> = { hold: [], stop: [], guide: [] };
    for (let run = 0; run < runs; run += 1) {
      for (const way of ways) {
        await startAfresh(lab);
        const gap = await measure(lab, way, mailboxes);
        console.log(`run ${run}, ${way}: ${gap.seconds.toFixed(2)} s`);
        gaps[way].push(gap);
      }
    }
    await lab.stop();
    return `${comparison(gaps)}\n${ways.map((way) => partsOf(titles[way], gaps[way])).join('\n')}`;
  } catch (error) {
    await lab.abandon();
    throw error;
  }
}

/** Disks of earlier moves that are kept. */
let kept = 0;

/**
 * What the hosts have written is moved aside, not removed: after a large rm the same disk is slower for
 * minutes, and all that must be on it before it counts would be measured with that.
 */
async function startAfresh(lab: Lab): Promise<void> {
  for (const host of lab.hosts) {
    await host.powerCut();
    kept += 1;
    renameSync(join(lab.folder, host.name, 'changes'), join(lab.folder, `kept-${kept}`));
  }
  await Promise.all(lab.hosts.map((host) => host.reset()));
}

async function measure(lab: Lab, way: Way, mailboxes: number): Promise<Gap> {
  const since = Date.now();
  const move = way === 'guide' ? await byGuide(lab) : await byActions(lab, way);
  const sender = new SteadySender(mailboxes);
  try {
    await waitFor('OLD delivers', 60, async () => (await deliveries(lab, since)).old.length > 20);
    const { parts, mailboxes } = await move();
    await waitFor('NEW delivers', 120, async () => (await deliveries(lab, since)).new.length > 0);
    const { old, new: target } = await deliveries(lab, since);
    return { ...gapOf(Math.max(...old), Math.min(...target), parts), mailboxes };
  } finally {
    await sender.stop();
  }
}

/** When each host delivered, the probe's own message left out. */
async function deliveries(lab: Lab, since: number) {
  const all = await readServing(lab, since);
  const of = (side: 'old' | 'new') =>
    all
      .filter(
        ({ host, mailbox, what }) => host === side && what === 'lmtp' && mailbox !== special.probe,
      )
      .map(({ from }) => from);
  return { old: of('old'), new: of('new') };
}

/** Moves, and tells what took which time, and for how many seconds mailboxes were out of reach. */
type Move = () => Promise<{ readonly parts: readonly Part[]; readonly mailboxes: number }>;

async function byGuide(lab: Lab): Promise<Move> {
  await getReady(lab);
  return async () => {
    const parts = await cutOver(lab);
    // From the word that stops Dovecot to the end of the one that starts it.
    const mailboxes = ((parts.at(-1)?.to ?? 0) - (parts[0]?.from ?? 0)) / 1000;
    return { parts, mailboxes };
  };
}

/** The stages of the swift form's one job, in its order. */
const cutover: readonly (readonly [StageName, Record<string, string>])[] = [
  ['freeze', {}],
  ['transfer', { pass: 'final' }],
  ['activate', {}],
  ['dns-cutover', {}],
];

async function byActions(lab: Lab, mode: 'hold' | 'stop'): Promise<Move> {
  const migration = await Migration.create(lab, { freeze: { mode, 'max-minutes': 10 } });
  const began = performance.now();
  if (process.env.MAIL_CUTOVER_DEBUG === '1')
    migration.onLine((line) =>
      console.log(`  ${((performance.now() - began) / 1000).toFixed(3)} ${line}`),
    );
  await migration.must('prepare');
  await migration.must('transfer', { pass: 'live' });
  const asked = await migration.run('freeze', { 'dry-run': 'true' });
  const at = notBefore(asked.log);
  if (at) await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
  return async () => {
    // A job runs the post steps of its actions after all its steps.
    const posts: (() => Promise<void>)[] = [];
    const runs: Part[] = [];
    const debug = process.env.MAIL_CUTOVER_DEBUG === '1';
    for (const [stage, inputs] of cutover) {
      const from = Date.now();
      await migration.must(stage, inputs, { debug, postpone: (post) => posts.push(post) });
      runs.push({ name: stage, from, to: Date.now() });
    }
    for (const post of posts) await post();
    await migration.remove();
    const journal = await lab.host('old').mustSh('cat /var/lib/mail-cutover/orchard/journal.jsonl');
    const entries = journal
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Entry);
    return {
      parts: runs.flatMap((run) => partsOfStage(run, entries)),
      mailboxes: downtimeSeconds(entries) ?? Number.NaN,
    };
  };
}

/** By the journal: what comes before the first step, each step, and what comes after the last. */
function partsOfStage({ name: stage, from, to }: Part, entries: readonly Entry[]): readonly Part[] {
  const parts: Part[] = [];
  let last = from;
  const until = (name: string, at: number) => {
    parts.push({ name: `${stage}: ${name}`, from: last, to: at });
    last = at;
  };
  for (const { kind, step = '', time } of entries) {
    const at = Date.parse(time);
    if (at < from || at > to) continue;
    if (kind === 'stage-begin') until('start, connect, lock', at);
    else if (kind === 'outcome') until(step, at);
  }
  until('unlock, report, end', to);
  return parts;
}

/** Cuts the parts to what lies between the two deliveries; what no part covers has a name too. */
function gapOf(began: number, ended: number, all: readonly Part[]): Omit<Gap, 'mailboxes'> {
  const parts = new Map<string, number>();
  let covered = 0;
  for (const { name, from, to } of all) {
    const seconds = (Math.min(to, ended) - Math.max(from, began)) / 1000;
    if (seconds <= 0) continue;
    parts.set(name, (parts.get(name) ?? 0) + seconds);
    covered += seconds;
  }
  const seconds = (ended - began) / 1000;
  parts.set('between these, and until the first message is in', seconds - covered);
  return { seconds, parts };
}

function comparison(gaps: Readonly<Record<Way, readonly Gap[]>>): string {
  const row = (way: 'hold' | 'stop', what: string, of: (gap: Gap) => number) => {
    const [ours, theirs] = [gaps[way].map(of), gaps.guide.map(of)];
    const shares = ours.map((seconds, run) => seconds / (theirs[run] ?? 0));
    return `| ${what}, ${titles[way]} | ${shown(ours)} | ${shown(theirs)} | ${median(shares).toFixed(2)} (${spread(shares)}) |`;
  };
  const rows = (['hold', 'stop'] as const).flatMap((way) => [
    row(way, "OLD's last delivery to NEW's first", ({ seconds }) => seconds),
    row(way, 'mailboxes out of reach', ({ mailboxes }) => mailboxes),
  ]);
  return `By the delivery logs of both hosts, while a message comes every 50 ms to the address that the zone has.
Ours: the built actions \`freeze\`, \`transfer\` (\`final\`), \`activate\` and \`dns-cutover\` one after the other, as
\`form: swift\` runs them in one job. Theirs: what the guide of chatmail relays has done by hand between the two
deliveries (systemctl, tar, rsync, chown, DNS, systemctl), one after the other, by a script that waits for nobody.
Before that: a live pass; a first copy by tar. Hosts are reset in between.

| from … to, and how | ours | the guide's commands | ours is … of theirs |
| --- | --- | --- | --- |
${rows.join('\n')}

With \`hold\` port 25 of OLD takes mail all the time; with the other two it is closed meanwhile.
`;
}

function shown(seconds: readonly number[]): string {
  return `${median(seconds).toFixed(2)} s (${spread(seconds)})`;
}

/** Medians over the runs, in the order in which things happened. */
function partsOf(title: string, gaps: readonly Gap[]): string {
  const names = new Set(gaps.flatMap(({ parts }) => [...parts.keys()]));
  const rows = [...names].map((name) => {
    const seconds = gaps.map(({ parts }) => parts.get(name) ?? 0);
    return `| ${name} | ${median(seconds).toFixed(2)} s |`;
  });
  return `| ${title}: part of it | median |
| --- | --- |
${rows.join('\n')}
`;
}
