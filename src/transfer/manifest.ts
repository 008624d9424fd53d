import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { printable } from '../hosts/printable.ts';
import { manifestProgram } from './manifest-program.ts';

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
  LC_ALL=C find -H "$tree" -ignore_readdir_race \
    \( -type d \( -name cur -o -name new \) -printf 'd %m %u:%g %T@ %P\0' \) -o \
    \( -type d -printf 'd %m %u:%g %P\0' \) -o \
    \( -type l -printf 'l %u:%g %P//%l\0' \) -o \
    \( -type f "$@" -printf 'f %m %u:%g %s %n %T@ %P\0' \) -o ! -type f -printf 'o %y %m %u:%g %P\0' > "$out/names"
  case $depth in
    full) find -H "$tree" -ignore_readdir_race -type f "$@" -print0 > "$out/files" ;;
    sample)
      find -H "$tree" -ignore_readdir_race -type f "$@" -print0 > "$out/all"
      LC_ALL=C sort -z -o "$out/all" "$out/all"
      count=$(tr -cd '\0' < "$out/all" | wc -c)
      awk -v RS='\0' -v ORS='\0' -v step=$((count / 200 + 1)) 'NR % step == 1 || step == 1' "$out/all" > "$out/files"
      find -H "$tree" -ignore_readdir_race -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 >> "$out/files" ;;
    *) find -H "$tree" -ignore_readdir_race -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 > "$out/files" ;;
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

/**
 * By the program in Perl, several times as fast; its digests are its own, so that both hosts must be asked
 * in the same way. Standard input holds the program.
 */
const quickScript = String.raw`
umask 077
command -v perl > /dev/null || { echo none; exit 0; }
out=$(mktemp -d /run/mail-cutover.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf -- "$out"' EXIT
code=0
perl - "$out" "$@" || code=$?
if [ "$code" -eq 3 ]; then echo none; exit 0; fi
exit "$code"`;

/** Digests of several trees; undefined where the host can't run the program. */
async function quickManifests(
  host: Host,
  paths: readonly string[],
  depth: Depth,
  ignored: readonly string[],
): Promise<readonly Manifest[] | undefined> {
  const result = await host.read(
    script(quickScript, [depth, String(ignored.length), ...ignored, ...paths], {
      stdin: manifestProgram,
      timeout: 7200,
      purpose: `list ${paths.length} trees`,
    }),
  );
  const lines = result.stdout.toString('utf8').trimEnd().split('\n');
  if (lines.includes('none')) return undefined;
  return paths.map((path, index) => manifestOf(path, lines[index] ?? ''));
}

function manifestOf(path: string, line: string): Manifest {
  const [digest = '', entries = '0'] = line.trim().split(' ');
  return { path, digest, entries: Number(entries) };
}

/** The same by find(1), sort(1) and sha256sum(1) alone. */
async function plainManifest(
  host: Host,
  path: string,
  depth: Depth,
  ignored: readonly string[],
): Promise<Manifest> {
  const result = await host.read(
    script(manifestScript, [path, depth, 'digest', ...ignored], {
      timeout: 7200,
      purpose: `list ${path}`,
    }),
  );
  return manifestOf(path, result.stdout.toString('utf8'));
}

/**
 * Manifests of the trees on both hosts, which work at the same time. `ignored`: names of files that do
 * not count, wherever they lie.
 */
export async function manifests(
  hosts: readonly Host[],
  paths: readonly string[],
  depth: Depth,
  ignored: readonly string[] = [],
): Promise<readonly (readonly Manifest[])[]> {
  if (paths.length === 0) return hosts.map(() => []);
  const quick = await Promise.all(hosts.map((host) => quickManifests(host, paths, depth, ignored)));
  const all = quick.filter((of) => of !== undefined);
  if (all.length === hosts.length) return all;
  return Promise.all(
    hosts.map(async (host) => {
      const plain: Manifest[] = [];
      for (const path of paths) plain.push(await plainManifest(host, path, depth, ignored));
      return plain;
    }),
  );
}

/** Trees that must be equal are not. */
export class TreesDiffer extends UserError {
  override readonly name = 'TreesDiffer';
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
  const [onSource = [], onTarget = []] = await manifests([source, target], paths, depth, ignored);
  for (const [index, { path, digest }] of onSource.entries()) {
    if (onTarget[index]?.digest === digest) continue;
    const found = await differences(source, target, path, depth, ignored);
    throw new TreesDiffer(
      `${path} differs between the hosts in ${found.length} entries: ${found.slice(0, 5).join('; ')}. Run the pass again; if it differs still, look for a program that writes there`,
    );
  }
  return onTarget;
}

function shown(entry: string): string {
  return printable(Buffer.from(entry, 'latin1'));
}
