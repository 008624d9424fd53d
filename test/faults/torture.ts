import { parseArgs } from 'node:util';
import { waitFor } from '../lab/process.ts';
import { special, virtualUser } from '../lab/world.ts';
import { Random } from '../rehearsal/random.ts';
import { killEverywhere, runAndKill } from './killing.ts';
import { copies, queued, type Scene, type Side, scene, send, serves } from './scene.ts';

/*
 * npm run torture -- --runs N --seed S
 *
 * Each run is one migration, its way and its deaths drawn from a seed that is printed: the runner is
 * killed with SIGKILL somewhere in a stage, once or more, and the stage is run again by a runner
 * that takes the lock over. At the end one host serves, and each message is there once.
 */

const stages = [
  ['prepare', {}],
  ['transfer', { pass: 'live' }],
  ['freeze', {}],
  ['transfer', { pass: 'final' }],
  ['activate', {}],
  ['dns-cutover', {}],
  ['drain', {}],
] as const;

/** No DNS: its waits are tested elsewhere, and would be most of the time here. */
export const withoutDns = {
  cutover: 'address',
  'address-command': ['true'],
  'address-undo-command': ['true'],
  dns: [],
};

export type Covered = Map<string, number>;

export function counting(table: Covered): (stage: string, title: string, after: number) => void {
  return (stage, title, after) => {
    const key = `${stage} | ${title} | ${after === 0 ? 'before' : `after ${after} ms`}`;
    table.set(key, (table.get(key) ?? 0) + 1);
  };
}

/** One of every kind of delivery, to a host that accepts. */
export async function sendSome(here: Scene, host: Side): Promise<readonly string[]> {
  const all = [virtualUser(1), special.localUsers[0], special.atticUsers[0]];
  return Promise.all(all.map((to) => send(here, host, to)));
}

/** Each message once, on the owner; nowhere in a queue; one server. */
export async function settle(here: Scene, owner: Side, ids: readonly string[]): Promise<void> {
  const other = owner === 'old' ? 'new' : 'old';
  await waitFor('all mail is on the owner', 90, async () => {
    for (const host of ['old', 'new'] as const)
      await here.lab.host(host).sh('postqueue -f 2>/dev/null');
    for (const id of ids) if ((await copies(here, owner, id)) === 0) return false;
    return true;
  });
  const faults: string[] = [];
  for (const id of ids) {
    const count = await copies(here, owner, id);
    const waiting = (await queued(here, 'old', id)) + (await queued(here, 'new', id));
    if (count !== 1 || waiting !== 0) faults.push(`${id}: ${count} times, ${waiting} in queues`);
  }
  if (!(await serves(here, owner))) faults.push(`${owner} does not serve`);
  if (await serves(here, other)) faults.push(`${other} serves too`);
  if (faults.length > 0) throw new Error(faults.join('\n'));
}

/** Every step of every stage, there and back, killed as it begins and in the middle. */
export async function everyStep(
  here: Scene,
  delays: readonly number[],
  covered: (stage: string, title: string, after: number) => void,
): Promise<void> {
  const ids = [...(await sendSome(here, 'old'))];
  for (const [stage, inputs] of stages.slice(0, 5)) {
    await killEverywhere(here, stage, { ...inputs }, delays, covered);
    if (stage === 'freeze' && (await serves(here, 'old')))
      throw new Error('OLD serves in the freeze');
  }
  ids.push(...(await sendSome(here, 'old')), ...(await sendSome(here, 'new')));
  await settle(here, 'new', ids);
  await killEverywhere(here, 'rollback', {}, delays, covered);
  ids.push(...(await sendSome(here, 'old')));
  await settle(here, 'old', ids);
}

/** One migration with random deaths. */
async function randomRun(seed: number, log: (line: string) => void, table: Covered): Promise<void> {
  const random = new Random(seed);
  const mode = random.pick(['hold', 'stop'] as const);
  const goesBack = random.next() < 0.5;
  const last = random.between(goesBack ? 1 : 5, stages.length);
  const here = await scene({ ...withoutDns, freeze: { mode, 'max-minutes': 10 } });
  const cover = counting(table);
  log(`seed ${seed}: ${mode}, ${last} stages${goesBack ? ', then back' : ''}`);
  try {
    const ids = [...(await sendSome(here, 'old'))];
    const way = [...stages.slice(0, last), ...(goesBack ? [['rollback', {}] as const] : [])];
    for (const [stage, inputs] of way) {
      for (let deaths = random.between(0, 2); deaths > 0; deaths -= 1) {
        const death = { step: random.between(1, 14), after: random.pick([0, 20, 80, 200, 500]) };
        const { title, result } = await runAndKill(here, stage, { ...inputs }, death);
        if (title !== undefined) cover(stage, title, death.after);
        if (result.code === 0) break;
        if (result.code !== 137) throw new Error(result.log);
      }
      await here.migration.must(stage, { ...inputs, 'force-unlock': 'true' });
      if (mode === 'hold' || stage === 'prepare') ids.push(...(await sendSome(here, 'old')));
      if (stage === 'activate') ids.push(...(await sendSome(here, 'new')));
    }
    await settle(here, !goesBack && last >= 5 ? 'new' : 'old', ids);
  } finally {
    await here.end();
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { runs: { type: 'string' }, seed: { type: 'string' }, help: { type: 'boolean' } },
  });
  if (values.help) {
    console.log(
      'npm run torture -- --runs N --seed S   (default: 10 runs from a seed of the clock)',
    );
  } else {
    const first = Number(values.seed ?? Date.now() % 1_000_000);
    const table: Covered = new Map();
    const bad: number[] = [];
    for (let run = 0; run < Number(values.runs ?? 10); run += 1) {
      try {
        await randomRun(first + run, (line) => console.log(line), table);
      } catch (error) {
        bad.push(first + run);
        console.error(`seed ${first + run}: ${(error as Error).message}`);
      }
    }
    console.log(
      [...table]
        .sort()
        .map(([key, count]) => `${count} × ${key}`)
        .join('\n'),
    );
    console.log(bad.length === 0 ? 'every run ended well' : `failed: ${bad.join(', ')}`);
    process.exitCode = bad.length === 0 ? 0 : 1;
  }
}
