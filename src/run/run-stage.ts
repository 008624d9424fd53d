import { type Entry, Journal } from '../engine/journal.ts';
import { previewSteps, runSteps, type StepReport } from '../engine/runner.ts';
import { asSeen, mayRun, type State, stateOf } from '../engine/states.ts';
import { UserError } from '../errors.ts';
import type { Gate } from '../github/gate.ts';
import { runOrigin } from '../github/run.ts';
import { ConnectionLost } from '../hosts/ssh-connection.ts';
import { type Finding, warns } from '../mail-systems/mail-system.ts';
import { planNote, recordedPlans } from '../report/plan-difference.ts';
import { undoneOtherwise } from '../report/undo-records.ts';
import { findings as allFindings } from '../stages/plan.ts';
import { actionOf, type SteppedStage, stages } from '../stages/registry.ts';
import { askGate, confirmedGate, refuseOpenGate } from './gates.ts';
import { refuseOtherFormat, writtenBy } from './journal-format.ts';
import { log } from './log.ts';
import { alive, contextOf, observed, type Parts } from './parts.ts';
import { type JudgedPlan, judgePlan, OtherPlan } from './plan-digest.ts';
import { Blocked, blockedBy, demand } from './refusals.ts';
import type { Result } from './result.ts';
import { locked } from './run-locked.ts';

/** Runs one stage but `plan`. A refusal is a result too: its reader needs to see where things stand. */
export async function runStage(stage: SteppedStage, parts: Parts): Promise<Result> {
  // Asked while the hosts are: in the freeze every second counts.
  const asked = askGate(parts);
  for (const host of alive(parts)) host.lookForHostctl();
  const reading = Journal.read(parts.files);
  const state = await observed(parts, reading);
  const entries = await reading;
  refuseOtherFormat(entries);
  const progress = { begun: false };
  try {
    return await judgeAndRun(stage, parts, { entries, state, asked, progress });
  } catch (error) {
    if (progress.begun || !(error instanceof UserError)) throw error;
    return {
      entries,
      state,
      planDigest: entries.at(-1)?.planDigest ?? '',
      steps: [],
      findings: error instanceof Blocked ? error.findings : [],
      ...(error instanceof OtherPlan ? { difference: error, approved: error.current } : {}),
      failure: error,
      refused: true,
    };
  }
}

interface Start {
  readonly entries: readonly Entry[];
  readonly state: State;
  readonly asked: Promise<Gate | undefined>;
  /** Set when the stage is on record as begun: from then on a failure is no refusal. */
  readonly progress: { begun: boolean };
}

/** Refuses, compares the digest, asks the gate, locks, runs the steps. */
async function judgeAndRun(stage: SteppedStage, parts: Parts, start: Start): Promise<Result> {
  const { entries, state, asked, progress } = start;
  const action = actionOf(stage, parts.inputs.pass);
  const rules = {
    freezeMode: parts.migration.freeze.mode,
    newQueuesMail: parts.migration.qmail?.strategy === 'redirect',
  };
  demand(mayRun(action, state, rules), stage, state);
  const context = contextOf(
    parts,
    state,
    () => entries,
    async () => undefined,
  );
  const found = stage === 'prepare' ? await allFindings(context, 'prepare') : [];
  const failure = blockedBy(found);
  if (failure !== undefined) throw failure;
  const judged = await judgePlan(stage, context);
  const { planDigest, difference } = judged;
  if (parts.inputs.dryRun) {
    const steps: StepReport[] = [];
    const preview = await stages[stage](context);
    await previewSteps(preview.steps, { log, report: (step) => steps.push(step) });
    return { entries, state, planDigest, steps, findings: found, difference };
  }
  const gate = (await asked) ?? confirmedGate(parts);
  refuseOpenGate(gate, parts, state);
  return locked(parts, stage, planDigest, async (journal, seen) => {
    // Under the lock: another run may have been at work until then.
    const known = stateOf(journal.entries);
    const now = asSeen(known, seen);
    demand(mayRun(action, now, rules), stage, now);
    if (now.phase !== known.phase) {
      await journal.append({ kind: 'note', stage, step: 'thawed', text: 'OLD thawed by itself' });
    }
    const begin = async () => {
      await recordBegin(action, journal, judged, gate);
      progress.begun = true;
    };
    const { steps, failure } = await runRecorded(parts, stage, now, journal, begin);
    const after = stateOf(journal.entries);
    const result = { entries: journal.entries, state: after, stateBefore: now, planDigest, steps };
    return {
      ...result,
      findings: [...found, ...undoneNow(entries, journal.entries)],
      gate,
      difference,
      ...(failure === undefined ? {} : { failure }),
    };
  });
}

/** What was put back in this run and is not what had been recorded: nothing stops for it, but it is told. */
function undoneNow(before: readonly Entry[], now: readonly Entry[]): readonly Finding[] {
  const told = new Set(undoneOtherwise(before));
  return undoneOtherwise(now)
    .filter((text) => !told.has(text))
    .map((text) =>
      warns(text, 'Compare what was put back there with a backup, and find out who changed it'),
    );
}

/** Who runs it, who approved it, and what was approved. */
async function recordBegin(
  stage: string,
  journal: Journal,
  { planDigest, plan, difference }: JudgedPlan,
  gate: Gate | undefined,
): Promise<void> {
  const data = { ...runOrigin(), ...writtenBy(), ...(gate ? { gate } : {}) };
  journal.later({ kind: 'stage-begin', stage, data });
  if (plan !== undefined && !recordedPlans(journal.entries).has(planDigest))
    await journal.append({ kind: 'note', stage, step: planNote, data: { plan } });
  if (difference !== undefined)
    await journal.append({ kind: 'note', stage, step: 'other-plan', text: difference.message });
}

/** The steps of a stage, between its own two lines of the journal. */
async function runRecorded(
  parts: Parts,
  stage: SteppedStage,
  state: State,
  journal: Journal,
  begin: () => Promise<void>,
): Promise<{ readonly steps: readonly StepReport[]; readonly failure?: unknown }> {
  const action = actionOf(stage, parts.inputs.pass);
  const context = contextOf(
    parts,
    state,
    () => journal.entries,
    (entry) => journal.append({ kind: 'note', stage: action, ...entry }),
  );
  const { steps, onFailure } = await stages[stage](context);
  const reports: StepReport[] = [];
  await begin();
  try {
    await runSteps(steps, {
      journal,
      log,
      stage: action,
      report: (step) => reports.push(step),
      passing: (error) => error instanceof ConnectionLost,
      settle: async () => {
        await Promise.all(alive(parts).map((host) => host.settled()));
      },
    });
  } catch (error) {
    // What failed first is what the user must hear, even if cleaning up fails too.
    await onFailure?.().catch((late: unknown) => log.warning((late as Error).message));
    await journal
      .append({ kind: 'stage-end', stage: action, ok: false, text: (error as Error).message })
      .catch(() => undefined);
    return { steps: reports, failure: error };
  }
  await journal.append({ kind: 'stage-end', stage: action, ok: true });
  return { steps: reports };
}
