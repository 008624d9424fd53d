import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Lab } from '../lab/lab.ts';
import { BenchHosts, store, withDisks } from './bench-hosts.ts';
import { change, seed } from './mail-store.ts';
import { memoryOfTransfer } from './memory.ts';

/**
 * What a pass costs against the commands that people use, on two lab hosts, paired: one after the
 * other on the same changes, in each run. Written as a table, medians and ratios.
 */
const help = `npm run bench -- [options]

  --only NAME     final, bulk, or growth: the final pass here and with three and a third times the messages
                  (default: final, then bulk); memory: of the built transfer, with so many messages
  --mailboxes N   on OLD (default 2000)
  --messages N    in each (default 150)
  --sizes NAME    mixed: 20 KB on average; small: 1 to 2 KB (default mixed)
  --cold          drop the machine's caches before each measurement
  --rtt N         milliseconds from OLD to NEW and back, by a relay that holds what it gets (default 0)
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
  readonly runs: string;
}

/** Two hosts with a store of this size on OLD, for as long as the work takes. */
async function onHosts<T>(options: Options, work: (bench: BenchHosts) => Promise<T>): Promise<T> {
  const { mailboxes, messages, sizes } = options;
  const lab = await Lab.start({ hosts: ['old', 'new'], boot: false });
  try {
    return await withDisks(lab, `${mailboxes}x${messages}-${sizes}`, async () => {
      const bench = new BenchHosts(lab, options.cold, Number(options.rtt));
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

async function bulk(bench: BenchHosts, runs: number): Promise<readonly Figures[]> {
  const rows = [
    figures('first pass against `rsync -azH`'),
    figures('first pass against `tar c \\| ssh tar x`'),
    figures('first pass against `cp -a` on one disk (a limit, not a rival)'),
  ];
  await bench.run(`tar c -C ${store} . | wc -c`); // warm
  for (let run = 0; run < runs; run += 1) {
    // Aside, not away: after a large rm the same disk is slower for minutes.
    await bench.onTarget(
      `mkdir -p /srv/aside; for path in ${store} ${store}-rsync ${store}-tar; do if [ -e "$path" ]; then mv "$path" "/srv/aside/\${path##*/}.$(date +%s%N)"; fi; done
       mkdir ${store}-tar; sync`,
    );
    await bench.forgetPasses();
    const ours = await bench.ours(true);
    const theirs = [
      await bench.theirs(`rsync -azH ${store}/ new:${store}-rsync/`),
      await bench.theirs(`tar c -C ${store} . | ssh new tar x -C ${store}-tar`),
      await bench.theirs(
        `mkdir -p /srv/aside; cp -a ${store} /srv/aside/copy.${run}; sync -f /srv`,
      ),
    ];
    const shown = theirs.map((seconds) => seconds.toFixed(2)).join(', ');
    console.log(`run ${run}: ours ${ours.toFixed(2)}; rsync, tar, cp ${shown}`);
    for (const [index, row] of rows.entries()) {
      row.ours.push(ours);
      row.theirs.push(theirs[index] ?? 0);
    }
  }
  await Promise.all([bench.onTarget('rm -rf /srv/aside'), bench.run('rm -rf /srv/aside')]);
  return rows;
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

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? 0)) / 2;
}

function row({ title, ours, theirs }: Figures): string {
  const ratios = ours.map((own, index) => (theirs[index] ?? 0) / own);
  const spread = (values: readonly number[]) =>
    `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`;
  return `| ${title} | ${median(ours).toFixed(2)} s (${spread(ours)}) | ${median(theirs).toFixed(2)} s (${spread(theirs)}) | ${median(ratios).toFixed(1)} (${spread(ratios)}) |`;
}

const intro = `# Benchmarks

Each section is written by \`npm run bench\` with the options in it. Two hosts of the lab on one machine, so
both ends, and whatever else the machine did, share its processors. Medians of paired runs, smallest and
largest in brackets; the ratio is the median of the ratios of the pairs. Ours is the engine as a stage runs
it, from the runner, over SSH: what is not held open (key, connection) is in its time. Theirs is the command
on OLD with a key that is there. Both end with \`sync\` on NEW. Stores are made once and kept under
\`~/.cache/mail-cutover-bench\`.
`;

function section(rows: readonly Figures[], options: Options, size: string): string {
  const far = options.rtt === '0' ? '' : `, ${options.rtt} ms there and back`;
  const what = `${options.only ?? 'all'}, ${total(options)} ${options.sizes} messages${options.cold ? ', cold caches' : ''}${far}`;
  const words = Object.entries(options).flatMap(([name, value]) =>
    value === undefined || value === false
      ? []
      : [value === true ? `--${name}` : `--${name} ${value}`],
  );
  return `## ${what}

\`npm run bench -- ${words.join(' ')}\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} processors (${cpus()[0]?.model ?? '?'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, load average at the end ${loadavg()[0]?.toFixed(1)}. ${options.mailboxes} mailboxes, ${size}. Memory of the process that stands for the runner, at most: ${Math.round(process.resourceUsage().maxRSS / 1024)} MB.

| work | ours | theirs | times faster |
| --- | --- | --- | --- |
${rows.map(row).join('\n')}
`;
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

async function measure(options: Options): Promise<readonly Figures[]> {
  if (options.only === 'growth') return growth(options);
  const runs = Number(options.runs);
  return onHosts(options, async (bench) => [
    ...(options.only === 'bulk' ? [] : await final(bench, runs)),
    ...(options.only === 'final' ? [] : await bulk(bench, runs)),
  ]);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      mailboxes: { type: 'string', default: '2000' },
      messages: { type: 'string', default: '150' },
      sizes: { type: 'string', default: 'mixed' },
      cold: { type: 'boolean', default: false },
      rtt: { type: 'string', default: '0' },
      runs: { type: 'string', default: '5' },
      out: { type: 'string', default: join(import.meta.dirname, '../../docs/benchmarks.md') },
      help: { type: 'boolean', default: false },
    },
  });
  const { out, help: wantsHelp, ...options } = values;
  if (wantsHelp) {
    console.log(help);
    return;
  }
  if (options.only === 'memory') {
    const [first, again] = await memoryOfTransfer(
      options.mailboxes,
      options.messages,
      options.sizes,
    );
    const shown = [first, again].map((bytes) => `${((bytes ?? 0) / 1e6).toFixed(0)} MB`);
    console.log(
      `memory of the built transfer, ${total(options)} messages: ${shown[0]}; a live pass after that one ${shown[1]}`,
    );
    return;
  }
  const rows = await measure(options);
  const text = section(
    rows,
    options,
    options.sizes === 'small' ? '1 to 2 KB each' : '20 KB each on average',
  );
  console.log(text);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, withSection(existsSync(out) ? readFileSync(out, 'utf8') : '', text));
}

await main();
