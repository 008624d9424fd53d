import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { printable } from '../hosts/printable.ts';

/** How much of the contents is compared, beside names, sizes, owners, modes, mtimes, links and UID lists. */
export type Depth = 'names' | 'sample' | 'full';

/**
 * What a tree holds, read afresh from its directories: one NUL-terminated record an entry, sorted by
 * bytes. Owners are names, because the numbers differ between hosts.
 */
export interface Manifest {
  readonly path: string;
  readonly digest: string;
  readonly entries: number;
}

/**
 * No pipeline in it: each part writes a file, so that a failure in any of them ends the script.
 * -H: a tree that is a link to a folder is what lies there, as it is for rsync.
 * Of folders the modification time counts only for `cur` and `new`, by which servers tell whether an
 * index is fresh. `$1` tree, `$2` depth, `$3` what to put out: `digest`, `list`; then file names that
 * do not count.
 */
const manifestScript = String.raw`
umask 077
out=$(mktemp -d /run/mail-cutover.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf -- "$out"' EXIT
tree=$1; depth=$2; wanted=$3; shift 3
todo=$#
while [ "$todo" -gt 0 ]; do
  set -- "$@" ! -name "$1"
  shift
  todo=$((todo - 1))
done
if [ ! -e "$tree" ] && [ ! -L "$tree" ]; then printf 'missing\0' > "$out/list"
else
  LC_ALL=C find -H "$tree" \
    \( -type d \( -name cur -o -name new \) -printf 'd %m %u:%g %T@ %P\0' \) -o \
    \( -type d -printf 'd %m %u:%g %P\0' \) -o \
    \( -type l -printf 'l %u:%g %P//%l\0' \) -o \
    \( -type f "$@" -printf 'f %m %u:%g %s %n %T@ %P\0' \) -o ! -type f -printf 'o %y %m %u:%g %P\0' > "$out/names"
  case $depth in
    full) find -H "$tree" -type f "$@" -print0 > "$out/files" ;;
    sample)
      find -H "$tree" -type f "$@" -print0 > "$out/all"
      LC_ALL=C sort -z -o "$out/all" "$out/all"
      count=$(tr -cd '\0' < "$out/all" | wc -c)
      awk -v RS='\0' -v ORS='\0' -v step=$((count / 200 + 1)) 'NR % step == 1 || step == 1' "$out/all" > "$out/files"
      find -H "$tree" -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 >> "$out/files" ;;
    *) find -H "$tree" -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 > "$out/files" ;;
  esac
  LC_ALL=C sort -z -u -o "$out/files" "$out/files"
  : > "$out/sums"
  if [ -s "$out/files" ]; then xargs -0 sha256sum -z -- < "$out/files" > "$out/sums"; fi
  cat "$out/names" "$out/sums" > "$out/list"
  LC_ALL=C sort -z -o "$out/list" "$out/list"
fi
if [ "$wanted" = list ]; then cat "$out/list"
else
  sha256sum < "$out/list" > "$out/digest"
  printf '%s %s\n' "$(cut -d' ' -f1 "$out/digest")" "$(tr -cd '\0' < "$out/list" | wc -c)"
fi`;

/** `ignored`: names of files that do not count, wherever they lie. */
export async function manifest(
  host: Host,
  path: string,
  depth: Depth,
  ignored: readonly string[] = [],
): Promise<Manifest> {
  const result = await host.read(
    script(manifestScript, [path, depth, 'digest', ...ignored], {
      timeout: 7200,
      purpose: `list ${path}`,
    }),
  );
  const [digest = '', entries = '0'] = result.stdout.toString('utf8').trim().split(' ');
  return { path, digest, entries: Number(entries) };
}

/** The entries that differ, in printable form; empty when the trees are equal. */
export async function differences(
  source: Host,
  target: Host,
  path: string,
  depth: Depth,
  ignored: readonly string[] = [],
): Promise<readonly string[]> {
  const list = async (host: Host) =>
    (
      await host.read(
        script(manifestScript, [path, depth, 'list', ...ignored], {
          timeout: 7200,
          purpose: `list ${path}`,
        }),
      )
    ).stdout
      .toString('latin1')
      .split('\0')
      .slice(0, -1);
  const [there, here] = await Promise.all([list(source), list(target)]);
  const onSource = new Set(there);
  const onTarget = new Set(here);
  return [
    ...there
      .filter((entry) => !onTarget.has(entry))
      .map((entry) => `only on the source: ${shown(entry)}`),
    ...here
      .filter((entry) => !onSource.has(entry))
      .map((entry) => `only on the target: ${shown(entry)}`),
  ];
}

/** Compares trees on both hosts; throws with the first differences when they are not equal. */
export async function demandEqual(
  source: Host,
  target: Host,
  paths: readonly string[],
  depth: Depth,
  ignored: readonly string[] = [],
): Promise<readonly Manifest[]> {
  const equal: Manifest[] = [];
  for (const path of paths) {
    const [there, here] = await Promise.all([
      manifest(source, path, depth, ignored),
      manifest(target, path, depth, ignored),
    ]);
    if (there.digest !== here.digest) {
      const found = await differences(source, target, path, depth, ignored);
      throw new UserError(
        `${path} differs between the hosts in ${found.length} entries: ${found.slice(0, 5).join('; ')}. Run the pass again; if it differs still, look for a program that writes there`,
      );
    }
    equal.push(here);
  }
  return equal;
}

function shown(entry: string): string {
  return printable(Buffer.from(entry, 'latin1'));
}
