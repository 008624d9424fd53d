import { Journal } from '../engine/journal.ts';
import { isFrozen, wayForth } from '../engine/states.ts';
import type { MailStage } from '../mail-systems/mail-system.ts';
import { measured } from '../report/durations.ts';
import { digestOf } from '../report/plan-difference.ts';
import type { RunbookStage } from '../report/summary.ts';
import { copyOutlook, wayFindings } from '../stages/copy-outlook.ts';
import { findings as allFindings } from '../stages/plan.ts';
import { type SteppedStage, stages } from '../stages/registry.ts';
import type { StageContext } from '../stages/stage.ts';
import { gateFindings } from './gates.ts';
import { refuseOtherFormat } from './journal-format.ts';
import { log } from './log.ts';
import { contextOf, observed, type Parts } from './parts.ts';
import { approvedPlan, otherPlan } from './plan-digest.ts';
import { blockedBy } from './refusals.ts';
import type { Result } from './result.ts';

/** Looks at everything, changes nothing: findings, runbook, digest. */
export async function runPlan(parts: Parts): Promise<Result> {
  const entries = await Journal.read(parts.files);
  refuseOtherFormat(entries);
  const state = await observed(parts, entries);
  const context = contextOf(
    parts,
    state,
    () => entries,
    async () => undefined,
  );
  const [ofHosts, ofGates] = await Promise.all([allFindings(context, 'plan'), gateFindings(parts)]);
  // Where the hosts are not what they should be, nothing more is asked of them.
  const outlook = blockedBy(ofHosts) === undefined ? await copyOutlook(context) : undefined;
  const found = [...ofHosts, ...ofGates, ...(outlook ? wayFindings(context, outlook) : [])];
  const failure = blockedBy(found);
  const seen = { entries, state, steps: [], findings: found };
  if (failure !== undefined) return { ...seen, planDigest: '', failure, refused: true };
  for (const { severity, text, cure } of found) {
    if (severity === 'tells') log.info(text);
    else log.warning(`${text}. Cure: ${cure}`);
  }
  const approved = await approvedPlan(context);
  const planDigest = digestOf(approved);
  const runbook = await readRunbook(context);
  const difference = otherPlan(parts.inputs.planDigest, planDigest, approved, entries, undefined);
  const planned = { ...seen, planDigest, approved, runbook, difference, outlook };
  if (difference === undefined) return planned;
  if (!isFrozen(state)) return { ...planned, failure: difference, refused: true };
  log.warning(difference.message);
  return planned;
}

/** Every stage to come with its steps, in words. A stage that can't tell yet is told by its mail system. */
async function readRunbook(context: StageContext): Promise<readonly RunbookStage[]> {
  const before = measured(context.entries());
  const all: RunbookStage[] = [];
  for (const action of wayForth) {
    const [stage, pass = 'live'] = action.split(' ') as [
      SteppedStage,
      'live' | 'final' | undefined,
    ];
    // Only its titles are asked for: the digest stands in for the one that `finish` demands.
    const inputs = { ...context.inputs, pass, planDigest: '0'.repeat(64) };
    const titles = await stages[stage]({ ...context, inputs }).then(
      ({ steps }) => steps.map(({ title }) => title),
      async () =>
        (await context.system.steps(stage as MailStage, context)).map(({ title }) => title),
    );
    all.push({ stage: action, titles, measured: before.get(action) });
  }
  return all;
}
