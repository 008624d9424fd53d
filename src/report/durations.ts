import type { Entry } from '../engine/journal.ts';

/** One run of a stage, as the journal tells it. */
export interface StageRun {
  readonly stage: string;
  /** ISO 8601. */
  readonly began: string;
  /** Undefined where the runner died, or is still at work. */
  readonly ended: string | undefined;
  readonly ok: boolean;
  /** What stands between its two lines, both included. */
  readonly entries: readonly Entry[];
}

/** Every run of a stage, in order. The lock lets one be at work at a time. */
export function stageRuns(entries: readonly Entry[]): readonly StageRun[] {
  const runs: StageRun[] = [];
  let open: Entry[] = [];
  const close = (end: Entry | undefined) => {
    const [first] = open;
    if (first === undefined) return;
    runs.push({
      stage: first.stage,
      began: first.time,
      ended: end?.time,
      ok: end?.ok === true,
      entries: open,
    });
    open = [];
  };
  for (const entry of entries) {
    if (entry.kind === 'stage-begin') {
      close(undefined);
      open = [entry];
    } else if (open.length > 0) {
      open.push(entry);
      if (entry.kind === 'stage-end') close(entry);
    }
  }
  close(undefined);
  return runs;
}

/** Seconds between two times of the journal. */
export function secondsBetween(began: string, ended: string): number {
  return (Date.parse(ended) - Date.parse(began)) / 1000;
}

/** What each stage took when it last ended well: seconds, by its name in the table of states. */
export function measured(entries: readonly Entry[]): ReadonlyMap<string, number> {
  const seconds = new Map<string, number>();
  for (const { stage, began, ended, ok } of stageRuns(entries)) {
    if (ok && ended !== undefined) seconds.set(stage, secondsBetween(began, ended));
  }
  return seconds;
}

/**
 * Seconds from the end of a stage to the beginning of the next in the same run of a workflow, when that
 * was last to be seen: an approval and the start of a runner. Not where one job did both.
 */
export function lastWait(entries: readonly Entry[]): number | undefined {
  const runs = stageRuns(entries);
  const waits = runs.flatMap((run, index) => {
    const before = runs[index - 1];
    const passed = before?.ended !== undefined && runOf(before) === runOf(run) && gateOf(run);
    return passed && passed !== gateOf(before) ? [secondsBetween(before.ended, run.began)] : [];
  });
  return waits.at(-1);
}

function runOf({ entries: [first] }: StageRun): string | undefined {
  return first?.run;
}

/** Name of the environment before a stage's job, where it had one. */
function gateOf({ entries: [first] }: StageRun): string | undefined {
  return (first?.data?.gate as { readonly environment?: string } | undefined)?.environment;
}

/** "4.2 s", "3 min 10 s", "2 h 5 min". */
export function words(seconds: number): string {
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
