import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Inputs } from '../actions/inputs.ts';
import type { StageName } from '../actions/stages.ts';
import { version } from '../actions/version.ts';
import { Journal } from '../engine/journal.ts';
import { nextStage, stateName } from '../engine/states.ts';
import { gateInWords } from '../github/gate.ts';
import { writeBundle } from '../report/bundle.ts';
import { downtimeSeconds } from '../report/downtime.ts';
import { lastWait, stageRuns } from '../report/durations.ts';
import { goingOn } from '../report/going-on.ts';
import { type ApprovedPlan, planParts } from '../report/plan-difference.ts';
import { type Report, summary } from '../report/summary.ts';
import { timeline } from '../report/timeline.ts';
import { copyParts } from '../stages/copy-outlook.ts';
import type { Parts } from './parts.ts';
import { OtherPlan } from './plan-digest.ts';
import { OutOfOrder } from './refusals.ts';
import type { Result, StageOutcome } from './result.ts';

/** Writes the report, and the bundle where the stage ends something, and sums up for the action. */
export async function outcome(
  stage: StageName,
  parts: Parts,
  result: Result,
  seconds: number,
): Promise<StageOutcome> {
  const downtime = downtimeSeconds(result.entries);
  const report: Report = {
    migration: parts.migration.name,
    stage,
    dryRun: parts.inputs.dryRun,
    stateBefore: result.stateBefore && stateName(result.stateBefore),
    state: stateName(result.state),
    nextStage: nextStage(result.state),
    planDigest: result.planDigest,
    steps: result.steps,
    findings: result.findings,
    rrsets: (result.approved?.plan.rrsets ?? []).map(
      ({ before, after }) =>
        `${before.name} ${before.type}: ${before.values.join(', ') || 'nothing'} → ${after.values.join(', ') || 'nothing'}`,
    ),
    seconds,
    downtimeSeconds: downtime,
    ...(result.runbook
      ? {
          runbook: result.runbook,
          waits: { number: waitsIn(parts.inputs), last: lastWait(result.entries) },
        }
      : {}),
    gate: result.gate && gateInWords(result.gate),
    failure: result.failure instanceof Error ? result.failure.message : undefined,
    refused: result.refused === true,
    differences: result.difference?.differences,
    outlook: result.outlook?.lines,
    covered: result.approved && coveredBy(result.approved),
    goingOn:
      result.failure === undefined
        ? undefined
        : goingOn({ ...result.state, stage, pass: parts.inputs.pass, from: dispatchFrom(result) }),
    timeline: timeline(stageRuns(result.entries)),
  };
  const name = `mail-cutover-${parts.migration.name}-${stage}`;
  const path = join(process.env.RUNNER_TEMP ?? tmpdir(), `${name}.json`);
  const json = `${JSON.stringify(report, null, 2)}\n`;
  await writeFile(path, json);
  const audit = await bundle(stage, parts, result, json, summary(report));
  const journal =
    stage === 'finish' && !parts.inputs.dryRun ? await saveJournal(path, result) : undefined;
  return {
    state: report.state,
    changed: result.steps.some((step) => step.result === 'done'),
    nextStage: report.nextStage,
    planDigest: report.planDigest,
    report: journal ?? path,
    ...(downtime === undefined ? {} : { downtimeSeconds: downtime }),
    summary: summary(report),
    outputs: {
      ...(audit === undefined ? {} : { audit }),
      ...(stage === 'plan' && result.approved ? { plan: handedOn(result.approved) } : {}),
      ...(stage === 'plan' && result.failure === undefined
        ? { shards: copyParts(result.outlook, parts.inputs.shards) }
        : {}),
    },
    ...(result.failure === undefined ? {} : { failure: result.failure }),
  };
}

/** Of the gates that are named, how many stand between the freeze and an open NEW. */
function waitsIn({ environments }: Inputs): number {
  return environments.filter((name) => /-(transfer-final|activate)$/.test(name)).length;
}

/** The stage to dispatch from after a failure, where it is not the failed one. */
function dispatchFrom({ failure, state }: Result): string | undefined {
  if (failure instanceof OtherPlan) return 'plan';
  return failure instanceof OutOfOrder ? nextStage(state) : undefined;
}

/** Part by part what the digest stands for, to be compared with another plan's summary. */
function coveredBy(approved: ApprovedPlan): readonly string[] {
  return [...planParts(approved)].map(
    ([name, values]) => `${name}: ${values.join(', ') || 'nothing'}`,
  );
}

/** Bytes of an output that becomes a variable of the next job's programs: those have a limit of 128 KiB. */
const outputLimit = 64 * 1024;

/** The plan itself, for the stages that come after somebody has approved it. */
function handedOn(approved: ApprovedPlan): string {
  const json = JSON.stringify(approved);
  return Buffer.byteLength(json) > outputLimit ? '' : json;
}

const bundledStages: readonly StageName[] = ['verify', 'finish', 'rollback'];

/** The audit bundle of the stages that end something, and of those that fail; its path. */
async function bundle(
  stage: StageName,
  parts: Parts,
  { entries, failure, refused }: Result,
  report: string,
  text: string,
): Promise<string | undefined> {
  if (parts.inputs.dryRun || refused) return undefined;
  if (failure === undefined && !bundledStages.includes(stage)) return undefined;
  const migration = parts.migration.name;
  const folder = join(process.env.RUNNER_TEMP ?? tmpdir(), `mail-cutover-${migration}-audit`);
  const versions = {
    'mail-cutover': version,
    node: process.version,
    'mail-system': parts.migration['mail-system'],
  };
  // After a failure a host may be gone: what this run knows of the journal must do then.
  const lines =
    failure === undefined
      ? await Journal.readLines(parts.files)
      : entries.map((entry) => JSON.stringify(entry));
  await writeBundle(folder, { migration, lines, report, summary: text, versions });
  return folder;
}

/** The whole record, beside the report: the hosts' copies go with the hosts. */
async function saveJournal(report: string, { entries }: Result): Promise<string> {
  const path = report.replace(/-finish\.json$/, '-journal.jsonl');
  await writeFile(path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  return path;
}
