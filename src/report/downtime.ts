import type { Entry } from '../engine/journal.ts';

/**
 * Seconds for which mailboxes could be reached on neither host: from the first change of the last
 * freeze to the opening of NEW. Undefined while that is not over.
 */
export function downtimeSeconds(entries: readonly Entry[]): number | undefined {
  const freeze = entries.slice(entries.findLastIndex(gaveUp) + 1);
  const closed = freeze.findIndex(closes);
  if (closed < 0) return undefined;
  const later = freeze.slice(closed);
  // A runner that died right after the step left no outcome of it.
  const opened = later.find(opens) ?? later.find(activated);
  const began = freeze[closed];
  if (!opened || !began) return undefined;
  return Math.round((Date.parse(opened.time) - Date.parse(began.time)) / 100) / 10;
}

/** OLD served again after this entry: what was frozen before it counts no more. */
function gaveUp({ kind, stage, step, ok }: Entry): boolean {
  if (kind === 'note') return step === 'thawed';
  return (
    kind === 'stage-end' &&
    ((stage === 'rollback' && ok === true) || (stage === 'freeze' && ok === false))
  );
}

function closes({ kind, stage, step }: Entry): boolean {
  return (
    stage === 'freeze' &&
    kind === 'intent' &&
    (step === 'close-sessions' || step === 'stop-services')
  );
}

function opens({ kind, stage, step, ok }: Entry): boolean {
  return stage === 'activate' && kind === 'outcome' && step === 'open' && ok === true;
}

function activated({ kind, stage, ok }: Entry): boolean {
  return stage === 'activate' && kind === 'stage-end' && ok === true;
}
