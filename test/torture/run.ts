import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Snapshot } from '../rehearsal/store.ts';
import { type Drawing, draw } from './drawing.ts';
import { Load } from './load.ts';
import { Operator } from './operator.ts';
import type { Fired } from './stage-run.ts';
import { complaints, takeVerdict, type Verdict } from './verdict.ts';
import type { World } from './world.ts';

export interface RunResult {
  readonly seed: number;
  /** Freeze and way, in words. */
  readonly name: string;
  readonly fired: readonly Fired[];
  readonly stages: number;
  readonly seconds: number;
  readonly verdict: Verdict | undefined;
  /** Empty where all is well. */
  readonly complaints: readonly string[];
}

/** One migration with what goes wrong in it, from fresh hosts to the exact account. */
export async function tortureRun(
  world: World,
  seed: number,
  out: string | undefined,
  drawing: Drawing = draw(seed),
): Promise<RunResult> {
  const began = Date.now();
  await world.reset(drawing.from, drawing.freezeMode);
  const resetAt = Date.now();
  const seedInventory = await world.inventory(drawing.from === 'active' ? 'new' : 'old');
  const load = await Load.start(seed, drawing.from !== 'transferred');
  const loadedAt = Date.now();
  const migration = await world.migration(drawing.freezeMode);
  const snapshots: Snapshot[] = [seedInventory];
  const operator = new Operator(world.lab, migration, drawing, {
    before: async (action) => {
      if (action === 'rollback') snapshots.push(await world.inventory('old'));
    },
    after: async (action) => {
      if (action === 'freeze') snapshots.push(await world.inventory('old'));
      if (action === 'activate') snapshots.push(await world.inventory('new'));
    },
  });
  let operatedAt = 0;
  let verdict: Verdict | undefined;
  let failure: string | undefined;
  try {
    await operator.operate();
    operatedAt = Date.now();
    verdict = await takeVerdict({
      ...{ world, load, snapshots, startedAt: began },
      seed: seedInventory,
      diskFull: operator.fired.some(({ kind }) => kind === 'disk-full'),
      untouched: drawing.backAfter === 'prepare',
      owner: drawing.backAfter === undefined ? 'new' : 'old',
    });
  } catch (error) {
    failure = (error as Error).stack ?? String(error);
  }
  if (process.env.TORTURE_TIMES)
    console.error(
      `reset ${resetAt - began} load ${loadedAt - resetAt} settle ${Date.now() - operatedAt}; ${operator.attempts.map((attempt) => `${attempt.action} ${attempt.seconds} (${attempt.code})`).join(', ')}`,
    );
  const found = [
    ...(failure === undefined ? [] : [failure]),
    ...(verdict ? complaints(verdict) : []),
  ];
  if (found.length > 0 && out !== undefined)
    await keepTraces(world, operator, found, join(out, `seed-${seed}`));
  await load.close().catch(() => undefined);
  await migration.remove();
  return {
    ...{ seed, verdict },
    name: nameOf(drawing),
    fired: operator.fired,
    stages: operator.attempts.length,
    seconds: Math.round((Date.now() - began) / 1000),
    complaints: found,
  };
}

function nameOf({ freezeMode, from, last, backAfter }: Drawing): string {
  return `${freezeMode}, ${from} to ${last}${backAfter === undefined ? '' : ' and back'}`;
}

const record = `journalctl --no-pager -o short-precise --no-hostname
for status in /var/lib/mail-cutover/*/bin/hostctl; do "$status" status; done
ls -lR --time-style=full-iso /var/lib/mail-cutover /var/spool/postfix
postqueue -p; postconf -n; ps axf -o pid,ppid,lstart,args`;

/** What a person needs to see why: every stage's log, both journals, what the hosts say. */
async function keepTraces(
  world: World,
  operator: Operator,
  found: readonly string[],
  folder: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, 'complaints.txt'),
    `${found.join('\n')}\n${JSON.stringify(operator.fired, null, 1)}\n`,
  );
  for (const [index, { action, at, code, log }] of operator.attempts.entries()) {
    const name = `${String(index).padStart(2, '0')}-${action.replaceAll(' ', '-')}-${code}.log`;
    await writeFile(join(folder, name), `${new Date(at).toISOString()}\n${log}`);
  }
  for (const side of ['old', 'new'] as const) {
    const host = world.lab.host(side);
    if (!host.running) continue;
    const { stdout } = await host.sh(record, [], { timeout: 60 });
    await writeFile(join(folder, `${side}.log`), stdout);
    const journal = await host.sh('cat /var/lib/mail-cutover/*/journal.jsonl');
    await writeFile(join(folder, `${side}-journal.jsonl`), journal.stdout);
  }
}
