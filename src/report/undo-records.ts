import type { Entry } from '../engine/journal.ts';

/** An undo record on a host, as the journal tells of it. */
export interface UndoRecord {
  /** "old" or "new". */
  readonly host: string;
  /** "GROUP/NNNN-NAME", below `undo/` in the folder of the migration. */
  readonly name: string;
  /** SHA-256 of its file `sum`, when it was made; undefined where that is on record nowhere. */
  readonly made: string | undefined;
  /** Stage and step that made it; undefined where it was made outside of the runs that are on record. */
  readonly by: string | undefined;
  /** The same sum of what it held when it was undone or dropped; undefined while it lies there. */
  readonly gone?: { readonly sum: string | undefined; readonly by: string | undefined } | undefined;
}

/** Every undo record that the journal tells of, in the order in which they were made. */
export function undoRecords(entries: readonly Entry[]): readonly UndoRecord[] {
  const records: UndoRecord[] = [];
  for (const { host, line, by } of undoLines(entries)) {
    const [name = '', what, hash] = line.split(' ');
    if (name.endsWith('/*')) {
      endGroup(records, host, name.slice(0, -1), by);
      continue;
    }
    const sum = hash === '-' ? undefined : hash;
    const index = records.findLastIndex(
      (record) => record.host === host && record.name === name && record.gone === undefined,
    );
    const there = records[index];
    if (what === 'gone') {
      const ended = { ...(there ?? { host, name, made: undefined, by: undefined }) };
      records.splice(there ? index : records.length, 1, { ...ended, gone: { sum, by } });
    } else if (there === undefined) records.push({ host, name, made: sum, by });
    else records[index] = { ...there, made: sum, by };
  }
  return records;
}

/** All of a group was undone: also what a kill kept from being noted, or from being made at all. */
function endGroup(records: UndoRecord[], host: string, group: string, by: string | undefined) {
  for (const [index, record] of records.entries())
    if (record.host === host && record.name.startsWith(group) && record.gone === undefined)
      records[index] = { ...record, gone: { sum: undefined, by } };
}

/**
 * A line tells what there was when the line before was written, so it is about the step of that one; where
 * several went together, of the first.
 */
function* undoLines(entries: readonly Entry[]) {
  let by: string | undefined;
  /** The last of those that went together, which counts from the line after the next one. */
  let joined: Entry | undefined;
  let before: Entry | undefined;
  for (const entry of entries) {
    // Another run: who died, and what a host does by itself, tell nothing of a step.
    if (entry.lock !== before?.lock) by = joined = undefined;
    for (const [host, lines] of Object.entries(entry.undo ?? {}))
      for (const line of lines) yield { host, line, by };
    before = entry;
    if (entry.joined) {
      joined = entry;
      continue;
    }
    by = stepOf(entry, joined ? stepOf(joined, by) : by);
    joined = undefined;
  }
}

/** The step that a line is about; a note is about the one that is under way. */
function stepOf({ kind, stage, step }: Entry, underWay: string | undefined): string | undefined {
  if (kind === 'note') return underWay;
  return kind === 'intent' || kind === 'outcome' ? `${stage}, ${step}` : undefined;
}

/** Those that were other when they were undone than when they were made. */
export function undoneOtherwise(entries: readonly Entry[]): readonly string[] {
  return undoRecords(entries).flatMap((record) => {
    const { made, gone } = record;
    if (gone?.sum === undefined || gone.sum === made) return [];
    return made === undefined
      ? [`${named(record)} was undone, and that it was made is not on record`]
      : [
          `${named(record)} was changed between its making (${record.by ?? 'between two runs'}) and its undoing`,
        ];
  });
}

/** How the undo records on a host, each with its sum, are other than the journal says. */
export function undoDifferences(
  entries: readonly Entry[],
  host: string,
  present: ReadonlyMap<string, string>,
): readonly string[] {
  const standing = new Map(
    undoRecords(entries)
      .filter((record) => record.host === host && record.gone === undefined)
      .map((record) => [record.name, record]),
  );
  const lost = [...standing.values()].flatMap((record) => {
    const sum = present.get(record.name);
    if (sum === record.made) return [];
    if (sum === '') return [`${named(record)} could not be looked at`];
    return sum === undefined
      ? [`${named(record)} is not there any more`]
      : [`${named(record)} was changed since it was made (${record.by ?? 'between two runs'})`];
  });
  const unknown = [...present.keys()]
    .filter((name) => !standing.has(name))
    .map((name) => `${named({ host, name })} is there, and the journal knows nothing of it`);
  return [...lost, ...unknown];
}

function named({ host, name }: Pick<UndoRecord, 'host' | 'name'>): string {
  return `${host.toUpperCase()}: undo record ${name}`;
}
