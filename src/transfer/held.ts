import { createHash } from 'node:crypto';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { heldRequest } from './ends.ts';
import { mirrorProgram } from './mirror-program.ts';
import type { PassKey } from './pass-key.ts';

/**
 * A pass that is ready and waits on the source: the program has started, read its note and connected to
 * the target, so the downtime pays for none of that. It needs no key any more. Whatever ends it, the
 * pass is made from the start instead.
 */
function folderOf(migration: string): string {
  return `/run/mail-cutover-${migration}-held`;
}

/** Longest time between the freeze and the final pass for which a connection is held. */
const hours = 12;

/** By which a held pass is known to be the one that is wanted: the same trees, to the same host. */
export function heldTag(target: Host, paths: readonly string[]): string {
  const text = [mirrorProgram, target.address, ...paths].join('\0');
  return createHash('sha256').update(text).digest('hex');
}

/** Opens the connection over a key that is there, and leaves it open. */
export async function holdOpen(source: Host, key: PassKey, migration: string, tag: string) {
  await endHeld(source, migration);
  await source.change(
    script(
      `umask 077
       mkdir -p -- "$1"
       cp -- "$2/mirror.pl" "$1/mirror.pl"
       if ! perl "$1/mirror.pl" hold "$1/socket" "$3" "$4" "$5" "$2/items" ${key.remoteShell} "$6" '${heldRequest}' \\
         < /dev/null > /dev/null 2> "$1/fault"; then cat "$1/fault" >&2; exit 5; fi`,
      [
        folderOf(migration),
        key.folder,
        String(hours),
        tag,
        `/var/lib/mail-cutover/${migration}`,
        key.host,
      ],
      { timeout: 120, purpose: 'open the connection for the final pass' },
    ),
  );
}

/** Exit code of the program when no such pass is held. */
const notHeld = 6;

/** Runs the pass that is held. Returns what the program says, or why it did not. */
export async function runHeld(
  source: Host,
  migration: string,
  tag: string,
): Promise<{ readonly output: string } | { readonly fault: string; readonly wasHeld: boolean }> {
  const result = await source.change(
    script(
      `[ -S "$1/socket" ] || exit ${notHeld}
       exec perl "$1/mirror.pl" go "$1/socket" "$2"`,
      [folderOf(migration), tag],
      { allow: [0, 2, 3, 4, 5, notHeld], timeout: 6 * 3600, purpose: 'copy what changed' },
    ),
  );
  if (result.code === 0) return { output: result.stdout.toString('utf8') };
  const fault = result.stderr.trimEnd().split('\n').at(-1) ?? '';
  return { fault, wasHeld: result.code !== notHeld };
}

/** Ends what is held. Safe to call when nothing is. */
export async function endHeld(source: Host, migration: string): Promise<void> {
  await source.change(
    script(
      `if [ -S "$1/socket" ]; then perl "$1/mirror.pl" release "$1/socket" || :; fi
       rm -rf -- "$1"`,
      [folderOf(migration)],
      { purpose: 'close the connection that was held open' },
    ),
  );
}
