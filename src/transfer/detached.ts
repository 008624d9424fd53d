import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { mirrorRequest } from './ends.ts';
import { mirrorProgram } from './mirror-program.ts';
import { type PassKey, renewPassKey } from './pass-key.ts';
import { type Progress, progressLine } from './progress.ts';

/**
 * A live pass runs on the source by itself, so that a job that ends, is cancelled or loses its
 * connection does not end it. The job looks at the files that it writes; another job finds it there.
 */
function folderOf(migration: string): string {
  return `/run/mail-cutover-${migration}-pass`;
}

/** Which part of the mailboxes a pass brings: `{ index: 1, count: 1 }` is all of them. */
export interface Part {
  readonly index: number;
  readonly count: number;
}

/** What a pass has left when it ended. */
export interface Ended {
  readonly code: number;
  readonly output: string;
  readonly fault: string;
  /** How far it was when that was last told. */
  readonly told?: string | undefined;
}

/** Starts a live pass on the source, over a key that is there; returns when it runs. */
export async function startDetached(
  source: Host,
  key: PassKey,
  migration: string,
  part: Part,
  tag: string,
): Promise<void> {
  await source.change(
    script(
      `umask 077
       mkdir -p -- "$1"
       printf %s "$6" > "$1/tag"
       if ! perl "$2/mirror.pl" detach "$1" "$5" "$3" "$2/items" ${key.sharedShell} "$4" '${mirrorRequest}' \\
         < /dev/null > /dev/null 2> "$1/start"; then cat "$1/start" >&2; exit 5; fi`,
      [
        folderOf(migration),
        key.folder,
        `/var/lib/mail-cutover/${migration}`,
        key.host,
        `${part.index}/${part.count}`,
        tag,
      ],
      { purpose: 'start the pass' },
    ),
  );
}

/** Prints `none`, `running`, or the exit code; then what there is to tell. */
const lookScript = String.raw`
tell_end() { # FOLDER
  cat "$1/code"
  cat "$1/out"
  cat "$1/fault" >&2
}
pid=$(cat "$1/pid" 2>/dev/null) || { echo none; exit 0; }
if [ -e "$1/code" ]; then tell_end "$1"
elif grep -qs mirror.pl "/proc/$pid/cmdline"; then
  echo running
  echo "$(cat "$1/tag" 2>/dev/null || :) $(($(date +%s) - $(stat -c %Y "$1/pid")))"
  cat "$1/progress" 2>/dev/null || echo 'starting 0 0'
  cat "$1/total" 2>/dev/null || :
elif [ -e "$1/code" ]; then tell_end "$1" # since the first look
else
  echo 5
  echo 'the pass ended without a word: was it killed?' >&2
fi`;

interface Look {
  readonly state: string;
  /** By what it is known which pass it is, and for how many seconds it runs. */
  readonly tag: string;
  readonly seconds: number;
  readonly lines: readonly string[];
  readonly output: string;
  readonly fault: string;
}

async function look(source: Host, migration: string): Promise<Look> {
  const result = await source.read(
    script(lookScript, [folderOf(migration)], { purpose: 'look how far the pass is' }),
  );
  const output = result.stdout.toString('utf8');
  const [state = 'none', known = '', ...lines] = output.split('\n');
  const [tag = '', seconds] = known.split(' ');
  return { state, tag, seconds: Number(seconds), lines, output, fault: result.stderr };
}

/** The tag of a pass of an earlier job that is still under way; undefined if there is none. */
export async function detachedTag(source: Host, migration: string): Promise<string | undefined> {
  const { state, tag } = await look(source, migration);
  return state === 'running' ? tag : undefined;
}

/** By which a pass is known to be the one that would be made: the same program, target, trees and part. */
export function passTag(target: Host, mirrorItems: string, part: Part): string {
  const text = [mirrorProgram, target.address, mirrorItems, part.index, part.count].join('\0');
  return createHash('sha256').update(text).digest('hex');
}

/**
 * If a pass is under way, it may go on with its key under the lock that is held now, and a line that says
 * how far it is is returned.
 */
export async function leavePass(
  source: Host,
  target: Host,
  migration: string,
): Promise<string | undefined> {
  const { state, lines, seconds } = await look(source, migration);
  if (state !== 'running') return undefined;
  await renewPassKey(source, target, migration);
  return progressLine(progressOf(lines, seconds));
}

/** What is done while a pass is under way. */
export interface Watching {
  readonly log: (line: string) => void;
  /** Called now and then, long before a lease of the key ends. */
  readonly renew?: () => Promise<void>;
}

/** Between two looks: a share of the time that the pass has taken, so that no pass is much longer for it. */
const pollSeconds = { least: 0.1, share: 0.02, most: 5 } as const;
const tellSeconds = 15;
const renewSeconds = 600;

/** Waits for the end of the pass, and says now and then how far it is. */
export async function watchDetached(
  source: Host,
  migration: string,
  { log, renew }: Watching,
): Promise<Ended> {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  let [toldAt, renewedAt] = [0, 0];
  let told: string | undefined;
  while (true) {
    const { state, seconds, lines, output, fault } = await look(source, migration);
    if (state !== 'running')
      return { code: state === 'none' ? 5 : Number(state), output, fault, told };
    if (since() - toldAt >= tellSeconds) {
      toldAt = since();
      told = progressLine(progressOf(lines, seconds));
      log(told);
    }
    if (renew && since() - renewedAt >= renewSeconds) {
      renewedAt = since();
      await renew();
    }
    const pause = Math.max(pollSeconds.least, since() * pollSeconds.share);
    await sleep(Math.min(pollSeconds.most, pause) * 1000);
  }
}

function progressOf([current = '', total = '']: readonly string[], seconds: number): Progress {
  const [doing = '', files, bytes] = current.split(' ');
  const [allFiles, allBytes] = total.split(' ');
  const known = total === '' ? {} : { allFiles: Number(allFiles), allBytes: Number(allBytes) };
  return { doing, files: Number(files), bytes: Number(bytes), seconds, ...known };
}

/** Ends a pass that runs, and waits until it has. Safe to call when none does. */
export async function endDetached(source: Host, migration: string): Promise<void> {
  await source.change(
    script(
      String.raw`
pid=$(cat "$1/pid" 2>/dev/null || :)
if [ -n "$pid" ] && grep -qs mirror.pl "/proc/$pid/cmdline"; then
  kill -TERM "-$pid" 2>/dev/null || :
  tries=0
  while grep -qs mirror.pl "/proc/$pid/cmdline" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "-$pid" 2>/dev/null || :
fi
rm -rf -- "$1"`,
      [folderOf(migration)],
      { purpose: 'end a pass that still runs' },
    ),
  );
}

/**
 * Ends what a pass of an earlier job has left on the target: its other end may be gone without a word, and it
 * would keep the next pass out until the connection is found dead.
 */
export async function endReceiving(target: Host, migration: string): Promise<void> {
  await target.change(
    script(
      'if [ -x "$1" ]; then exec "$1" end-passes; fi',
      [`/var/lib/mail-cutover/${migration}/bin/hostctl`],
      { purpose: 'end what an earlier pass has left' },
    ),
  );
}
