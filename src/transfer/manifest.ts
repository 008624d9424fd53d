import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { printable } from '../hosts/printable.ts';
import { plainManifestScript } from './manifest-plain.ts';
import { manifestProgram } from './manifest-program.ts';

/** How much of the contents is compared, beside names, sizes, owners, modes, mtimes, links and UID lists. */
export type Depth = 'names' | 'sample' | 'full';

/** Times as they are, or without their fractions of a second. */
export type Times = 'exact' | 'seconds';

/**
 * What a tree holds, read afresh from its directories: one NUL-terminated record an entry, sorted by
 * bytes. Owners are names, because the numbers differ between hosts.
 */
export interface Manifest {
  readonly path: string;
  readonly digest: string;
  readonly entries: number;
  /** Of times to the second: whether a file system of the tree seems to keep no fractions. */
  readonly isWhole?: boolean;
  /** The host for whose sake times were compared to the second. */
  readonly coarse?: Host['role'];
}

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
  times: Times,
): Promise<readonly Manifest[] | undefined> {
  const result = await host.read(
    script(quickScript, [depth, times, String(ignored.length), ...ignored, ...paths], {
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
  const [digest = '', entries = '0', granularity] = line.trim().split(' ');
  return { path, digest, entries: Number(entries), isWhole: granularity === 'whole' };
}

/** The same by find(1), sort(1) and sha256sum(1) alone. */
async function plainManifest(
  host: Host,
  path: string,
  depth: Depth,
  ignored: readonly string[],
  times: Times,
): Promise<Manifest> {
  const result = await host.read(
    script(plainManifestScript, [path, depth, times, 'digest', ...ignored], {
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
  times: Times = 'exact',
): Promise<readonly (readonly Manifest[])[]> {
  if (paths.length === 0) return hosts.map(() => []);
  const quick = await Promise.all(
    hosts.map((host) => quickManifests(host, paths, depth, ignored, times)),
  );
  const all = quick.filter((of) => of !== undefined);
  if (all.length === hosts.length) return all;
  return Promise.all(
    hosts.map(async (host) => {
      const plain: Manifest[] = [];
      for (const path of paths) plain.push(await plainManifest(host, path, depth, ignored, times));
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
  times: Times = 'exact',
): Promise<readonly string[]> {
  const list = async (host: Host) =>
    (
      await host.read(
        script(plainManifestScript, [path, depth, times, 'list', ...ignored], {
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
  const proved: Manifest[] = [];
  for (const [index, manifest] of onTarget.entries())
    proved.push(
      onSource[index]?.digest === manifest.digest
        ? manifest
        : await equalToTheSecond(source, target, manifest.path, depth, ignored),
    );
  return proved;
}

/**
 * A file system that keeps whole seconds only (ext3, ext4 with small inodes) can't hold the other's times. That
 * one does is not asked, for a sealed tree can't be tried: no time in it has a fraction.
 */
async function equalToTheSecond(
  source: Host,
  target: Host,
  path: string,
  depth: Depth,
  ignored: readonly string[],
): Promise<Manifest> {
  const look = async (how: Depth) => {
    const [there, here] = await manifests([source, target], [path], how, ignored, 'seconds');
    return [there?.[0], here?.[0]] as const;
  };
  // Without their contents at first: trees that differ are told from each other sooner.
  let [there, here] = await look('names');
  const coarse = there?.isWhole ? source.role : here?.isWhole ? target.role : undefined;
  if (coarse !== undefined && there?.digest === here?.digest && depth !== 'names')
    [there, here] = await look(depth);
  if (coarse !== undefined && here !== undefined && there?.digest === here.digest)
    return { ...here, coarse };
  const times = coarse === undefined ? 'exact' : 'seconds';
  const found = await differences(source, target, path, depth, ignored, times);
  throw new TreesDiffer(
    `${path} differs between the hosts in ${found.length} entries: ${found.slice(0, 5).join('; ')}. Run the pass again; if it differs still, look for a program that writes there`,
  );
}

/** For a line of evidence, after what is equal; empty where times are equal to the nanosecond. */
export function howTimesWereCompared(all: readonly Manifest[]): string {
  const roles = [...new Set(all.flatMap(({ coarse }) => coarse ?? []))].sort();
  if (roles.length === 0) return '';
  const hosts = roles.map((role) => role.toUpperCase()).join(' and ');
  return `; times compared to the second: ${hosts} keeps no fractions`;
}

function shown(entry: string): string {
  return printable(Buffer.from(entry, 'latin1'));
}
