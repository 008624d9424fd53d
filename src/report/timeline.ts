import type { StageRun } from './durations.ts';

/** Hours before the last event that a timeline reaches back: bars of seconds vanish among days. */
const hours = 12;

/**
 * The runs of the stages as a diagram that GitHub draws. Only our own words are in it: in a diagram
 * nothing can be escaped.
 */
export function timeline(runs: readonly StageRun[], now: Date = new Date()): string | undefined {
  const end = (run: StageRun) => Date.parse(run.ended ?? now.toISOString());
  const last = Math.max(...runs.map(end));
  const shown = runs.filter((run) => last - Date.parse(run.began) < hours * 3_600_000).slice(-40);
  if (shown.length === 0) return undefined;
  const bars = shown.map((run) => {
    const state = run.ok ? 'done' : run.ended === undefined ? 'active' : 'crit';
    const name = run.stage.replace(/[^a-z -]/g, '');
    const begin = Date.parse(run.began);
    // A bar without a length is not drawn.
    return `  ${name} :${state}, ${begin}, ${Math.max(end(run), begin + 1)}`;
  });
  return ['```mermaid', 'gantt', '  dateFormat x', '  axisFormat %H:%M:%S', ...bars, '```'].join(
    '\n',
  );
}
