import { Journal } from '../engine/journal.ts';
import { previewSteps, runSteps, type StepReport } from '../engine/runner.ts';
import { mayRun, type State, stateOf } from '../engine/states.ts';
import type { Gate } from '../github/gate.ts';
import { runOrigin } from '../github/run.ts';
import { ConnectionLost } from '../hosts/ssh-connection.ts';
import { findings as allFindings } from '../stages/plan.ts';
import { actionOf, type SteppedStage, stages } from '../stages/registry.ts';
import { askGate, refuseOpenGate } from './gates.ts';
import { log } from './log.ts';
import { contextOf, observed, type Parts } from './parts.ts';
import { approvedDigest } from './plan-digest.ts';
import { blockedBy, demand } from './refusals.ts';
import type { Result } from './result.ts';
import { locked } from './run-locked.ts';

/** Runs one stage but `plan`: refuse, compare the digest, ask the gate, lock, steps. */
export async function runStage(stage: SteppedStage, parts: Parts): Promise<Result> {
  const action = actionOf(stage, parts.inputs.pass);
  const rules = { freezeMode: parts.migration.freeze.mode };
  const entries = await Journal.read(parts.files);
  // Asked while the hosts are: in the freeze every second counts.
  const asked = askGate(parts);
  const state = await observed(parts, entries);
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
  const planDigest = await approvedDigest(stage, context);
  if (parts.inputs.dryRun) {
    const steps: StepReport[] = [];
    const preview = await stages[stage](context);
    await previewSteps(preview.steps, { log, report: (step) => steps.push(step) });
    return { entries, state, planDigest, steps, findings: found };
  }
  const gate = await asked;
  refuseOpenGate(gate, parts, state);
  return locked(parts, stage, planDigest, async (journal) => {
    // Read again under the lock: another run may have been at work until now.
    const now = await observed(parts, journal.entries);
    demand(mayRun(action, now, rules), stage, now);
    if (now.phase !== stateOf(journal.entries).phase) {
      await journal.append({ kind: 'note', stage, step: 'thawed', text: 'OLD thawed by itself' });
    }
    const { steps, failure } = await runRecorded(parts, stage, now, journal, gate);
    const after = stateOf(journal.entries);
    const result = { entries: journal.entries, state: after, stateBefore: now, planDigest, steps };
    return { ...result, findings: found, gate, ...(failure === undefined ? {} : { failure }) };
  });
}

/** The steps of a stage, between its own two lines of the journal. */
async function runRecorded(
  parts: Parts,
  stage: SteppedStage,
  state: State,
  journal: Journal,
  gate: Gate | undefined,
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
  const data = { ...runOrigin(), ...(gate ? { gate } : {}) };
  await journal.append({ kind: 'stage-begin', stage: action, data });
  try {
    await runSteps(steps, {
      journal,
      log,
      stage: action,
      report: (step) => reports.push(step),
      passing: (error) => error instanceof ConnectionLost,
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
