import { describe, expect, it } from 'vitest';
import type { Entry } from './journal.ts';
import {
  asSeen,
  mayRun,
  nextStage,
  phases,
  type Rules,
  type StageAction,
  type State,
  stageActions,
  start,
  after as stateAfter,
  stateName,
  stateOf,
} from './states.ts';

const modes: readonly Rules[] = [
  { freezeMode: 'hold' },
  { freezeMode: 'stop' },
  { freezeMode: 'hold', newQueuesMail: true },
];
/** Whether NEW's port 25 is closed until it serves. */
const isClosedBefore = ({ freezeMode, newQueuesMail }: Rules) =>
  freezeMode === 'hold' && newQueuesMail !== true;
const key = ({ phase, cut, verified }: State) => `${phase} ${cut} ${verified}`;

/** OLD's limit passed: nobody asked, and it can happen only while frozen. */
const thawed = (state: State): State | undefined =>
  state.phase === 'frozen' || state.phase === 'transferred'
    ? { ...state, phase: 'copied' }
    : undefined;

/** Every state that any sequence of allowed stages and thaws leads to. */
function reachable(rules: Rules): readonly State[] {
  const found = new Map([[key(start), start]]);
  for (const state of found.values()) {
    const next = stageActions
      .filter((action) => mayRun(action, state, rules).ok)
      .map((action) => stateAfter(action, state));
    for (const each of [...next, thawed(state)])
      if (each && !found.has(key(each))) found.set(key(each), each);
  }
  return [...found.values()];
}

/** Walks every sequence of allowed stages up to the depth. */
function walk(
  rules: Rules,
  depth: number,
  visit: (path: readonly StageAction[], state: State) => void,
): void {
  const go = (path: readonly StageAction[], state: State) => {
    visit(path, state);
    if (path.length === depth) return;
    for (const action of stageActions)
      if (mayRun(action, state, rules).ok) go([...path, action], stateAfter(action, state));
  };
  go([], start);
}

describe.each(modes)(
  'the table of states with $freezeMode, NEW queues mail: $newQueuesMail',
  (rules) => {
    it('refuses everything out of order with a reason that names a stage', () => {
      let refused = 0;
      for (const state of reachable(rules)) {
        for (const action of stageActions) {
          const verdict = mayRun(action, state, rules);
          if (verdict.ok) continue;
          refused += 1;
          expect(verdict.reason, `${action} in ${stateName(state)}`).toMatch(
            /\b(prepare|transfer|freeze|activate|dns-cutover|drain|rollback)\b|Start a new one|NEW serves already|NEW was activated/,
          );
        }
      }
      expect(refused).toBeGreaterThan(40);
    });

    it('always has a next stage that is allowed', () => {
      for (const state of reachable(rules)) {
        const next = nextStage(state);
        if (state.phase === 'finished') expect(next).toBe('none');
        else
          expect(
            mayRun(next as StageAction, state, rules),
            `${next} in ${stateName(state)}`,
          ).toEqual({ ok: true });
      }
    });

    it('leads to the end from everywhere by its own advice', () => {
      for (const state of reachable(rules)) {
        let now = state;
        for (let left = 12; now.phase !== 'finished'; left -= 1) {
          expect(left, `from ${stateName(state)}`).toBeGreaterThan(0);
          now = stateAfter(nextStage(now) as StageAction, now);
        }
      }
    });

    it('lets everything but a finished migration be rolled back', () => {
      for (const state of reachable(rules)) {
        expect(mayRun('rollback', state, rules).ok).toBe(state.phase !== 'finished');
        expect(stateAfter('rollback', state)).toEqual({
          phase: 'rolled-back',
          cut: false,
          verified: false,
        });
      }
    });

    it('lets every stage be repeated right after itself, but those of the end', () => {
      for (const state of reachable(rules)) {
        for (const action of stageActions) {
          if (action === 'finish' || !mayRun(action, state, rules).ok) continue;
          const ended = stateAfter(action, state);
          expect(mayRun(action, ended, rules), `${action} after ${stateName(state)}`).toEqual({
            ok: true,
          });
          expect(stateAfter(action, ended), `${action} twice from ${stateName(state)}`).toEqual(
            ended,
          );
        }
      }
    });

    it('in no sequence of stages serves from NEW without a final pass of a frozen OLD', () => {
      walk(rules, 7, (path, state) => {
        if (state.phase !== 'active' && state.phase !== 'drained') return;
        const since = path.slice(path.lastIndexOf('rollback') + 1);
        const order = (
          ['prepare', 'transfer live', 'freeze', 'transfer final', 'activate'] as const
        ).map((stage) => since.indexOf(stage));
        expect(
          order.every((place, index) => place >= 0 && place > (order[index - 1] ?? -1)),
          path.join(', '),
        ).toBe(true);
        // Once it serves, nothing may overwrite it but what first brings its mail back.
        for (const action of ['prepare', 'transfer live', 'freeze', 'transfer final'] as const)
          expect(mayRun(action, state, rules).ok).toBe(false);
      });
    });

    it('sends the world to NEW only when it may be answered there', () => {
      for (const state of reachable(rules)) {
        const { ok } = mayRun('dns-cutover', state, rules);
        const wanted = isClosedBefore(rules)
          ? ['active', 'drained']
          : ['transferred', 'active', 'drained'];
        expect(ok, stateName(state)).toBe(wanted.includes(state.phase));
        if (state.verified) expect(['active', 'drained', 'finished']).toContain(state.phase);
      }
    });

    it('knows every phase as reachable', () => {
      expect(new Set(reachable(rules).map(({ phase }) => phase))).toEqual(new Set(phases));
    });
  },
);

describe('stateOf', () => {
  const entry = (data: Partial<Entry>): Entry => ({
    seq: 1,
    time: '',
    actor: '',
    run: '',
    attempt: 1,
    commit: '',
    lock: 1,
    planDigest: '',
    prev: '',
    hash: '',
    kind: 'stage-end',
    stage: '',
    ok: true,
    ...data,
  });

  it('counts only stages that ended well', () => {
    expect(stateOf([])).toEqual(start);
    expect(
      stateName(
        stateOf([
          entry({ stage: 'prepare' }),
          entry({ stage: 'transfer live', ok: false }),
          entry({ stage: 'transfer live', kind: 'stage-begin' }),
        ]),
      ),
    ).toBe('prepared');
  });

  it('takes the freeze back when OLD was seen to have thawed', () => {
    const stages = ['prepare', 'transfer live', 'freeze', 'transfer final'].map((stage) =>
      entry({ stage }),
    );
    expect(stateName(stateOf(stages))).toBe('transferred');
    expect(stateName(stateOf([...stages, entry({ kind: 'note', step: 'thawed' })]))).toBe('copied');
  });

  it('is corrected by what the hosts say', () => {
    const transferred = { ...start, phase: 'transferred' } as const;
    const hosts = { oldIsFrozen: true, newOwns: false };
    expect(asSeen(transferred, hosts)).toEqual(transferred);
    expect(asSeen(transferred, { ...hosts, oldIsFrozen: false }).phase).toBe('copied');
    const opened = asSeen(transferred, { ...hosts, newOwns: true });
    const may = (action: StageAction) => mayRun(action, opened, { freezeMode: 'hold' });
    expect(may('transfer final')).toMatchObject({
      ok: false,
      reason: expect.stringContaining('a final pass would overwrite its mail'),
    });
    for (const action of ['activate', 'rollback'] as const) expect(may(action).ok).toBe(true);
    const active = { ...start, phase: 'active' } as const;
    expect(asSeen(active, { oldIsFrozen: false, newOwns: true })).toEqual(active);
  });

  it('lets nothing build on a rollback that was cut off, until it or activate has ended', () => {
    const rules: Rules = { freezeMode: 'hold' };
    const forth = [
      'prepare',
      'transfer live',
      'freeze',
      'transfer final',
      'activate',
      'dns-cutover',
    ].map((stage) => entry({ stage }));
    const begun = [...forth, entry({ stage: 'rollback', kind: 'stage-begin' })];
    const state = stateOf(begun);
    expect(nextStage(state)).toBe('rollback');
    for (const action of ['dns-cutover', 'drain', 'finish', 'prepare', 'freeze'] as const)
      expect(mayRun(action, state, rules)).toMatchObject({
        ok: false,
        reason: expect.stringContaining('Run rollback again, or activate to stay with NEW'),
      });
    expect(mayRun('rollback', state, rules).ok).toBe(true);
    expect(mayRun('activate', state, rules).ok).toBe(true);
    expect(nextStage(stateOf([...begun, entry({ stage: 'activate' })]))).toBe('verify');
    expect(stateOf([...begun, entry({ stage: 'rollback' })]).returning).toBeUndefined();
    const early = stateOf([
      ...forth.slice(0, 3),
      entry({ stage: 'rollback', kind: 'stage-begin' }),
      entry({ stage: 'rollback', ok: false }),
    ]);
    expect(mayRun('activate', early, rules).ok).toBe(false);
    expect(mayRun('freeze', early, rules).ok).toBe(false);
  });

  it('says where the world is sent', () => {
    expect(stateName({ phase: 'active', cut: true, verified: false })).toBe('active+cut');
  });
});
