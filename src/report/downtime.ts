import type { Entry } from '../engine/journal.ts';

/**
 * Seconds for which mailboxes could be reached on neither host: from the first change of the last
 * freeze to the opening of NEW. Undefined while that is not over.
 */
export function downtimeSeconds(entries: readonly Entry[]): number | undefined {
  const opened = entries.find((entry) => entry.stage === 'activate' && entry.kind === 'outcome' && entry.step === 'open' && entry.ok);
  if (!opened) return undefined;
  const before = entries.filter((entry) => entry.seq < opened.seq);
  const closed = before.findLast(
    (entry) => entry.stage === 'freeze' && entry.kind === 'intent' && (entry.step === 'close-sessions' || entry.step === 'stop-services'),
  );
  if (!closed) return undefined;
  return Math.round((Date.parse(opened.time) - Date.parse(closed.time)) / 100) / 10;
}
