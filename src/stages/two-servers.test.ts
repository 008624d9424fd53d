import { describe, expect, it } from 'vitest';
import type { Entry } from '../engine/journal.ts';
import { type Log, runSteps } from '../engine/runner.ts';
import {
  after,
  asSeen,
  mayRun,
  nextStage,
  type StageAction,
  type State,
  start,
  stateName,
  wayForth,
} from '../engine/states.ts';
import type { Step } from '../engine/step.ts';
import type { Command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import type { MailContext, MailStage } from '../mail-systems/mail-system.ts';
import { stages } from './registry.ts';
import type { StageContext } from './stage.ts';

/*
 * Every state that the real stages can bring two hosts into, whatever dies when: the stages and the
 * table of states are the real ones, hostctl and the mail system are small twins in memory. Each
 * stage that may run is cut off before each of its changes, or made to fail there, or OLD's (or
 * NEW's) limit passes there, and from all that comes of it all is tried again, until nothing new
 * comes. So there is no depth to it: sequences of any length are in it.
 */

type Mark =
  | 'fenced'
  | 'frozen'
  | 'released'
  | 'owner'
  | 'opened'
  | 'forwarding'
  | 'closed'
  | 'undo/finished';

interface World {
  readonly old: ReadonlySet<Mark>;
  readonly new: ReadonlySet<Mark>;
  /** Whether the host serves or delivers into the mailboxes. */
  readonly serves: { readonly old: boolean; readonly new: boolean };
  readonly state: State;
  /** A live pass was begun since the last rollback. */
  readonly copied: boolean;
  /** NEW holds copies of the mailboxes, from this attempt or an earlier one. */
  readonly holds: boolean;
}

const beginning: World = {
  old: new Set(),
  new: new Set(),
  serves: { old: true, new: false },
  state: start,
  copied: false,
  holds: false,
};

const keyOf = ({ old, new: target, serves, state, copied, holds }: World) =>
  JSON.stringify([[...old].sort(), [...target].sort(), serves, state, copied, holds]);

/** The runner is gone: no call does anything any more, cleaning up neither. */
class Killed extends Error {}

/** What goes wrong at the change with this number (from 1). */
interface Fault {
  readonly kind: 'killed' | 'failed' | 'limit';
  readonly at: number;
  /** For `failed`: the cleaning up is cut off after so many changes. */
  readonly cleaning?: number;
}

/** Both hosts, with every change counted and looked at. */
class Twins {
  readonly marks: { old: Set<Mark>; new: Set<Mark> };
  readonly serves: { old: boolean; new: boolean };
  readonly #holds: boolean;
  changes = 0;
  #fault: Fault | undefined;
  #left = Number.POSITIVE_INFINITY;

  constructor(world: World, fault?: Fault) {
    this.marks = { old: new Set(world.old), new: new Set(world.new) };
    this.serves = { ...world.serves };
    this.#holds = world.holds;
    this.#fault = fault;
  }

  /** Counts a change, lets go wrong what is to go wrong there, makes it, and looks. */
  change(work: () => void): void {
    if (this.#left === 0) throw new Killed();
    this.#left -= 1;
    this.changes += 1;
    const fault = this.#fault;
    if (fault?.at === this.changes) {
      this.#fault = undefined;
      if (fault.kind === 'limit') this.limitPasses();
      else {
        this.#left = fault.kind === 'killed' ? 0 : (fault.cleaning ?? this.#left);
        throw fault.kind === 'killed' ? new Killed() : new Error('it failed');
      }
    }
    work();
    this.look();
  }

  look(): void {
    const { old, new: target } = this.marks;
    if (this.serves.old && this.serves.new) throw new TwoServers('both serve');
    if (old.has('owner') && target.has('owner')) throw new TwoServers('both own');
    if (old.has('forwarding') && target.has('forwarding'))
      throw new TwoServers('both send on to each other');
  }

  /** As hostctl's thaw-when-due does, on each host that has a limit. */
  limitPasses(): void {
    for (const side of ['old', 'new'] as const) {
      const marks = this.marks[side];
      if (marks.has('frozen') && !marks.has('released')) this.#thaw(side);
    }
    this.look();
  }

  #thaw(side: 'old' | 'new'): void {
    const marks = this.marks[side];
    if (marks.has('released')) throw new Error('service was handed over');
    marks.delete('frozen');
    if (marks.delete('closed')) this.serves[side] = !marks.has('fenced');
  }

  host(side: 'old' | 'new'): MailHost {
    const marks = this.marks[side];
    const change = async (work: () => void) => {
      this.change(work);
      return 'now';
    };
    const twin = {
      role: side,
      address: side,
      label: side.toUpperCase(),
      folder: '/f',
      hostctl: 'hostctl',
      async read({ argv, purpose = '' }: Command) {
        const isThere = marks.has((argv.at(-1) ?? '').replace('/f/', '') as Mark);
        const code = purpose.startsWith('look for ') && !isThere ? 1 : 0;
        return { code, signal: undefined, stdout: Buffer.from(''), stderr: '' };
      },
      change: async ({ argv, purpose }: Command) => {
        if (purpose === 'start the mail services')
          await change(() => {
            if (!marks.has('fenced') && !marks.has('frozen')) this.serves[side] = true;
          });
        if (argv[1] === 'thaw-locked') await change(() => this.#thaw(side));
        return { code: 0, signal: undefined, stdout: Buffer.from(''), stderr: '' };
      },
      release: () =>
        change(() => {
          if (marks.has('released')) return;
          if (!marks.has('frozen') && !marks.has('fenced')) throw new Error('not frozen');
          marks.delete('owner');
          marks.add('released');
        }),
      take: () =>
        change(() => {
          if (marks.has('forwarding')) throw new Error('this host still forwards');
          marks.delete('released');
          marks.add('owner');
        }),
      edit: (word: string, args: readonly string[]) =>
        change(() => {
          if (word === 'begin-freeze') {
            if (marks.has('released')) throw new Error('service was already handed over');
            marks.add('frozen');
          }
          if (word === 'remove') marks.delete(args[0] as Mark);
          if (word === 'stop') marks.add('undo/finished');
          if (word === 'undo') marks.delete(`undo/${args[0]}` as Mark);
          // NEW's own services start again, over whatever mailboxes are there.
          if (word === 'undo' && args[0] === 'fence' && side === 'new') {
            marks.delete('fenced');
            this.serves.new = this.#holds;
          }
          if (word === 'put') marks.add(args[0] as Mark);
          if (word === 'dismantle') {
            if (!marks.has('fenced')) throw new Error('this host is not fenced');
            for (const mark of ['frozen', 'forwarding', 'closed'] as const) marks.delete(mark);
          }
        }),
    };
    return twin as unknown as MailHost;
  }

  /** The mail system's part, as postfix-dovecot has it: what closes, opens, and sends on. */
  steps(stage: MailStage, context: MailContext, mode: 'hold' | 'stop'): readonly Step[] {
    const { source, target, old, new: fresh } = context;
    const has = (host: MailHost, mark: Mark) => this.marks[host.role].has(mark);
    const step = (id: string, done: () => boolean, ...work: (() => unknown)[]): Step => ({
      ...{ id, title: id, done: async () => done() },
      do: async () => {
        for (const each of work) await each();
        return undefined;
      },
    });
    const serve = (host: MailHost, does: boolean) => () =>
      this.change(() => {
        this.serves[host.role] = does;
      });
    const fence = step(
      'fence',
      () => has(fresh, 'fenced') && !this.serves.new,
      serve(fresh, false),
      () => fresh.edit('put', ['fenced']),
    );
    switch (stage) {
      case 'prepare':
        return [
          fence,
          step(
            'dismantle',
            () => !has(fresh, 'frozen'),
            () => fresh.edit('dismantle', []),
          ),
        ];
      case 'fence':
        return [fence];
      case 'freeze':
        return [
          step(
            'close',
            () => !this.serves[source.role],
            () =>
              this.change(() => {
                if (!has(source, 'frozen')) throw new Error('the freeze has reached its limit');
                this.marks[source.role].add('closed');
                this.serves[source.role] = false;
              }),
          ),
        ];
      case 'activate':
        return [
          step(
            'start-closed',
            () => this.serves.new,
            () => fresh.edit('remove', ['fenced']),
            // The probe is delivered: from here on it writes.
            serve(fresh, true),
          ),
          step(
            'open',
            () => has(fresh, 'opened'),
            () => fresh.edit('put', ['opened']),
          ),
        ];
      case 'forward':
        if (mode === 'stop') return [];
        return [
          step(
            'forward',
            () => has(source, 'forwarding'),
            () => {
              if (!has(target, 'owner')) throw new Error('it does not own the mailboxes');
              this.change(() => {
                if (!has(source, 'released')) throw new Error('it has not given service away');
                this.marks[source.role].add('forwarding');
              });
            },
          ),
        ];
      case 'end-forward':
        return [
          step(
            'end-forward',
            () => !has(target, 'forwarding'),
            () => target.edit('remove', ['forwarding']),
          ),
        ];
      case 'finish':
        return [
          step(
            'close-old',
            () => has(old, 'fenced'),
            () => {
              if (!has(old, 'released') || !has(fresh, 'owner'))
                throw new Error('NEW does not own');
            },
            () => old.edit('stop', ['finished']),
            () => old.edit('put', ['fenced']),
          ),
          step(
            'end',
            () => !has(old, 'frozen'),
            () => old.edit('dismantle', []),
          ),
        ];
      default:
        return [];
    }
  }
}

class TwoServers extends Error {}

/** What moves mail or looks at it moves no service. */
const withoutEffect =
  /^(?:copy|compare|copy-back|copy-back-live|compare-back|hold-open|prove-still|can-give|unseal|seal|drain-queue|move-address.*|list|drop-.*|end-passes)$/;

const quiet: Log = {
  info: () => undefined,
  warning: () => undefined,
  group: (_title, work) => work(),
};

function observed({ state, old, new: fresh }: World): State {
  return asSeen(state, { oldIsFrozen: old.has('frozen'), newOwns: fresh.has('owner') });
}

interface Ran {
  readonly world: World;
  readonly ended: boolean;
  readonly changes: number;
}

/** Runs a stage as main does. */
async function run(
  world: World,
  action: StageAction,
  mode: 'hold' | 'stop',
  fault?: Fault,
): Promise<Ran> {
  if (action.startsWith('transfer') && world.new.has('opened'))
    throw new TwoServers('a pass overwrites what NEW has got');
  const holds = world.holds || action === 'transfer live';
  const twins = new Twins({ ...world, holds }, fault);
  const [name, pass = 'live'] = action.split(' ') as [keyof typeof stages, 'live' | 'final'];
  const state = observed(world);
  const [old, fresh] = [twins.host('old'), twins.host('new')];
  const copied = world.copied || action === 'transfer live';
  const context = {
    migration: {
      name: 'm',
      freeze: { mode, 'max-minutes': 10 },
      cutover: 'address',
      'address-command': ['true'],
      'address-undo-command': ['true'],
      options: {},
      dns: [],
      new: { port: 22 },
      old: { port: 22 },
    },
    inputs: { pass, planDigest: 'd' },
    ...{ old, new: fresh, source: old, target: fresh, state, log: quiet, dns: [], erase: false },
    entries: () => (copied ? [{ stage: 'transfer live' } as Entry] : []),
    history: () => (holds ? [{ stage: 'transfer live' } as Entry] : []),
    note: async () => undefined,
    system: {
      contents: async () => ({ stores: [], carried: [], bookkeeping: [] }),
      writers: async () => ({ units: [], ports: [] }),
      removes: () => [],
      flush: async () => undefined,
      steps: async (stage: MailStage, its: MailContext) => twins.steps(stage, its, mode),
    },
  } as unknown as StageContext;
  let ended = false;
  const stage = await stages[name](context);
  const steps = stage.steps.map((step) =>
    withoutEffect.test(step.id) ? { ...step, done: async () => true } : step,
  );
  try {
    await runSteps(steps, {
      ...{
        log: quiet,
        stage: action,
        passing: () => false,
        settle: async () => undefined,
        report: () => undefined,
      },
      journal: {
        append: async () => undefined,
        later: () => undefined,
        flush: async () => undefined,
      } as never,
    });
    ended = true;
  } catch (error) {
    if (error instanceof TwoServers) throw error;
    if (!(error instanceof Killed)) {
      await stage.onFailure?.().catch((late: unknown) => {
        if (late instanceof TwoServers) throw late;
      });
    }
  }
  const isBack = ended && action === 'rollback';
  const next = {
    ...{ old: twins.marks.old, new: twins.marks.new, serves: twins.serves },
    state: ended
      ? after(action, state)
      : action === 'rollback'
        ? { ...state, returning: true as const }
        : state,
    copied: copied && !isBack,
    holds,
  };
  return { world: next, ended, changes: twins.changes };
}

function limitPassed(world: World): World {
  const twins = new Twins(world);
  twins.limitPasses();
  return { ...world, old: twins.marks.old, new: twins.marks.new, serves: twins.serves };
}

/** `verify` changes nothing. */
const actions: readonly StageAction[] = [
  ...wayForth.filter((action) => action !== 'verify'),
  'rollback',
];

/** All that a stage can leave behind, by each fault at each of its changes. */
async function outcomes(
  world: World,
  action: StageAction,
  mode: 'hold' | 'stop',
): Promise<World[]> {
  const whole = await run(world, action, mode);
  const found = [whole.world];
  for (let at = 1; at <= whole.changes; at += 1) {
    const faults: Fault[] = [
      { kind: 'killed', at },
      { kind: 'failed', at },
      { kind: 'failed', at, cleaning: 0 },
      { kind: 'failed', at, cleaning: 1 },
      { kind: 'limit', at },
    ];
    for (const fault of faults) found.push((await run(world, action, mode, fault)).world);
  }
  return found;
}

/** Every world that can be reached, with the way there. */
async function explore(mode: 'hold' | 'stop') {
  const found = new Map([[keyOf(beginning), { world: beginning, way: '' }]]);
  let tried = 0;
  for (const { world, way } of found.values()) {
    const keep = (next: World, step: string) => {
      tried += 1;
      if (!found.has(keyOf(next))) found.set(keyOf(next), { world: next, way: `${way} > ${step}` });
    };
    keep(limitPassed(world), 'limit');
    for (const action of actions) {
      if (!mayRun(action, observed(world), { freezeMode: mode }).ok) continue;
      try {
        for (const next of await outcomes(world, action, mode)) keep(next, action);
      } catch (error) {
        throw new Error(`${way} > ${action}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  return { worlds: [...found.values()], tried };
}

describe.each(['hold', 'stop'] as const)('whatever dies when, with %s', (mode) => {
  it('there are never two servers, and always a way to one', { timeout: 300_000 }, async () => {
    const { worlds, tried } = await explore(mode);
    console.log(`${mode}: ${worlds.length} states of two hosts from ${tried} ends of stages`);
    expect(worlds.length).toBeGreaterThan(50);
    for (const { world, way } of worlds) {
      const name = `${stateName(observed(world))} by ${way}`;
      if (world.state.phase === 'finished') {
        expect(world.serves, name).toEqual({ old: false, new: true });
        continue;
      }
      const back = await run(world, 'rollback', mode);
      expect([back.ended, back.world.serves], name).toEqual([true, { old: true, new: false }]);
      let forth = world;
      const isThere = ({ phase, returning }: State) => phase === 'drained' && !returning;
      for (let left = 20; !isThere(observed(forth)) && left > 0; left -= 1) {
        const next = nextStage(observed(forth));
        // `verify` changes nothing; it is what its advice waits for.
        if (next === 'verify') forth = { ...forth, state: { ...forth.state, verified: true } };
        else forth = (await run(forth, next as StageAction, mode)).world;
      }
      expect([observed(forth).phase, forth.serves], name).toEqual([
        'drained',
        { old: false, new: true },
      ]);
    }
  });
});
