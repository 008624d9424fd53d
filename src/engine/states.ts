import type { Entry } from './journal.ts';

/**
 * Where a migration stands. `frozen` is never trusted from the journal alone: OLD may have thawed by
 * itself.
 */
export const phases = [
  'untouched',
  'prepared',
  'copied',
  'frozen',
  'transferred',
  'active',
  'drained',
  'finished',
  'rolled-back',
] as const;

export type Phase = (typeof phases)[number];

export interface State {
  readonly phase: Phase;
  /** Whether clients and senders are sent to NEW (DNS or address). */
  readonly cut: boolean;
  /** Whether the last pass's verification went well since the cutover. */
  readonly verified: boolean;
  /** A rollback was begun and has not ended well: what it had done by then, only the hosts know. */
  readonly returning?: true;
  /** NEW has taken service, by its own word, in an `activate` that has not ended well. */
  readonly newOwns?: true;
}

export const start: State = { phase: 'untouched', cut: false, verified: false };

/** Every stage, in the default order of a migration; a transfer with its pass. */
export const stageActions = [
  'plan',
  'prepare',
  'transfer live',
  'freeze',
  'transfer final',
  'activate',
  'dns-cutover',
  'verify',
  'drain',
  'transfer late',
  'finish',
  'rollback',
] as const;

export type StageAction = (typeof stageActions)[number];

/** The way from OLD to NEW: without the look before it, the way back, and what only some mail systems need. */
export const wayForth = stageActions.filter(
  (action) => action !== 'plan' && action !== 'transfer late' && action !== 'rollback',
);

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

const yes: Verdict = { ok: true };
const no = (reason: string): Verdict => ({ ok: false, reason });

/** What may follow what: one row a stage, the phases from which it may run, and why not from others. */
export interface Rules {
  /** `hold` keeps mail at OLD, so NEW must serve before the world is sent to it. */
  readonly freezeMode: 'hold' | 'stop';
  /**
   * A NEW that is fenced takes mail and keeps it in its queue (qmail, redirect): the world may be sent
   * to it before it serves, once the final pass has been made.
   */
  readonly newQueuesMail?: boolean;
}

/** Whether `action` may run now, and if not, why not and what to do instead. */
export function mayRun(action: StageAction, state: State, rules: Rules): Verdict {
  if (action === 'plan' || action === 'verify') return yes;
  if (state.phase === 'finished')
    return no('this migration is finished. Start a new one under another name');
  if (state.returning) return whileReturning(action, state);
  switch (action) {
    case 'prepare':
      return within(state, ['untouched', 'rolled-back', 'prepared', 'copied'], {
        before: '',
        after:
          'the freeze has begun, so preparing again would disturb it. Go on, or run rollback first',
      });
    case 'transfer live':
      return within(state, ['prepared', 'copied'], {
        before: 'NEW is not prepared. Run prepare first',
        after: 'OLD is frozen already. Run transfer with pass: final',
      });
    case 'freeze':
      return within(state, ['copied', 'frozen'], {
        before:
          'no live pass has run, so the freeze would last as long as the whole copy. Run transfer with pass: live first',
        after: 'the final pass has been made. Run activate, or rollback',
      });
    case 'transfer final':
      if (state.newOwns)
        return no(
          'NEW has taken service already, and a final pass would overwrite its mail. Run activate again, or rollback',
        );
      return within(state, ['frozen', 'transferred'], {
        before: 'OLD is not frozen, so a final pass would not be final. Run freeze first',
        after: 'NEW serves already, and a final pass would overwrite its mail',
      });
    case 'activate':
      return within(state, ['transferred', 'active'], {
        before: 'the final pass has not been made. Run freeze, then transfer with pass: final',
        after: 'NEW was activated and drained already',
      });
    case 'dns-cutover':
      return within(
        state,
        servesFirst(rules) ? ['active', 'drained'] : ['transferred', 'active', 'drained'],
        {
          before: servesFirst(rules)
            ? 'NEW does not serve yet, and mail would knock at a closed door. Run activate first'
            : 'the final pass has not been made. Run transfer with pass: final first',
          after: '',
        },
      );
    case 'transfer late':
    case 'drain':
      return state.phase === 'active' && !state.cut
        ? no('the world is still sent to OLD. Run dns-cutover first')
        : within(state, ['active', 'drained'], {
            before: 'NEW does not serve yet. Run activate first',
            after: '',
          });
    case 'finish':
      return within(state, ['drained'], {
        before: 'late mail may still wait on OLD. Run drain first',
        after: '',
      });
    case 'rollback':
      return yes;
  }
}

/** Until a rollback has ended, NEW may stand half taken back: nothing may build on it. */
function whileReturning(action: StageAction, { phase }: State): Verdict {
  const canStay = phase === 'active' || phase === 'drained';
  if (action === 'rollback' || (action === 'activate' && canStay)) return yes;
  const orStay = canStay ? ', or activate to stay with NEW' : '';
  return no(`a rollback was begun and has not ended. Run rollback again${orStay}`);
}

/** Whether NEW must serve before the world is sent to it: until then its port 25 is closed. */
function servesFirst({ freezeMode, newQueuesMail = false }: Rules): boolean {
  return freezeMode === 'hold' && !newQueuesMail;
}

/** Which stage to run next, in words a person can use. */
export function nextStage(state: State): string {
  if (state.returning) return 'rollback';
  switch (state.phase) {
    case 'untouched':
    case 'rolled-back':
      return 'prepare';
    case 'prepared':
      return 'transfer live';
    case 'copied':
      return 'freeze';
    case 'frozen':
      return 'transfer final';
    case 'transferred':
      return 'activate';
    case 'active':
      if (!state.cut) return 'dns-cutover';
      return state.verified ? 'drain' : 'verify';
    case 'drained':
      return 'finish';
    case 'finished':
      return 'none';
  }
}

/** The state after a stage has ended well. */
export function after(action: StageAction, state: State): State {
  switch (action) {
    case 'prepare':
      return state.phase === 'copied' ? state : { ...start, phase: 'prepared' };
    case 'transfer live':
      return { ...state, phase: 'copied' };
    case 'freeze':
      return { ...state, phase: 'frozen' };
    case 'transfer final':
      return { ...state, phase: 'transferred' };
    case 'activate':
      return { phase: 'active', cut: state.cut, verified: state.verified };
    case 'dns-cutover':
      return { ...state, cut: true };
    case 'verify':
      // With `stop` the world may be sent to NEW before NEW serves: nothing is verified by then.
      return state.cut && state.phase === 'active' ? { ...state, verified: true } : state;
    case 'drain':
      return { ...state, phase: 'drained' };
    case 'finish':
      return { ...state, phase: 'finished' };
    case 'rollback':
      return { ...start, phase: 'rolled-back' };
    case 'plan':
    case 'transfer late':
      return state;
  }
}

/** Folds the journal into the state; only stages that ended well count, and a rollback that was begun. */
export function stateOf(entries: readonly Entry[]): State {
  let state = start;
  for (const entry of entries) {
    if (entry.kind === 'stage-end' && entry.ok) state = after(entry.stage as StageAction, state);
    if (entry.kind === 'stage-begin' && entry.stage === 'rollback')
      state = { ...state, returning: true };
    // OLD's thaw, seen by a later stage: the freeze and all that rested on it are void.
    if (entry.kind === 'note' && entry.step === 'thawed') state = { ...state, phase: 'copied' };
  }
  return state;
}

/** Between freeze and activation: from here every second is downtime. */
export function isFrozen({ phase }: State): boolean {
  return phase === 'frozen' || phase === 'transferred';
}

/** The state of the journal, corrected by what the hosts say of themselves. */
export function asSeen(
  state: State,
  hosts: { readonly oldIsFrozen: boolean; readonly newOwns: boolean },
): State {
  if (!isFrozen(state)) return state;
  if (!hosts.oldIsFrozen) return { ...state, phase: 'copied' };
  return hosts.newOwns ? { ...state, newOwns: true } : state;
}

/** One word for outputs: `active`, or `active+cut` where the world is sent to NEW. */
export function stateName(state: State): string {
  return state.cut ? `${state.phase}+cut` : state.phase;
}

/** Where `phase` lies on the way: refuses with `before` or `after`. */
function within(
  state: State,
  allowed: readonly Phase[],
  reasons: { before: string; after: string },
): Verdict {
  if (allowed.includes(state.phase)) return yes;
  const position = (phase: Phase) => (phase === 'rolled-back' ? 0 : phases.indexOf(phase));
  const first = Math.min(...allowed.map(position));
  return no(position(state.phase) < first ? reasons.before : reasons.after);
}
