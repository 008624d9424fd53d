import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import {
  detachedTag,
  type Ended,
  endDetached,
  endReceiving,
  type Part,
  passTag,
  startDetached,
  watchDetached,
} from './detached.ts';
import { mirrorRequest } from './ends.ts';
import { described, withProgress } from './evidence.ts';
import { heldTag, holdOpen, runHeld } from './held.ts';
import { createPassKey, type PassKey, removePassKey, renewPassKey } from './pass-key.ts';
import {
  type Item,
  makeDirectories,
  type PassOptions,
  rsyncItems,
  rsyncPass,
} from './rsync-pass.ts';

/** One pass, whichever program does it. */
export interface TransferOptions extends PassOptions {
  /** Those of the items that hold mailboxes, by path. */
  readonly stores: readonly string[];
  /** Of a live pass: the part of the mailboxes that it brings; all of them if not given. */
  readonly part?: Part;
}

/**
 * One pass over all items in one connection, by the mirror program; by rsync what it can't do: stores
 * that are no Maildirs, hosts that it can't run on. Returns a line of evidence.
 */
export async function transferPass(options: TransferOptions): Promise<string> {
  const earlier = await detachedTag(options.source, options.migration);
  // The mirror program makes trees equal; to leave some names out is rsync's.
  if (options.exclude !== undefined && options.exclude.length > 0) {
    if (earlier !== undefined) await endDetached(options.source, options.migration);
    await rsyncPass(options);
    return `${options.items.length} trees by rsync`;
  }
  const adopted = earlier === undefined ? undefined : await adopt(earlier, options);
  if (adopted !== undefined) return adopted;
  // Whoever takes the lock for a live pass leaves there what he may go on with.
  if (options.live) await endReceiving(options.target, options.migration);
  return withKey(options, (key, others) => copyOver(key, others, options));
}

/**
 * A pass of an earlier job that is still under way: if it is the one that would be made, it is this job's
 * now, and its evidence is returned. Else, and if it fails, it is ended, and a new one goes on where it was.
 */
async function adopt(tag: string, options: TransferOptions): Promise<string | undefined> {
  const { source, target, migration, log } = options;
  const others = await withoutMaildirs(source, present(options), options.stores);
  const isSame = tag === passTag(target, mirrorItems(options, others), partOf(options));
  if (!options.live || !isSame) {
    log('ended a pass of an earlier job, which is not the one to be made now');
    await endDetached(source, migration);
    return undefined;
  }
  log('a pass of an earlier job is under way: this job goes on with it');
  const renew = () => renewPassKey(source, target, migration);
  await renew();
  const { code, output, fault, told } = await watchDetached(source, migration, { log, renew });
  await endDetached(source, migration);
  await removePassKey(source, target, migration);
  if (code !== 0) log(`it failed: ${fault.trimEnd().split('\n').at(-1) ?? ''}`);
  if (code !== 0 || others.size > 0) return undefined;
  return withProgress(described(output, options), told);
}

/**
 * A live pass, and then a connection that is held open for `finalPass`. Should the latter not work,
 * the final pass opens one: said in the log, no failure.
 */
export async function passAndHold(options: TransferOptions): Promise<string> {
  const { source, target, migration, log } = options;
  return withKey(options, async (key, others) => {
    const line = await copyOver(key, others, options);
    const tag = heldTag(target, pathsOf(options));
    if (others.size > 0) log('no connection is held open: rsync is needed for some trees');
    else if (!key.canMirror) log('no connection is held open: perl is missing');
    else if (key.throughRunner) log('no connection is held open: it would go through this job');
    else
      await holdOpen(source, key, migration, tag).then(
        () => log('the connection for the final pass is open'),
        (error: Error) => log(`the final pass has to connect itself: ${error.message}`),
      );
    return line;
  });
}

/** The final pass: what is held open if it is this one, else made from the start. */
export async function finalPass(options: Omit<TransferOptions, 'live'>): Promise<string> {
  const { source, target, migration, log } = options;
  const held = await runHeld(source, migration, heldTag(target, pathsOf(options)));
  if ('output' in held) return described(held.output, { live: false, log });
  log(held.wasHeld ? `what was held open failed: ${held.fault}` : 'no connection was held open');
  return transferPass({ ...options, live: false });
}

/** Kinds are left out: what is missing before the freeze may have come since. */
function pathsOf({ items }: Pick<TransferOptions, 'items'>): readonly string[] {
  return items.map(({ path }) => path);
}

async function withKey(
  options: TransferOptions,
  work: (key: PassKey, others: ReadonlySet<string>) => Promise<string>,
): Promise<string> {
  const [directories, others] = await Promise.all([
    makeDirectories(options),
    withoutMaildirs(options.source, present(options), options.stores),
  ]);
  const key = await createPassKey({
    ...options,
    directories,
    mirrorItems: mirrorItems(options, others),
  });
  if (key.detour !== undefined) options.log(key.detour);
  try {
    return await work(key, others);
  } finally {
    await key.remove();
  }
}

/** What the mirror program is to make equal, in its own form. */
function mirrorItems(
  { items, stores }: Pick<TransferOptions, 'items' | 'stores'>,
  others: ReadonlySet<string>,
): string {
  const mirrored = items.filter(({ path }) => !others.has(path));
  return mirrored.map((item) => `${mirrorKind(item, stores)}\0${item.path}\0`).join('');
}

function partOf({ part }: Pick<TransferOptions, 'part'>): Part {
  return part ?? { index: 1, count: 1 };
}

function present({ items }: Pick<TransferOptions, 'items'>): readonly Item[] {
  return items.filter(({ kind }) => kind !== 'missing');
}

async function copyOver(
  key: PassKey,
  others: ReadonlySet<string>,
  options: TransferOptions,
): Promise<string> {
  const evidence = key.canMirror
    ? await mirror(options, key, others)
    : { fault: 'perl is missing on one of the hosts' };
  if (!key.canMirror && (options.part?.index ?? 1) > 1)
    return 'nothing: rsync knows no parts, and the first one brings everything';
  if ('fault' in evidence) demandRoom(options.target, evidence.fault);
  const all = present(options);
  const byRsync = 'fault' in evidence ? all : all.filter(({ path }) => others.has(path));
  if ('fault' in evidence) options.log(`by rsync, which is slower: ${evidence.fault}`);
  if (byRsync.length > 0) await rsyncItems({ ...options, items: byRsync }, key, options.stores);
  return 'fault' in evidence ? `${all.length} trees by rsync` : evidence.line;
}

/** rsync would only fill the rest of a disk that is full. */
function demandRoom(target: Host, fault: string): void {
  if (/No space left on device|Disk quota exceeded/.test(fault))
    throw new UserError(
      `${target.address}: ${fault.replace(/^on the target: /, '')}. Make room there, then run this again: it goes on where it was`,
    );
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
function mirrorKind(item: Item, stores: readonly string[]): 'store' | 'tree' | 'file' | 'maybe' {
  if (item.kind === 'missing') return 'maybe';
  if (item.kind === 'file') return 'file';
  return stores.includes(item.path) ? 'store' : 'tree';
}

/** Exit codes with which the program says that it can't, on standard error why. */
const refusals = [3, 4, 5];

type Mirrored = { readonly line: string } | { readonly fault: string };

/** Live, by itself, so that it outlives the job; else under the lock, so that nobody thaws meanwhile. */
async function mirror(
  options: TransferOptions,
  key: PassKey,
  others: ReadonlySet<string>,
): Promise<Mirrored> {
  const { code, output, fault, told } = options.live
    ? await mirrorDetached(options, key, others)
    : await mirrorAttached(options, key);
  if (code !== 0) return { fault: fault.trimEnd().split('\n').at(-1) ?? '' };
  return { line: withProgress(described(output, options), told) };
}

async function mirrorDetached(
  options: TransferOptions,
  key: PassKey,
  others: ReadonlySet<string>,
): Promise<Ended> {
  const { source, target, migration, log } = options;
  const tag = passTag(target, mirrorItems(options, others), partOf(options));
  // One that is not gone yet, since its connection has only just been ended, would write into the same folder.
  await endDetached(source, migration);
  await startDetached(source, key, migration, partOf(options), tag);
  const ended = await watchDetached(source, migration, { log, renew: key.renew });
  await endDetached(source, migration);
  return ended;
}

async function mirrorAttached(options: TransferOptions, key: PassKey): Promise<Ended> {
  // Standard error is a file: a shared connection that stays would keep it open.
  const send = `code=0
    perl "$1/mirror.pl" send 1/1 "$2" "$1/items" ${key.sharedShell} "$3" '${mirrorRequest}' 2> "$1/fault" || code=$?
    cat "$1/fault" >&2
    exit "$code"`;
  const result = await options.source.change(
    script(send, [key.folder, `/var/lib/mail-cutover/${options.migration}`, key.host], {
      allow: [0, ...refusals],
      timeout: 6 * 3600,
      purpose: 'copy what changed',
    }),
  );
  return { code: result.code, output: result.stdout.toString('utf8'), fault: result.stderr };
}
