import { command, script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { createPassKey, type PassKey } from './pass-key.ts';
import { type Changes, changesOf, listWords } from './rsync-changes.ts';

/** A tree or a file that is brought over, the same path on both hosts. */
export interface Item {
  readonly path: string;
  readonly kind: 'directory' | 'file' | 'missing';
}

/** What a pass copies, from where to where. */
export interface PassOptions {
  readonly source: Host;
  readonly target: Host;
  readonly migration: string;
  readonly items: readonly Item[];
  /** `live`: the source is in use, and what vanishes meanwhile is no fault. */
  readonly live: boolean;
  readonly log: (line: string) => void;
  /** Patterns of rsync(1) for what is left as it is on both hosts. */
  readonly exclude?: readonly string[];
}

/** rsync(1) exit values: partial transfer because source files vanished. */
const vanished = 24;

/** Whether each path of the source is a folder, a file or nothing; a link counts as what it leads to. */
export async function classify(source: Host, paths: readonly string[]): Promise<readonly Item[]> {
  const result = await source.read(
    script(
      'for path; do if [ -d "$path" ]; then printf "directory\\n"; elif [ -e "$path" ]; then printf "file\\n"; else printf "missing\\n"; fi; done',
      paths,
      { purpose: 'look at the trees to copy' },
    ),
  );
  const kinds = result.stdout.toString('utf8').trim().split('\n');
  return paths.map((path, index) => ({ path, kind: (kinds[index] ?? 'missing') as Item['kind'] }));
}

type RsyncKey = Pick<PassKey, 'sharedShell' | 'destination' | 'module' | 'renewIfDue'>;

/**
 * Makes the target's trees what the source's are: additions, changes and deletions, with mtimes to
 * the nanosecond, hard links and owners by name. The key admits to their directories. Of `stores` only
 * folders are looked at that changed since the last such pass.
 */
export async function rsyncItems(
  options: PassOptions,
  key: RsyncKey,
  stores: readonly string[] = [],
): Promise<void> {
  const { source, target, log } = options;
  const done: Changes[] = [];
  for (const item of options.items.filter(({ kind }) => kind !== 'missing')) {
    const changes =
      item.kind === 'directory' && stores.includes(item.path)
        ? await changesOf({ ...options, path: item.path })
        : undefined;
    if (changes) done.push(changes);
    // The one before may have taken hours, and each logs in.
    await key.renewIfDue();
    await source.change(
      command(
        rsyncWords(
          item,
          [
            ...(await rsyncCommandFor(target, item)),
            key.sharedShell,
            ...(changes?.list === undefined ? [] : listWords(changes.list)),
            ...excluding(options.exclude ?? []),
          ],
          `${key.destination}::${key.module(directoryOf(item))}/`,
        ),
        {
          allow: options.live ? [0, vanished] : [0],
          timeout: 6 * 3600,
          purpose: `copy ${item.path}`,
        },
      ),
    );
    log(
      changes?.list === undefined
        ? `copied ${item.path}`
        : `copied ${item.path}; folders that changed: ${changes.folders.toLocaleString('en')}`,
    );
  }
  await target.change(
    command(['sync'], { timeout: 3600, purpose: 'bring what was copied to disk' }),
  );
  for (const changes of done) await changes.remember();
}

/** The directories that the items lie in, or are; made on the target where they are not there. */
export async function makeDirectories(options: PassOptions): Promise<readonly string[]> {
  const present = options.items.filter(({ kind }) => kind !== 'missing');
  const directories = [...new Set(present.map(directoryOf))];
  await options.target.change(
    script('for path; do mkdir -p -- "$path"; done', directories, { purpose: 'make the folders' }),
  );
  return directories;
}

/** One pass with nothing but rsync. */
export async function rsyncPass(options: PassOptions): Promise<void> {
  const key = await createPassKey({ ...options, directories: await makeDirectories(options) });
  if (key.detour !== undefined) options.log(key.detour);
  try {
    await rsyncItems(options, key);
  } finally {
    await key.remove();
  }
}

function directoryOf(item: Item): string {
  return item.kind === 'directory'
    ? item.path
    : item.path.slice(0, item.path.lastIndexOf('/')) || '/';
}

/** -1: times are compared to the nanosecond; 0: to the second. */
const rsyncWith = (window: -1 | 0) => [
  'rsync',
  '-aH',
  `--modify-window=${window}`,
  '--timeout=600',
  '-e',
];
const rsyncCommand = rsyncWith(-1);

/** On a target that keeps no fractions of a second every file would look changed, in each pass again. */
async function rsyncCommandFor(target: Host, { path, kind }: Item): Promise<readonly string[]> {
  if (kind !== 'directory') return rsyncCommand;
  const tried = await target.change(
    script(tryFractions, [path], { purpose: `see which times ${path} can keep` }),
  );
  return rsyncWith(tried.stdout.toString('utf8').trim() === 'whole' ? 0 : -1);
}

/** Where the folder's own time has a fraction, nothing is written. Else it is given one, and then its own again. */
const tryFractions = `
time=$(stat -L -c %y -- "$1")
case $time in *.000000000' '*) ;; *) echo fractions; exit 0 ;; esac
touch -c -m -d "\${time%%.*}.5 \${time##* }" -- "$1" || { echo fractions; exit 0; }
tried=$(stat -L -c %y -- "$1")
touch -c -m -d "$time" -- "$1"
case $tried in *.000000000' '*) echo whole ;; *) echo fractions ;; esac`;

function excluding(patterns: readonly string[]): readonly string[] {
  return patterns.map((pattern) => `--exclude=${pattern}`);
}

function rsyncWords(item: Item, common: readonly string[], destination: string): readonly string[] {
  return item.kind === 'directory'
    ? [...common, '--delete', '--', `${item.path}/`, destination]
    : [...common, '--', item.path, destination];
}

/** Listed files of the source, for a folder of the target. */
export interface ListOptions extends Omit<PassOptions, 'items' | 'live' | 'log' | 'exclude'> {
  /** File on the source: absolute paths, one a line. */
  readonly list: string;
  /** Folder on the target under which the paths are put, with the folders above them. */
  readonly into: string;
}

/** Copies listed files of the source into a folder of the target; nothing else there is touched. */
export async function rsyncList(options: ListOptions): Promise<void> {
  const { source, target, into, list } = options;
  await target.change(command(['mkdir', '-p', '--', into], { purpose: 'make the folder' }));
  const key = await createPassKey({ ...options, directories: [into] });
  try {
    const destination = `${key.destination}::${key.module(into)}/`;
    await source.change(
      command([...rsyncCommand, key.remoteShell, `--files-from=${list}`, '--', '/', destination], {
        timeout: 6 * 3600,
        purpose: 'copy what is new',
      }),
    );
    await target.change(
      command(['sync'], { timeout: 3600, purpose: 'bring what was copied to disk' }),
    );
  } finally {
    await key.remove();
  }
}

/** Paths of the source, for a folder of the target. */
export interface AsideOptions extends Omit<PassOptions, 'items' | 'live' | 'log' | 'exclude'> {
  readonly paths: readonly string[];
  /** Folder on the target under which the paths are put, with the folders above them. */
  readonly into: string;
  /** Patterns of rsync(1) for what is left out. */
  readonly exclude: readonly string[];
}

/** Copies paths of the source, which may be in use, into a folder of the target where nothing serves them. */
export async function rsyncAside(aside: AsideOptions): Promise<void> {
  const { source, target, into } = aside;
  await target.change(command(['mkdir', '-p', '--', into], { purpose: 'make the folder' }));
  const key = await createPassKey({ ...aside, directories: [into] });
  try {
    const destination = `${key.destination}::${key.module(into)}/`;
    await source.change(
      // --relative brings the folders above each path, with owner and mode.
      command(
        [
          ...rsyncCommand,
          key.remoteShell,
          '--relative',
          ...excluding(aside.exclude),
          '--',
          ...aside.paths,
          destination,
        ],
        {
          allow: [0, vanished],
          timeout: 3600,
          purpose: 'copy the configuration',
        },
      ),
    );
  } finally {
    await key.remove();
  }
}
