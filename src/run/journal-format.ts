import { version } from '../actions/version.ts';
import type { Entry } from '../engine/journal.ts';
import { UserError } from '../errors.ts';

/**
 * Grows when a version of the suite could misread what an earlier one has left on the hosts: lines of
 * the journal, undo records, marks.
 */
export const journalFormat = 1;

/** What the first line of each stage says of who wrote it. */
export function writtenBy(): Record<string, unknown> {
  return { version, format: journalFormat };
}

/** Refuses to go on with a migration that another format has begun. Journals without one have the first. */
export function refuseOtherFormat(entries: readonly Entry[]): void {
  const last = entries.findLast(({ kind }) => kind === 'stage-begin')?.data;
  const format = last?.format ?? 1;
  if (last === undefined || format === journalFormat) return;
  throw new UserError(
    `this migration was begun with mail-cutover ${last.version ?? 'of an unknown version'}, whose journal has format ${format}; this is ${version}, with format ${journalFormat}. Go on with the version that began it`,
  );
}
