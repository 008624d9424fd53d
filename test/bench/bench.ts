import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Lab } from '../lab/lab.ts';
import { mustRun } from '../lab/process.ts';
import { freshDisk, keptDisk } from './bench-disk.ts';
import { BenchHosts, store, withDisks } from './bench-hosts.ts';
import { downtime } from './downtime.ts';
import { change, seed } from './mail-store.ts';
import { median, spread } from './median.ts';
import { memoryOfTransfer } from './memory.ts';

/**
 * What a pass costs against the commands that people use, on two lab hosts, paired: one after the
 * other on the same changes, in each run. Written as a table, medians and ratios.
 */
const help = `npm run bench -- [options]

  --only NAME     final, bulk, or growth: the final pass here and with three and a third times the messages
                  (default: final, then bulk). downtime: OLD's last delivery to NEW's first, by the built actions
                  and by the commands of a guide. memory: of the built transfer, with so many messages
  --mailboxes N   on OLD (default 2000; downtime 300)
  --messages N    in each (default 150; downtime 70)
  --sizes NAME    mixed: 20 KB on average; small: 1 to 2 KB (default mixed)
  --cold          drop the machine's caches before each measurement
  --rtt N         milliseconds from OLD to NEW and back, by a relay that holds what it gets (default 0)
  --rate N        megabits a second between the hosts, by tc(8) (default: as fast as they are)
  --runs N        paired runs of each row (default 5)
  --out FILE      the page in which the section of this run is replaced or added (default docs/benchmarks.md)
  --help          this text

Stores are made once and kept under ~/.cache/mail-cutover-bench: 300,000 mixed messages take 20 GB there.`;

interface Figures {
  readonly title: string;
  readonly ours: number[];
  readonly theirs: number[];
}

interface Options {
  readonly only?: string | undefined;
  readonly mailboxes: string;
  readonly messages: string;
  readonly sizes: string;
  readonly cold: boolean;
  readonly rtt: string;
  readonly rate?: string | undefined;
  readonly runs: string;
}

/**
 * Two hosts for as long as the work takes, with a store of this size on OLD. NEW's disk is kept too, or is a
 * fresh one of so many GB.
 */
async function onHosts<T>(
  options: Options,
  work: (bench: BenchHosts) => Promise<T>,
  fresh?: number,
): Promise<T> {
  const { mailboxes, messages, sizes } = options;
  const lab = await Lab.start({ hosts: ['old', 'new'], boot: false });
  try {
    const name = `${mailboxes}x${messages}-${sizes}`;
    const disks = {
      old: await keptDisk(`${name}-old`),
      new: await (fresh ? freshDisk('fresh', fresh) : keptDisk(`${name}-new`)),
    };
    return await withDisks(lab, disks, async () => {
      const bench = new BenchHosts(lab, options.cold, Number(options.rtt));
      if (options.rate) for (const { port } of lab.hosts) await slow(port, options.rate);
      const lock = await bench.open();
      try {
        await bench.run(
          `if [ ! -e ${store}.made ]; then echo "filling the store" >&2; rm -rf ${store}; fill() { ${seed}
           }; fill ${store} "$@"; : > ${store}.made; fi`,
          [mailboxes, messages, sizes],
        );
        return await work(bench);
      } finally {
        await lock.release();
        await bench.close();
      }
    });
  } finally {
    await lab.stop();
  }
}

/** What a host receives. */
async function slow(port: string, megabits: string): Promise<void> {
  const limit = ['rate', `${megabits}mbit`, 'burst', '256k', 'latency', '50ms'];
  await mustRun(['tc', 'qdisc', 'add', 'dev', port, 'root', 'tbf', ...limit]);
}

/**
 * The first copy by each, each run on a fresh disk of NEW and in another order: who comes later finds the
 * disk fuller, and the store in memory.
 */
async function bulk(options: Options): Promise<readonly Figures[]> {
  const rows = [
    figures('first pass against `rsync -azH`'),
    figures('first pass against `tar c \\| ssh tar x`'),
    figures('first pass against `cp -a` on one disk (a limit, not a rival)'),
  ];
  const ways = [
    (bench: BenchHosts) => bench.ours(true),
    (bench: BenchHosts) => bench.theirs(`rsync -azH ${store}/ new:${store}-rsync/`),
    (bench: BenchHosts) =>
      bench.theirs(`tar c -C ${store} . | ssh new 'mkdir ${store}-tar && tar x -C ${store}-tar'`),
    (bench: BenchHosts) => bench.onTargetAlone(`cp -a ${store}-seed ${store}-copy; sync -f /srv`),
  ];
  for (let run = 0; run < Number(options.runs); run += 1) {
    const seconds: number[] = [];
    await onHosts(
      options,
      async (bench) => {
        // What cp copies; it also brings the store into memory.
        await bench.run(
          `tar c -C ${store} . | ssh new 'mkdir ${store}-seed && tar x -C ${store}-seed && sync -f /srv'`,
        );
        for (let turn = 0; turn < ways.length; turn += 1) {
          const index = (run + turn) % ways.length;
          seconds[index] = (await ways[index]?.(bench)) ?? 0;
        }
      },
      bulkDisk(options),
    );
    console.log(`run ${run}: ours, rsync, tar, cp ${seconds.map((s) => s.toFixed(2)).join(', ')}`);
    for (const [index, row] of rows.entries()) {
      row.ours.push(seconds[0] ?? 0);
      row.theirs.push(seconds[index + 1] ?? 0);
    }
  }
  return rows;
}

/** GB for five copies: 24 KB a message with its inode and what is rounded up. */
function bulkDisk({ mailboxes, messages, sizes }: Options): number {
  const each = sizes === 'small' ? 6 : 26;
  return Math.ceil((Number(mailboxes) * Number(messages) * 5 * each) / 1e6) + 2;
}

function figures(title: string): Figures {
  return { title, ours: [], theirs: [] };
}

/** Long enough for the ctimes of what was just changed to prove something. */
const aWhile = 'end=$(($(date +%s) + 3)); while [ "$(date +%s)" -lt "$end" ]; do sleep 0.2; done';

/** How rsync connects: anew each time, or over a connection that is open. */
const anew = '-o ControlPath=none';
const shared = '-o ControlMaster=auto -o ControlPath=/run/bench-%C -o ControlPersist=600';

async function final(bench: BenchHosts, runs: number): Promise<readonly Figures[]> {
  const held = figures('final pass against `rsync -azH --delete`, both with their connection open');
  const fresh = figures('final pass against `rsync -azH --delete`, both connect first');
  const both = figures(
    'final pass and compare against `rsync -azH --delete` alone, connections open',
  );
  const rsync = (how: string) =>
    bench.theirs(`rsync -azH --delete -e 'ssh ${how}' ${store}/ new:${store}-rsync/`);
  await bench.ours(true);
  await bench.onTarget(`[ -e ${store}-rsync ] || cp -a ${store} ${store}-rsync`);
  await rsync(shared);
  const first = Date.now();
  for (let run = 0; run < runs; run += 1) {
    await bench.run(aWhile);
    await bench.ours(true);
    await bench.run(change, [store, String(first + 2 * run)]);
    fresh.ours.push(await bench.ours(false));
    fresh.theirs.push(await rsync(anew));
    await bench.run(aWhile);
    await bench.hold();
    await bench.run(change, [store, String(first + 2 * run + 1)]);
    const ours = await bench.held();
    const compare = await bench.compare();
    const theirs = await rsync(shared);
    console.log(
      `run ${run}: held ${ours.toFixed(2)}, compare ${compare.toFixed(2)}, rsync ${theirs.toFixed(2)}`,
    );
    held.ours.push(ours);
    held.theirs.push(theirs);
    both.ours.push(ours + compare);
    both.theirs.push(theirs);
  }
  return [held, fresh, both];
}

/** The same changes in a larger store: how ours grows, and how theirs does. */
async function growth(options: Options): Promise<readonly Figures[]> {
  const larger = { ...options, messages: String(Math.round((Number(options.messages) * 10) / 3)) };
  const runs = Number(options.runs);
  const [small] = await onHosts(options, (bench) => final(bench, runs));
  const [large] = await onHosts(larger, (bench) => final(bench, runs));
  if (!small || !large) throw new Error('nothing was measured');
  const grown = (of: 'ours' | 'theirs') => median(large[of]) / median(small[of]);
  console.log(`grows by ${grown('ours').toFixed(2)}, rsync by ${grown('theirs').toFixed(2)}`);
  return [
    { ...small, title: `${small.title}, ${total(options)} messages` },
    {
      ...large,
      title: `${large.title}, ${total(larger)} messages: ours grew by ${grown('ours').toFixed(2)}, rsync by ${grown('theirs').toFixed(2)}`,
    },
  ];
}

function total({ mailboxes, messages }: Options): string {
  return (Number(mailboxes) * Number(messages)).toLocaleString('en');
}

function row({ title, ours, theirs }: Figures): string {
  const ratios = ours.map((own, index) => (theirs[index] ?? 0) / own);
  return `| ${title} | ${median(ours).toFixed(2)} s (${spread(ours)}) | ${median(theirs).toFixed(2)} s (${spread(theirs)}) | ${median(ratios).toFixed(1)} (${spread(ratios)}) |`;
}

const intro = `# Benchmarks

Each section below is written by \`npm run bench\` with the options in it. Two hosts of the lab on one machine, so
both ends share its processors. Medians of paired runs, smallest and largest in brackets; the ratio is the median
of the ratios of the pairs. Ours is the engine as a stage runs it, from the runner, over SSH: what is not held
open (key, connection) is in its time. Theirs is the command on OLD with a key that is there. Both end with
\`sync\` on NEW.
`;

function section(table: string, options: Options, size: string): string {
  const far = options.rtt === '0' ? '' : `, ${options.rtt} ms there and back`;
  const slowly = options.rate ? `, ${options.rate} Mbit/s` : '';
  const kind = options.only === 'downtime' ? '' : `${options.sizes} `;
  const cold = options.cold ? ', cold caches' : '';
  const what = `${options.only ?? 'all'}, ${total(options)} ${kind}messages${cold}${far}${slowly}`;
  const words = Object.entries(options).flatMap(([name, value]) =>
    value === undefined || value === false
      ? []
      : [value === true ? `--${name}` : `--${name} ${value}`],
  );
  return `## ${what}

\`npm run bench -- ${words.join(' ')}\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} processors (${cpus()[0]?.model ?? '?'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, load average at the end ${loadavg()[0]?.toFixed(1)}. ${options.mailboxes} mailboxes, ${size}. Memory of the process that stands for the runner, at most: ${Math.round(process.resourceUsage().maxRSS / 1024)} MB.

${table}`;
}

function comparison(rows: readonly Figures[]): string {
  return `| work | ours | theirs | times faster |
| --- | --- | --- | --- |
${rows.map(row).join('\n')}
`;
}

function sizeOf({ only, sizes }: Options): string {
  if (only === 'downtime') return "the lab's mail";
  return sizes === 'small' ? '1 to 2 KB each' : '20 KB each on average';
}

/** The page with this section in the place of one of the same title, or at its end. */
function withSection(page: string, text: string): string {
  const [title] = text.split('\n');
  const [head = '', ...parts] = (page === '' ? intro : page).split(/^(?=## )/m);
  const others = parts.filter((part) => !part.startsWith(`${title}\n`));
  return [head.trimEnd(), ...others.map((part) => part.trimEnd()), text.trimEnd()]
    .join('\n\n')
    .concat('\n');
}

/** The tables of what was asked for. */
async function measure(options: Options): Promise<string> {
  if (options.only === 'downtime')
    return downtime({
      mailboxes: Number(options.mailboxes),
      messages: Number(options.messages),
      runs: Number(options.runs),
    });
  return comparison(await compare(options));
}

async function compare(options: Options): Promise<readonly Figures[]> {
  if (options.only === 'growth') return growth(options);
  const runs = Number(options.runs);
  return [
    ...(options.only === 'bulk' ? [] : await onHosts(options, (bench) => final(bench, runs))),
    ...(options.only === 'final' ? [] : await bulk(options)),
  ];
}

async function memory(options: Options): Promise<void> {
  const { mailboxes, messages, sizes } = options;
  const [first, again] = await memoryOfTransfer(mailboxes, messages, sizes);
  const shown = [first, again].map((bytes) => `${((bytes ?? 0) / 1e6).toFixed(0)} MB`);
  console.log(
    `memory of the built transfer, ${total(options)} messages: ${shown[0]}; a live pass after that one ${shown[1]}`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      mailboxes: { type: 'string' },
      messages: { type: 'string' },
      sizes: { type: 'string', default: 'mixed' },
      cold: { type: 'boolean', default: false },
      rtt: { type: 'string', default: '0' },
      rate: { type: 'string' },
      runs: { type: 'string', default: '5' },
      out: { type: 'string', default: join(import.meta.dirname, '../../docs/benchmarks.md') },
      help: { type: 'boolean', default: false },
    },
  });
  const { out, help: wantsHelp, ...given } = values;
  if (wantsHelp) {
    console.log(help);
    return;
  }
  const [mailboxes, messages] = given.only === 'downtime' ? ['300', '70'] : ['2000', '150'];
  const options: Options = {
    ...given,
    mailboxes: given.mailboxes ?? mailboxes,
    messages: given.messages ?? messages,
  };
  if (options.only === 'memory') {
    await memory(options);
    return;
  }
  const table = await measure(options);
  const text = section(table, options, sizeOf(options));
  console.log(text);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, withSection(existsSync(out) ? readFileSync(out, 'utf8') : '', text));
}

await main();
