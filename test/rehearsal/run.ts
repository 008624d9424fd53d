import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StageName } from '../../src/actions/stages.ts';
import { Migration, notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { network } from '../lab/world.ts';
import { type Account, isClean } from './account.ts';
import { byWorkflow } from './by-workflow.ts';
import { type Figures, figures } from './figures.ts';
import { type Death, KillOnce } from './kill-once.ts';
import type { RehearsalOptions } from './options.ts';
import { type ServedApart, servedApart } from './serving.ts';
import type { Snapshot } from './store.ts';
import { rehearsedSystem } from './systems/registry.ts';
import type { RehearsedSystem, Scene } from './systems/system.ts';
import { inventory, settledAccount } from './taking.ts';
import { startTraffic, type Traffic } from './traffic.ts';

export interface StageFigures {
  readonly stage: string;
  /** When it began, in seconds since the traffic did. */
  readonly at: number;
  readonly seconds: number;
  readonly outputs: Readonly<Record<string, string>>;
}

export interface Rehearsal extends Figures {
  readonly options: RehearsalOptions;
  /** Most messages that waited on OLD during the freeze. */
  readonly heldInOldQueue: number;
  readonly downtimeSeconds: number;
  readonly stages: readonly StageFigures[];
  /** Where the runner was killed, with `--kill`. */
  readonly killed: Death | undefined;
  /** Sessions and deliveries by the logs of both hosts; undefined where the mail system logs none. */
  readonly served: ServedApart | undefined;
  /** How often the mail system was looked at all the while, by kind of look. */
  readonly looks: Readonly<Record<string, number>>;
  /** What the mail system's own looks found: one line each. */
  readonly faults: readonly string[];
  readonly clean: boolean;
}

/** How much traffic must have gone to OLD before the move, and to NEW by its name after it. */
const enough = { before: 50, byDns: 100 } as const;
const settleSeconds = 120;

/**
 * One rehearsal, from boot to account. Everything that people see goes through `say`; `inspect` is
 * called while the hosts are still up.
 */
export async function rehearse(
  options: RehearsalOptions,
  say: (line: string) => void,
  watch: (traffic: Traffic) => () => void,
  inspect: (lab: Lab) => Promise<void>,
  move: Mover = options.workflow === undefined ? runStages : byWorkflow(options.workflow),
): Promise<{ rehearsal: Rehearsal; account: Account }> {
  say(
    `booting OLD, NEW, a name server and a resolver; ${options.mailboxes} mailboxes of ${options.messages} messages`,
  );
  const system = await rehearsedSystem(options.system);
  const lab = await system.start(options);
  try {
    const result = await migrate(system, { lab, options }, say, watch, move);
    await inspect(lab);
    return result;
  } finally {
    await lab.stop();
  }
}

async function migrate(
  system: RehearsedSystem,
  scene: Scene,
  say: (line: string) => void,
  watch: (traffic: Traffic) => () => void,
  move: Mover,
): Promise<{ rehearsal: Rehearsal; account: Account }> {
  const { lab, options } = scene;
  const nudge = async () => system.nudge?.(scene);
  const places = (host: 'old' | 'new') => system.places(lab.host(host).root, options.mailboxes);
  const seed = await inventory(places('old'));
  const traffic = await startTraffic({
    mailboxes: options.mailboxes,
    population: system.population,
    rate: options.rate,
    log: say,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  });
  const unwatch = watch(traffic);
  const watched = system.watch?.(scene);
  try {
    await until(
      () => traffic.ledger.acceptedBy('old').length >= enough.before,
      60,
      'mail reaches OLD',
    );
    const moved = await move(system, scene, traffic, say);
    await until(
      () => traffic.ledger.reachedNewByDns >= enough.byDns,
      120,
      'mail reaches NEW by its name',
    );
    say('no new mail from here on; counting');
    await traffic.stop();
    if (!(await traffic.drainQueue(settleSeconds))) say('some mail still waits at its sender');
    const account = await settledAccount(
      {
        traffic,
        seed,
        frozen: moved.frozen,
        owner: places('new'),
        ownerAddress: network.new.v4,
        nudge,
      },
      settleSeconds,
    );
    const served = system.logsServing ? await servedApart(lab, traffic.startedAt) : undefined;
    if (served)
      say(
        `by the logs: ${served.old} sessions and deliveries on OLD, ${served.new} on NEW; ${served.moved} mailboxes went from one to the other`,
      );
    const settled = (await system.settled?.(scene, traffic)) ?? [];
    const looks = await watched?.();
    const faults = [
      ...moved.faults,
      ...(served?.faults ?? []),
      ...settled,
      ...(looks?.faults ?? []),
    ];
    const rehearsal: Rehearsal = {
      options,
      ...figures(account, traffic),
      heldInOldQueue: moved.held,
      downtimeSeconds: moved.downtimeSeconds,
      stages: moved.stages,
      killed: moved.killed,
      served,
      looks: looks?.figures ?? {},
      faults,
      clean: isClean(account) && faults.length === 0,
    };
    if (options.out) await writeOut(options.out, rehearsal, account);
    return { rehearsal, account };
  } finally {
    unwatch();
    await watched?.();
    await traffic.close();
  }
}

/** What moves the mail: the built actions one by one, or a workflow that runs them. */
export type Mover = (
  system: RehearsedSystem,
  scene: Scene,
  traffic: Traffic,
  say: (line: string) => void,
) => Promise<Moved>;

export interface Moved {
  readonly stages: readonly StageFigures[];
  readonly killed?: Death | undefined;
  readonly frozen: Snapshot;
  readonly faults: readonly string[];
  readonly held: number;
  readonly downtimeSeconds: number;
}

async function runStages(
  system: RehearsedSystem,
  scene: Scene,
  traffic: Traffic,
  say: (line: string) => void,
): Promise<Moved> {
  const { lab, options } = scene;
  const migration = await Migration.create(lab, {
    freeze: { mode: options.freeze ?? system.freeze, 'max-minutes': 10 },
    ...system.migration(scene),
  });
  migration.onLine((line) => say(`    ${line}`));
  const killer = options.kill
    ? new KillOnce((...stage) => migration.run(...stage), traffic.seed)
    : undefined;
  const stages: StageFigures[] = [];
  const run = async (stage: StageName, inputs: Record<string, string> = {}) => {
    const at = (Date.now() - traffic.startedAt) / 1000;
    const began = performance.now();
    const title = [stage, ...Object.values(inputs)].join(' ');
    const further = (await system.inputs?.(scene, stage)) ?? {};
    say(title);
    const given = { ...further, ...inputs };
    const debug = process.env.MAIL_CUTOVER_DEBUG === '1';
    const died = killer?.comes(stage) && (await killer.kill(stage, given));
    if (died) say(killedAt(killer?.death));
    const again: Record<string, string> = died ? { 'force-unlock': 'true' } : {};
    const result = await migration.run(stage, { ...given, ...again }, { debug });
    const seconds = (performance.now() - began) / 1000;
    if (options.out) await keepStage(options.out, title, result);
    if (result.code !== 0) throw new Error(`${title} ended with ${result.code}:\n${result.log}`);
    stages.push({ stage: title, at: round(at), seconds: round(seconds), outputs: result.outputs });
    say(`${title}: ${seconds.toFixed(1)} s, now ${result.outputs.state}`);
    return result;
  };
  try {
    await run('plan');
    await run('prepare');
    await run('transfer', { pass: 'live' });
    await untilLowTtl(migration, say);
    await run('freeze');
    await run('transfer', { pass: 'final' });
    const frozen = await inventory(system.places(lab.host('old').root, options.mailboxes));
    const faults = (await system.frozen?.(scene)) ?? [];
    const queue = watchQueue(lab, system.queueLength);
    const activated = await run('activate').finally(() => queue.most());
    const held = await queue.most();
    await run('dns-cutover');
    await run('verify');
    await run('drain');
    const downtimeSeconds = Number(activated.outputs['downtime-seconds']);
    const killed = killer?.death;
    const notKilled = killer && killed === undefined ? ['--kill: no runner was killed'] : [];
    return { stages, killed, frozen, faults: [...faults, ...notKilled], held, downtimeSeconds };
  } finally {
    await migration.remove();
  }
}

export function killedAt(death: Death | undefined): string {
  return death === undefined
    ? 'no runner was killed'
    : `the runner was killed in ${death.stage}, ${death.after} ms into "${death.step}"`;
}

/** `freeze` says from when on it may run; a dry run asks without freezing. */
async function untilLowTtl(migration: Migration, say: (line: string) => void): Promise<void> {
  const asked = await migration.run('freeze', { 'dry-run': 'true' }, { onLine: () => undefined });
  const at = notBefore(asked.log);
  if (asked.code === 0 || at === undefined) return;
  say(`caches forget the old TTL at ${at.toISOString()}; OLD goes on serving until then`);
  await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
}

/** Looks at OLD's queue until it is asked for the most it saw. */
export function watchQueue(
  lab: Lab,
  length = 'postqueue -j 2>/dev/null | wc -l',
): { most(): Promise<number> } {
  let most = 0;
  let ended = false;
  const looking = (async () => {
    while (!ended) {
      const { stdout } = await lab.host('old').sh(length);
      most = Math.max(most, Number(stdout.trim()) || 0);
      await sleep(250);
    }
  })();
  return {
    async most() {
      ended = true;
      await looking;
      return most;
    },
  };
}

async function until(condition: () => boolean, seconds: number, what: string): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not so after ${seconds} s: ${what}`);
    await sleep(100);
  }
}

async function keepStage(
  out: string,
  title: string,
  result: { summary: string; log: string },
): Promise<void> {
  await mkdir(out, { recursive: true });
  const name = title.replaceAll(' ', '-');
  await writeFile(join(out, `${name}.md`), result.summary);
  await writeFile(join(out, `${name}.log`), result.log);
}

async function writeOut(out: string, rehearsal: Rehearsal, account: Account): Promise<void> {
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'rehearsal.json'), `${JSON.stringify(rehearsal, null, 2)}\n`);
  await writeFile(join(out, 'account.json'), `${JSON.stringify(account, null, 2)}\n`);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
