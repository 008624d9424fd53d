import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runVariable } from '../lab/paths.ts';
import { coverage, markdown } from './coverage.ts';
import { type RunResult, tortureRun } from './run.ts';
import { allMoments, courses, runCourse } from './systematic.ts';
import { complaints } from './verdict.ts';
import { World } from './world.ts';

const help = `npm run torture -- [options]

Migrations with faults at random steps, each from a seed that is printed; ended by going on or by
rollback, then the exact account on the owner. Exit code 0 only when every run is without fault.

  --runs N        how many (default 10)
  --seed S        the first seed; the others follow it (default: of the clock)
  --systematic    instead: the runner killed before, during and after every step of every stage, in
                  six courses, by either freeze; it goes on each time, to the end or back
  --worlds N      so many labs side by side (default 1)
  --out DIR       runs.jsonl, coverage.json, coverage.md, and the traces of runs that failed
`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    worlds: { type: 'string', default: '1' },
    /** Of the seeds, every so many-th: what one of several worlds takes. */
    part: { type: 'string', default: '0' },
    systematic: { type: 'boolean', default: false },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const runs = values.systematic ? courses.length : Number(values.runs);
const first = Number(values.seed);
const worlds = Number(values.worlds);

if (values.help) console.log(help);
else if (process.env[runVariable] === undefined) process.exitCode = await inWorlds();
else await inOneWorld(Number(values.part));

/** Runs a part of the seeds in this lab; each result is a line of the file for this part. */
async function inOneWorld(part: number): Promise<void> {
  const file = createWriteStream(join(values.out ?? '.', `part-${part}.jsonl`));
  const world = await World.start((line) => console.error(line));
  try {
    for (let index = part; index < runs; index += worlds) {
      const result = values.systematic
        ? await systematicRun(world, index)
        : await tortureRun(world, first + index, values.out);
      file.write(`${JSON.stringify(result)}\n`);
      console.log(oneLine(result));
    }
  } finally {
    await world.stop();
    file.end();
  }
}

/** A course as one run among others. */
async function systematicRun(world: World, index: number): Promise<RunResult> {
  const course = courses[index];
  if (course === undefined) throw new RangeError(`there is no course ${index}`);
  const began = Date.now();
  const { fired, verdict, failure, stages } = await runCourse(world, course, allMoments, first);
  const complaintsOf = verdict ? complaints(verdict) : [];
  return {
    ...{ seed: index, fired, stages, verdict },
    name: course.name,
    seconds: Math.round((Date.now() - began) / 1000),
    complaints: [...(failure === undefined ? [] : [failure]), ...complaintsOf],
  };
}

function oneLine(result: RunResult): string {
  const { seed, name, fired, stages, seconds, verdict } = result;
  const faults = fired.map(
    ({ kind, action, step, moment, host, hit }) =>
      `${kind}${hit ? '' : ' (nothing hit)'} ${host} ${moment} "${step}" of ${action}`,
  );
  const said =
    result.complaints.length === 0 ? 'ok' : `BAD: ${result.complaints.join(' ## ').slice(0, 600)}`;
  if (values.systematic)
    return `course ${seed}: ${name}; ${fired.length} kills in ${seconds} s, ${verdict?.sent ?? '?'} messages: ${said}`;
  return `seed ${seed}: ${name}; ${faults.join('; ') || 'no fault struck'}; ${stages} stages, ${seconds} s, ${verdict?.sent ?? '?'} messages: ${said}`;
}

async function inWorlds(): Promise<number> {
  const out = values.out ?? `torture-${first}`;
  mkdirSync(out, { recursive: true });
  console.log(`${runs} runs from seed ${first}, in ${worlds} worlds; results in ${out}`);
  const codes = await Promise.all(
    Array.from({ length: worlds }, (_, part) => lab(['--part', String(part), '--out', out])),
  );
  const results = Array.from({ length: worlds }, (_, part) =>
    readFileSync(join(out, `part-${part}.jsonl`), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as RunResult),
  ).flat();
  const summary = coverage(results, values.systematic ? 'moment' : 'kind');
  writeFileSync(join(out, 'coverage.json'), `${JSON.stringify(summary, null, 2)}\n`);
  writeFileSync(join(out, 'coverage.md'), `${markdown(summary)}\n`);
  console.log(markdown(summary));
  const { good, failedSeeds, faults, messages, rfc1047 } = summary;
  console.log(
    `${good} of ${results.length} runs without fault; ${faults} faults struck, ${messages} messages, ${rfc1047} doubled by SMTP itself (RFC 1047)`,
  );
  if (failedSeeds.length > 0) console.log(`failed seeds: ${failedSeeds.join(', ')}`);
  const isWhole = codes.every((code) => code === 0) && results.length === runs;
  return isWhole && good === runs ? 0 : 1;
}

/** This script again, inside a lab of its own. */
function lab(more: readonly string[]): Promise<number> {
  const root = join(import.meta.dirname, '../..');
  const args = [
    join(root, 'test/lab/with-lab.ts'),
    ...[process.execPath, join(root, 'test/torture/torture.ts')],
    ...(values.systematic ? ['--systematic'] : []),
    ...['--runs', String(runs), '--seed', String(first), '--worlds', String(worlds), ...more],
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => child.kill(signal));
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
