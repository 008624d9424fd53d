import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Lock, takeLock } from '../../src/engine/lock.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { migrationFiles } from '../../src/hosts/migration-files.ts';
import { demandEqual } from '../../src/transfer/manifest.ts';
import { finalPass, passAndHold, transferPass } from '../../src/transfer/pass.ts';
import { Lab } from '../lab/lab.ts';
import { change, seed } from './mail-store.ts';

/**
 * What a pass costs against the commands that people use, on two lab hosts, paired: one after the
 * other on the same changes, in each run. Written as a table, medians and ratios.
 */
const help = `npm run bench -- [options]

  --only NAME     final or bulk (default both)
  --mailboxes N   on OLD (default 2000)
  --messages N    in each (default 150)
  --sizes NAME    mixed: 10 KB on average; small: 1 to 2 KB (default mixed)
  --cold          drop the machine's caches before each measurement
  --runs N        paired runs of each row (default 5)
  --out FILE      the page in which the section of this run is replaced or added (default docs/benchmarks.md)
  --help          this text`;

const migration = 'bench';
const store = '/srv/store';

/** Other work of the machine must not end a measurement. */
const patience = { timeout: 7200 };

interface Figures {
  readonly title: string;
  readonly ours: number[];
  readonly theirs: number[];
}

class Bench {
  readonly #lab: Lab;
  readonly #source: MailHost;
  readonly #target: MailHost;

  readonly #isCold: boolean;

  constructor(lab: Lab, isCold: boolean) {
    this.#lab = lab;
    this.#isCold = isCold;
    this.#source = this.#mailHost('old');
    this.#target = this.#mailHost('new');
  }

  async open(): Promise<Lock> {
    const hosts = [this.#source, this.#target];
    for (const host of hosts) await host.install();
    const { stdout } = await this.#lab.host('old').sh(
      `ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench && cat /root/.ssh/bench.pub
       printf 'Host new\\nHostName %s\\nIdentityFile /root/.ssh/bench\\nStrictHostKeyChecking accept-new\\n' "$1" > /root/.ssh/config`,
      [this.#lab.host('new').address],
    );
    await this.#lab
      .host('new')
      .mustSh('printf "%s\\n" "$1" >> /root/.ssh/authorized_keys', [stdout.trim()]);
    await this.#lab.host('old').mustSh('ssh new true 2>/dev/null');
    return takeLock(hosts.map(migrationFiles), 'bench');
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.close(), this.#target.close()]);
  }

  /** Seconds of one pass of ours, as a stage runs it: key, connection, copy, sync, key removed. */
  ours(live: boolean): Promise<number> {
    return this.#pass(() => transferPass({ ...this.#options(), live }));
  }

  /** A live pass that leaves a connection open. */
  hold(): Promise<number> {
    return this.#pass(() => passAndHold({ ...this.#options(), live: true }));
  }

  /** Seconds of a final pass over the connection that is held open. */
  held(): Promise<number> {
    return this.#pass(() => finalPass(this.#options()));
  }

  #forget(): void {
    if (this.#isCold) writeFileSync('/proc/sys/vm/drop_caches', '3');
  }

  #pass(work: () => Promise<string>): Promise<number> {
    this.#forget();
    return seconds(async () => console.log(`  ${await work()}`));
  }

  #options() {
    return {
      source: this.#source,
      target: this.#target,
      targetPort: 22,
      migration,
      items: [{ path: store, kind: 'directory' as const }],
      stores: [store],
      live: false,
      log: (line: string) => console.log(`  ${line}`),
    };
  }

  compare(): Promise<number> {
    this.#forget();
    return seconds(() => demandEqual(this.#source, this.#target, [store], 'names'));
  }

  /** Seconds of a command on OLD, in its shell, with the sync that ours has in it too. */
  theirs(text: string): Promise<number> {
    this.#forget();
    return seconds(async () => {
      await this.#lab.host('old').mustSh(text, [], patience);
      await this.#lab.host('new').mustSh('sync -f /srv', [], patience);
    });
  }

  run(text: string, args: readonly string[] = []): Promise<string> {
    return this.#lab.host('old').mustSh(text, args, patience);
  }

  onTarget(text: string): Promise<string> {
    return this.#lab.host('new').mustSh(text, [], patience);
  }

  #mailHost(role: 'old' | 'new'): MailHost {
    const { address, hostKeys } = this.#lab.host(role);
    const config = { address, port: 22, user: 'root', 'host-keys': [...hostKeys] };
    return new MailHost(role, config, migration, { key: this.#lab.sshKey.text });
  }
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

async function bulk(bench: Bench, runs: number): Promise<readonly Figures[]> {
  const rsync = figures('first pass against `rsync -azH`');
  const tar = figures('first pass against `tar c \\| ssh tar x`');
  const copy = figures('first pass against `cp -a` on one disk (a limit, not a rival)');
  await bench.run(`tar c -C ${store} . | wc -c`); // warm
  for (let run = 0; run < runs; run += 1) {
    // Aside, not away: after a large rm the same disk is slower for minutes.
    await bench.onTarget(
      `mkdir -p ${store}-aside; for path in ${store} ${store}-rsync ${store}-tar; do if [ -e "$path" ]; then mv "$path" "${store}-aside/\${path##*/}.${run}"; fi; done
       rm -f /var/lib/mail-cutover/${migration}/transfer-token; mkdir ${store}-tar; sync`,
    );
    await bench.run(`rm -f /var/lib/mail-cutover/${migration}/transfer-note; sync`);
    const ours = await bench.ours(true);
    const theirs = [
      await bench.theirs(`rsync -azH ${store}/ new:${store}-rsync/`),
      await bench.theirs(`tar c -C ${store} . | ssh new tar x -C ${store}-tar`),
      await bench.theirs(`cp -a ${store} ${store}-copy.${run}; sync -f /srv`),
    ];
    console.log(
      `run ${run}: ours ${ours.toFixed(2)}, rsync, tar, cp ${theirs.map((t) => t.toFixed(2))}`,
    );
    for (const [index, row] of [rsync, tar, copy].entries()) {
      row.ours.push(ours);
      row.theirs.push(theirs[index] ?? 0);
    }
  }
  return [rsync, tar, copy];
}

function figures(title: string): Figures {
  return { title, ours: [], theirs: [] };
}

/** Long enough for the ctimes of what was just changed to prove something. */
const aWhile = 'end=$(($(date +%s) + 3)); while [ "$(date +%s)" -lt "$end" ]; do sleep 0.2; done';

/** How rsync connects: anew each time, or over a connection that is open. */
const anew = '-o ControlPath=none';
const shared = '-o ControlMaster=auto -o ControlPath=/run/bench-%C -o ControlPersist=600';

async function final(bench: Bench, runs: number): Promise<readonly Figures[]> {
  const held = figures('final pass against `rsync -azH --delete`, both with their connection open');
  const fresh = figures('final pass against `rsync -azH --delete`, both connect first');
  const both = figures(
    'final pass and compare against `rsync -azH --delete` alone, connections open',
  );
  const rsync = (how: string) =>
    bench.theirs(`rsync -azH --delete -e 'ssh ${how}' ${store}/ new:${store}-rsync/`);
  await bench.ours(true);
  await bench.onTarget(`cp -a ${store} ${store}-rsync`);
  await rsync(shared);
  for (let run = 0; run < runs; run += 1) {
    await bench.run(aWhile);
    await bench.ours(true);
    await bench.run(change, [store, String(2 * run)]);
    fresh.ours.push(await bench.ours(false));
    fresh.theirs.push(await rsync(anew));
    await bench.run(aWhile);
    await bench.hold();
    await bench.run(change, [store, String(2 * run + 1)]);
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

interface Options {
  readonly only?: string | undefined;
  readonly mailboxes: string;
  readonly messages: string;
  readonly sizes: string;
  readonly cold: boolean;
  readonly runs: string;
}

const intro = `# Benchmarks

Each section is written by \`npm run bench\` with the options in it. Two hosts of the lab on one machine, so
both ends, and whatever else the machine did, share its processors. Medians of paired runs, smallest and
largest in brackets; the ratio is the median of the ratios of the pairs. Ours is the engine as a stage runs
it, from the runner, over SSH: what is not held open (key, connection) is in its time. Theirs is the command
on OLD with a key that is there. Both end with \`sync\` on NEW.
`;

function section(rows: readonly Figures[], options: Options, size: string): string {
  const count = Number(options.mailboxes) * Number(options.messages);
  const what = `${options.only ?? 'all'}, ${count.toLocaleString('en')} messages${options.cold ? ', cold caches' : ''}`;
  const words = Object.entries(options).flatMap(([name, value]) =>
    value === undefined || value === false
      ? []
      : [value === true ? `--${name}` : `--${name} ${value}`],
  );
  return `## ${what}

\`npm run bench -- ${words.join(' ')}\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} processors (${cpus()[0]?.model ?? '?'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, load average at the end ${loadavg()[0]?.toFixed(1)}. ${options.mailboxes} mailboxes, ${size}.

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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      mailboxes: { type: 'string', default: '2000' },
      messages: { type: 'string', default: '150' },
      sizes: { type: 'string', default: 'mixed' },
      cold: { type: 'boolean', default: false },
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
  const lab = await Lab.start({ hosts: ['old', 'new'] });
  try {
    const bench = new Bench(lab, options.cold);
    const lock = await bench.open();
    console.log('filling the store');
    await bench.run(seed, [store, options.mailboxes, options.messages, options.sizes]);
    const size = (await bench.run(`du -sh --apparent-size ${store} | cut -f1`)).trim();
    const rows = [
      ...(options.only === 'final' ? [] : await bulk(bench, Number(options.runs))),
      ...(options.only === 'bulk' ? [] : await final(bench, Number(options.runs))),
    ];
    const text = section(rows, options, size);
    console.log(text);
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, withSection(existsSync(out) ? readFileSync(out, 'utf8') : '', text));
    await lock.release();
    await bench.close();
  } finally {
    await lab.stop();
  }
}

await main();
