import { wayForth } from '../../src/engine/states.ts';
import { Random } from '../rehearsal/random.ts';

/** What can go wrong around a stage. */
export const faultKinds = [
  'runner-killed',
  'runner-suspended',
  'cancelled',
  'ssh-cut',
  'runner-link-cut',
  'hosts-link-cut',
  'host-crashed',
  'host-rebooted',
  'reply-lost',
  'disk-full',
  'dns-down',
  'dns-late',
  'limit-passed',
] as const;

export type FaultKind = (typeof faultKinds)[number];

/**
 * When it happens: as a step begins (nothing on record yet), when its intent is on record, so many
 * milliseconds into it, or when its outcome is on record.
 */
export const moments = ['before', 'intent', 'during', 'after'] as const;
export type Moment = (typeof moments)[number];

/** A stage with its pass, as the table of states names it. */
export const actions = wayForth;
export type Action = (typeof actions)[number] | 'rollback';

/**
 * How many steps each stage has, at most: a fault is drawn for one of them. `stage-run.ts` holds every
 * stage that is run against it, so that it can't lag behind the product unseen.
 */
export const mostSteps: Readonly<Record<Action, number>> = {
  prepare: 8,
  'transfer live': 1,
  freeze: 8,
  'transfer final': 3,
  activate: 10,
  'dns-cutover': 1,
  verify: 6,
  drain: 4,
  finish: 8,
  rollback: 30,
};

export interface Fault {
  readonly kind: FaultKind;
  readonly action: Action;
  /** Counts from 1 within one run of the stage. */
  readonly step: number;
  readonly moment: Moment;
  /** Milliseconds into the step, for `during`. */
  readonly delay: number;
  readonly host: 'old' | 'new';
  /** Milliseconds that it lasts, where it lasts. */
  readonly lasts: number;
}

/**
 * Where a run begins: at OLD as it was, at hosts that were prepared, with a live pass made, at a frozen
 * OLD after the final pass, or with NEW serving and the world sent there.
 */
export const beginnings = ['fresh', 'copied', 'transferred', 'active'] as const;
export type Beginning = (typeof beginnings)[number];

/** The stage that comes next there. */
export const firstStage = {
  fresh: 'prepare',
  copied: 'freeze',
  transferred: 'activate',
  active: 'verify',
} as const satisfies Readonly<Record<Beginning, Action>>;

export interface Drawing {
  readonly seed: number;
  readonly freezeMode: 'hold' | 'stop';
  readonly from: Beginning;
  /** After which stage the way back begins; undefined: NEW is the owner in the end. */
  readonly backAfter: Action | undefined;
  /** The last stage on the way forth. */
  readonly last: Action;
  readonly faults: readonly Fault[];
}

/** How often each kind is drawn, against the others. */
const weights: Readonly<Record<FaultKind, number>> = {
  'runner-killed': 5,
  'runner-suspended': 3,
  cancelled: 2,
  'ssh-cut': 3,
  'runner-link-cut': 2,
  'hosts-link-cut': 2,
  'host-crashed': 3,
  'host-rebooted': 2,
  'reply-lost': 3,
  'disk-full': 3,
  'dns-down': 1,
  'dns-late': 1,
  'limit-passed': 2,
};

/** Stages in which each kind means something. */
const places: Partial<Readonly<Record<FaultKind, readonly Action[]>>> = {
  'hosts-link-cut': ['transfer live', 'transfer final', 'activate', 'verify', 'drain', 'rollback'],
  'dns-down': ['prepare', 'freeze', 'dns-cutover', 'verify', 'drain', 'finish', 'rollback'],
  'dns-late': ['prepare', 'freeze', 'dns-cutover', 'verify', 'drain', 'finish', 'rollback'],
  'limit-passed': ['freeze', 'transfer final', 'activate', 'rollback'],
};

/** One run, made from nothing but its seed. */
export function draw(seed: number): Drawing {
  const random = new Random(seed * 7919 + 1);
  const goesBack = random.next() < 0.5;
  const from = pickBeginning(random.next());
  const first = actions.indexOf(firstStage[from]);
  // To NEW it is moved only when the world is sent there too.
  const lastIndex = goesBack
    ? random.between(first, actions.length - 2)
    : random.between(Math.max(first, actions.indexOf('dns-cutover')), actions.length - 1);
  const last = actions[lastIndex] ?? 'dns-cutover';
  const way: readonly Action[] = [
    ...actions.slice(first, lastIndex + 1),
    ...(goesBack ? (['rollback', 'rollback'] as const) : []),
  ];
  return {
    seed,
    freezeMode: random.pick(['hold', 'stop'] as const),
    from,
    backAfter: goesBack ? last : undefined,
    last,
    // Before NEW has served there is little to take back.
    faults: Array.from({ length: random.between(1, 3) }, () =>
      drawFault(random, way, from !== 'active' && !way.includes('activate')),
    ),
  };
}

/** Few begin at the very beginning, which costs the most and is the least in danger. */
function pickBeginning(share: number): Beginning {
  if (share < 0.15) return 'fresh';
  if (share < 0.5) return 'copied';
  return share < 0.75 ? 'transferred' : 'active';
}

function drawFault(random: Random, way: readonly Action[], isShort: boolean): Fault {
  for (;;) {
    const kind = pickKind(random);
    const possible = way.filter((action) => places[kind]?.includes(action) ?? true);
    if (possible.length === 0) continue;
    const action = random.pick(possible);
    return {
      kind,
      action,
      step: random.between(1, action === 'rollback' && isShort ? 7 : mostSteps[action]),
      moment: random.pick(moments),
      delay: Math.round(5 * 160 ** random.next()),
      host: random.pick(['old', 'new'] as const),
      // Most are over before a connection counts as dead, some are not.
      lasts: random.next() < 0.75 ? random.between(500, 6000) : random.between(20_000, 25_000),
    };
  }
}

function pickKind(random: Random): FaultKind {
  const total = faultKinds.reduce((sum, kind) => sum + weights[kind], 0);
  let rest = random.next() * total;
  for (const kind of faultKinds) {
    rest -= weights[kind];
    if (rest < 0) return kind;
  }
  return 'runner-killed';
}
