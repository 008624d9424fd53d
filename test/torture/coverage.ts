import { faultKinds, moments } from './drawing.ts';
import type { RunResult } from './run.ts';
import type { Fired } from './stage-run.ts';

export interface Coverage {
  readonly runs: number;
  readonly good: number;
  readonly failedSeeds: readonly number[];
  readonly faults: number;
  readonly messages: number;
  readonly rfc1047: number;
  /** "stage | step" to kind of fault, or moment, to how often it struck there. */
  readonly table: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly moments: Readonly<Record<string, number>>;
}

/** Counts what struck where, in the table by kind of fault or by moment. */
export function coverage(results: readonly RunResult[], by: 'kind' | 'moment'): Coverage {
  const fired = results.flatMap((result) => result.fired).filter(({ hit }) => hit);
  const table: Record<string, Record<string, number>> = {};
  for (const fault of fired) {
    const row = `${fault.action} | ${fault.step || 'before its first step'}`;
    const counts = table[row] ?? {};
    table[row] = counts;
    counts[fault[by]] = (counts[fault[by]] ?? 0) + 1;
  }
  return {
    runs: results.length,
    good: results.filter(({ complaints }) => complaints.length === 0).length,
    failedSeeds: results.filter(({ complaints }) => complaints.length > 0).map(({ seed }) => seed),
    faults: fired.length,
    messages: results.reduce((sum, { verdict }) => sum + (verdict?.sent ?? 0), 0),
    rfc1047: results.reduce((sum, { verdict }) => sum + (verdict?.rfc1047.length ?? 0), 0),
    table,
    moments: countBy(fired, ({ moment }) => moment),
  };
}

function countBy(fired: readonly Fired[], key: (fault: Fired) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const fault of fired) counts[key(fault)] = (counts[key(fault)] ?? 0) + 1;
  return counts;
}

/** The table as Markdown: a row a step, a column a kind of fault or a moment. */
export function markdown({ table }: Coverage): string {
  const kinds = [...faultKinds, ...moments].filter((kind) =>
    Object.values(table).some((row) => row[kind]),
  );
  const head = ['stage and step', ...kinds];
  const rows = Object.keys(table)
    .sort((a, b) => a.localeCompare(b))
    .map((row) => [
      row.replace('|', '–'),
      ...kinds.map((kind) => String(table[row]?.[kind] ?? '')),
    ]);
  return [head, head.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}
