import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../lab/lab.ts';

export const folder = '/var/lib/mail-cutover/orchard';

function journalFile(lab: Lab, side: 'old' | 'new'): string {
  return join(lab.host(side).root, folder, 'journal.jsonl');
}

/** Bytes of both journals; a look that costs next to nothing. */
function sizes(lab: Lab): string {
  return (['old', 'new'] as const)
    .map((side) => statSync(journalFile(lab, side), { throwIfNoEntry: false })?.size ?? 0)
    .join();
}

/** The lines of a host's journal, read from outside; empty where it can't be read now. */
export function journalLines(lab: Lab, side: 'old' | 'new'): readonly string[] {
  try {
    const text = readFileSync(journalFile(lab, side), 'utf8');
    return text.split('\n').slice(0, -1);
  } catch {
    return [];
  }
}

export interface JournalEvent {
  readonly kind: 'intent' | 'outcome';
  readonly step: string;
  readonly ok: boolean | undefined;
}

/** Tells of every new intent and outcome as soon as either host has it. */
export function watchJournal(lab: Lab, tell: (event: JournalEvent) => void): { stop(): void } {
  const length = () =>
    (['old', 'new'] as const)
      .map((side) => journalLines(lab, side))
      .reduce((best, lines) => (lines.length > best.length ? lines : best));
  let seen = length().length;
  let known = sizes(lab);
  const timer = setInterval(() => {
    const now = sizes(lab);
    if (now === known) return;
    known = now;
    const lines = length();
    for (; seen < lines.length; seen += 1) {
      const entry = parse(lines[seen] ?? '');
      if (entry?.kind === 'intent' || entry?.kind === 'outcome')
        tell({ kind: entry.kind, step: entry.step ?? '', ok: entry.ok });
    }
  }, 10);
  return { stop: () => clearInterval(timer) };
}

function parse(line: string): { kind: string; step?: string; ok?: boolean } | undefined {
  try {
    return JSON.parse(line) as { kind: string; step?: string; ok?: boolean };
  } catch {
    return undefined;
  }
}
