import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { createPassKey, mirrorRequest, type PassKey } from './pass-key.ts';
import { type Item, makeDirectories, type PassOptions, rsyncItems } from './rsync-pass.ts';

export interface TransferOptions extends PassOptions {
  /** Those of the items that hold mailboxes, by path. */
  readonly stores: readonly string[];
}

/**
 * One pass over all items in one connection, by the mirror program; by rsync what it can't do: stores
 * that are no Maildirs, hosts that it can't run on. Returns a line of evidence.
 */
export async function transferPass(options: TransferOptions): Promise<string> {
  const present = options.items.filter(({ kind }) => kind !== 'missing');
  const [directories, others] = await Promise.all([
    makeDirectories(options),
    withoutMaildirs(options.source, present, options.stores),
  ]);
  const mirrored = present.filter(({ path }) => !others.has(path));
  const key = await createPassKey({
    ...options,
    directories,
    mirrorItems: mirrored
      .map((item) => `${mirrorKind(item, options.stores)}\0${item.path}\0`)
      .join(''),
  });
  try {
    const evidence = key.canMirror
      ? await mirror(options, key)
      : { fault: 'perl is missing there' };
    const byRsync = 'fault' in evidence ? present : present.filter(({ path }) => others.has(path));
    if ('fault' in evidence) options.log(`by rsync, which is slower: ${evidence.fault}`);
    if (byRsync.length > 0) await rsyncItems({ ...options, items: byRsync }, key);
    return 'fault' in evidence ? `${present.length} trees by rsync` : evidence.line;
  } finally {
    await key.remove();
  }
}

/**
 * Stores that rsync is better at: without a folder called `cur`, so no Maildirs, and with files that
 * are big and change in part: mbox, mdbox. The mirror program would send such a file as a whole.
 */
async function withoutMaildirs(
  source: Host,
  items: readonly Item[],
  stores: readonly string[],
): Promise<ReadonlySet<string>> {
  const paths = items
    .filter(({ kind, path }) => kind === 'directory' && stores.includes(path))
    .map(({ path }) => path);
  if (paths.length === 0) return new Set();
  const result = await source.read(
    script(lookForMaildirs, paths, { timeout: 3600, purpose: 'look for Maildirs' }),
  );
  const found = result.stdout.toString('utf8').split('\n');
  return new Set(paths.filter((_, index) => found[index] === 'big'));
}

/** A folder may vanish while it is read. */
const lookForMaildirs = `
for path; do
  if [ -n "$(find -H "$path" -type d -name cur -print -quit 2>/dev/null || :)" ]; then echo maildir
  elif [ -n "$(find -H "$path" -type f -size +4M -print -quit 2>/dev/null || :)" ]; then echo big
  else echo small; fi
done`;

/** `store`: what the note of the last pass shows to be unchanged is not looked at on the target. */
function mirrorKind(item: Item, stores: readonly string[]): 'store' | 'tree' | 'file' {
  if (item.kind === 'file') return 'file';
  return stores.includes(item.path) ? 'store' : 'tree';
}

/** Exit codes with which the program says that it can't, on standard error why. */
const refusals = [3, 4, 5];

type Mirrored = { readonly line: string } | { readonly fault: string };

async function mirror(options: TransferOptions, key: PassKey): Promise<Mirrored> {
  const send = `exec perl "$1/mirror.pl" send "$2" "$1/items" ${key.remoteShell} "$3" '${mirrorRequest}'`;
  const result = await options.source.change(
    script(
      send,
      [
        key.folder,
        `/var/lib/mail-cutover/${options.migration}`,
        key.destination.replace(/^\[|\]$/g, ''),
      ],
      { allow: [0, ...refusals], timeout: 6 * 3600, purpose: 'copy what changed' },
    ),
  );
  if (result.code !== 0) return { fault: result.stderr.trimEnd().split('\n').at(-1) ?? '' };
  return { line: described(result.stdout.toString('utf8'), options) };
}

/** The counts that the program puts out, `name=number`, as a sentence. */
function described(output: string, options: TransferOptions): string {
  const counts = new Map(
    [...output.matchAll(/(\w+)=(\d+)/g)].map(([, name = '', value]) => [name, Number(value)]),
  );
  const count = (name: string) => (counts.get(name) ?? 0).toLocaleString('en');
  const megabytes = ((counts.get('bytes') ?? 0) / 1e6).toFixed(1);
  const unstable = counts.get('unstable') ?? 0;
  if (unstable > 0 && !options.live)
    options.log(`${unstable} files changed while they were read, although the source is frozen`);
  const times = [...counts]
    .filter(([name, value]) => name.startsWith('ms_') && value > 0)
    .map(([name, value]) => `${name.slice(3)} ${(value / 1000).toFixed(2)} s`);
  options.log(`the pass itself: ${times.join(', ')}`);
  return `${count('sent')} messages and files (${megabytes} MB) sent, ${count('renamed')} renamed, ${count('removed')} removed; ${count('listed')} folders differed`;
}
