import type { Journal } from './journal.ts';
import type { Step } from './step.ts';

/** Where the runner says what it does. */
export interface Log {
  info(line: string): void;
  warning(line: string): void;
  /** Shows what `work` says under one title. */
  group<T>(title: string, work: () => Promise<T>): Promise<T>;
}

export interface StepReport {
  readonly id: string;
  readonly title: string;
  readonly result: 'done' | 'already' | 'would' | 'failed';
  readonly milliseconds: number;
  readonly evidence?: string | undefined;
}

/** What a step is tried again after. */
interface Retrying {
  /** Whether an error is worth another try of the same step. */
  readonly passing: (error: unknown) => boolean;
  /** Waits until nothing of the try before is under way on a host any more; throws if that does not end. */
  readonly settle: () => Promise<void>;
}

/** A connection that was lost in the middle of a step is worth this many more tries. */
const retries = 3;

/**
 * Runs the steps in order, each between two lines of the journal. Stops at the first that fails;
 * what was done stays done and is seen to be done by the next run.
 */
export async function runSteps(
  steps: readonly Step[],
  context: {
    journal: Journal;
    log: Log;
    stage: string;
    report: (step: StepReport) => void;
  } & Retrying,
): Promise<void> {
  for (const [index, step] of steps.entries()) {
    steps[index + 1]?.ahead?.();
    await context.log.group(step.title, async () => {
      const began = performance.now();
      const report = (result: StepReport['result'], evidence?: string) =>
        context.report({
          id: step.id,
          title: step.title,
          result,
          evidence,
          milliseconds: Math.round(performance.now() - began),
        });
      try {
        const evidence = await attempt(step, context, index === steps.length - 1);
        if (evidence === alreadyDone) {
          context.log.info('already done');
          report('already');
        } else {
          if (evidence) context.log.info(evidence);
          report('done', evidence);
        }
      } catch (error) {
        report('failed', error instanceof Error ? error.message : String(error));
        throw error;
      }
    });
  }
}

const alreadyDone = Symbol('already done');

async function attempt(
  step: Step,
  context: { journal: Journal; log: Log; stage: string } & Retrying,
  isLast: boolean,
): Promise<string | undefined | typeof alreadyDone> {
  const { journal, stage } = context;
  let begun = false;
  for (let left = retries; ; left -= 1) {
    try {
      const done = await step.done();
      if (done && !begun) {
        if (isLast) await journal.flush();
        return alreadyDone;
      }
      if (!done) await journal.append({ kind: 'intent', stage, step: step.id, text: step.title });
      begun = true;
      // Done by the try before, whose reply was lost: still this run's work, and on record as such.
      const evidence = done ? 'done before the connection was lost' : await step.do();
      // It goes with the intent of the next step, before which nothing else is changed.
      journal.later({
        kind: 'outcome',
        stage,
        step: step.id,
        ok: true,
        ...(evidence ? { text: evidence } : {}),
      });
      if (isLast) await journal.flush();
      return evidence;
    } catch (caught) {
      let error = caught;
      if (left > 0 && context.passing(error)) {
        context.log.warning(`${(error as Error).message}; trying again`);
        try {
          await context.settle();
          continue;
        } catch (late) {
          error = late;
        }
      }
      // The record must not hide the fault: a host that can't be written to is often the cause.
      await journal
        .append({
          kind: 'outcome',
          stage,
          step: step.id,
          ok: false,
          text: error instanceof Error ? error.message : String(error),
        })
        .catch(() => undefined);
      throw error;
    }
  }
}

/** The dry-run twin: looks where `runSteps` looks, changes nothing, records nothing. */
export async function previewSteps(
  steps: readonly Step[],
  context: { log: Log; report: (step: StepReport) => void },
): Promise<void> {
  for (const step of steps) {
    const done = await step.done();
    context.log.info(done ? `already done: ${step.title}` : `would: ${step.title}`);
    context.report({
      id: step.id,
      title: step.title,
      result: done ? 'already' : 'would',
      milliseconds: 0,
    });
  }
}
