import { accounts } from './accounts.ts';
import { edits } from './edits.ts';
import { lock } from './lock.ts';
import { ownership } from './ownership.ts';
import { queue } from './queue.ts';
import { room } from './room.ts';
import { seal } from './seal.ts';
import { start } from './start.ts';
import { status } from './status.ts';
import { trees } from './trees.ts';
import { undo } from './undo.ts';
import { undoRecords } from './undo-records.ts';
import { units } from './units.ts';
import { words } from './words.ts';

/**
 * The program that our changes on a host go through, in POSIX shell. It is installed as
 * `/var/lib/mail-cutover/<migration>/bin/hostctl` and needs no runner: `thaw` and `status` are for a
 * person at the console, and for the timer that ends a freeze.
 *
 * Rules kept throughout: the lock's number is checked under flock(1) before anything is done; every
 * edit records what it replaces *before* it edits, durably, and is made by a temporary file and a
 * rename in the same directory; recording and editing twice is the same as once.
 */
export const hostScript: string = [
  start,
  lock,
  room,
  undoRecords,
  edits,
  trees,
  accounts,
  units,
  queue,
  seal,
  undo,
  ownership,
  status,
  words,
]
  .join('\n')
  // `${` of the shell has a backslash in the parts, because they are template texts.
  .replaceAll('\\${', '${');
