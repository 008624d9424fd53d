import * as core from '@actions/core';
import { UserError } from '../errors.ts';
import type { StageOutcome } from '../run/result.ts';
import { type Inputs, loadInputs } from './inputs.ts';
import type { StageName } from './stages.ts';

/** What an action needs of `src/main.ts`; `post` is for stages with a post step. */
interface Main {
  readonly main: (stage: StageName, inputs: Inputs) => Promise<StageOutcome>;
  readonly post?: (stage: StageName, inputs: Inputs) => Promise<void>;
  /** Summary of an action that has no report. */
  readonly refusalSummary: (stage: StageName, message: string) => string;
}

/** Set when the inputs were good: only then may there be something for the post step to remove. */
const startedState = 'started';

/** Milliseconds that open handles may keep the process after its work is done. */
const lingerLimit = 10_000;

/** Inputs, stage, outputs, summary. A failure becomes the job's failure, in one line each. */
export async function runStage(stage: StageName): Promise<void> {
  process.once('uncaughtException', (error) => {
    reportFailure(error);
    process.exit(1);
  });
  try {
    const inputs = loadInputs(stage);
    core.saveState(startedState, 'true');
    const { main } = await loadMain();
    const outcome = await main(stage, inputs);
    await writeSummary(outcome.summary);
    if (outcome.failure === undefined) setOutputs(outcome);
    else {
      // What was done until then is kept by the workflow.
      setFurtherOutputs(outcome);
      reportFailure(outcome.failure);
    }
  } catch (error) {
    reportFailure(error);
    await summarizeRefusal(stage, error);
  }
  leaveSoon();
}

/** The post step. What it can't remove ends by itself when its lease runs out: a warning is enough. */
export async function postStage(stage: StageName): Promise<void> {
  if (core.getState(startedState) !== 'true') return;
  try {
    const { post } = await loadMain();
    await post?.(stage, loadInputs(stage));
  } catch (error) {
    core.warning(describe(error));
    core.debug(stackOf(error));
  }
  leaveSoon();
}

async function loadMain(): Promise<Main> {
  return import(/* webpackMode: "eager" */ '../main.ts');
}

function setOutputs(outcome: StageOutcome): void {
  core.setOutput('state', outcome.state);
  core.setOutput('changed', outcome.changed);
  core.setOutput('next-stage', outcome.nextStage);
  core.setOutput('plan-digest', outcome.planDigest);
  core.setOutput('report', outcome.report);
  if (outcome.downtimeSeconds !== undefined) {
    core.setOutput('downtime-seconds', outcome.downtimeSeconds);
  }
  setFurtherOutputs(outcome);
}

function setFurtherOutputs({ outputs = {} }: StageOutcome): void {
  for (const [name, value] of Object.entries(outputs)) core.setOutput(name, value);
}

/** GitHub drops a summary of more than 1 MiB; a cut one is better than none. */
const summaryLimit = 1024 * 1024 - 4096;

async function summarizeRefusal(stage: StageName, error: unknown): Promise<void> {
  const { refusalSummary } = await loadMain();
  await writeSummary(refusalSummary(stage, describe(error))).catch((late: unknown) =>
    core.debug(stackOf(late)),
  );
}

async function writeSummary(markdown: string): Promise<void> {
  if (!process.env.GITHUB_STEP_SUMMARY || markdown === '') return;
  const bytes = Buffer.from(markdown);
  const text =
    bytes.length <= summaryLimit
      ? markdown
      : `${bytes.subarray(0, summaryLimit).toString()}\n\n*Cut here: the report has the rest.*\n`;
  await core.summary.addRaw(text, true).write();
}

function reportFailure(error: unknown): void {
  for (const line of describe(error).split('\n')) core.error(line);
  core.debug(stackOf(error));
  process.exitCode = 1;
}

function describe(error: unknown): string {
  if (error instanceof UserError) return error.message;
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const line = reason.split('\n', 1)[0] ?? '';
  return `a fault in mail-cutover itself, please report it: ${line} (the stack is in the debug log)`;
}

/** The stack with those of all causes. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** A forgotten handle must not hold the runner for hours; without one the process just ends. */
function leaveSoon(): void {
  setTimeout(() => process.exit(), lingerLimit).unref();
}
