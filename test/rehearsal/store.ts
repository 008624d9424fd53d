import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, gunzipSync } from 'node:zlib';
import { type BounceReport, isReport, parseBounces } from './bounce.ts';
import { messageIdOf, parseHead } from './head.ts';
import type { MailboxPlace } from './layout.ts';
import { baseName, flagLetters, parseUidList, type UidList } from './uidlist.ts';

/** A message file in a Maildir. */
export interface StoredMessage {
  readonly mailbox: string;
  readonly folder: string;
  /** Message-ID, or `file:` and the base name where the message has none. */
  readonly messageId: string;
  readonly base: string;
  readonly flags: string;
}

export interface StoredFolder extends UidList {
  readonly mailbox: string;
  readonly folder: string;
}

/** All that the mailboxes of a host hold, at one time. */
export interface Snapshot {
  readonly messages: readonly StoredMessage[];
  /** Folders that have a UID list. */
  readonly folders: readonly StoredFolder[];
  /** Bounces that were delivered into mailboxes: users get those of what they submitted. */
  readonly bounces: readonly BounceReport[];
}

/** Heads read before. A base name never gets other contents, so a second look needs only the names. */
export type HeadCache = Map<string, FileHead>;

export interface FileHead {
  readonly messageId: string;
  readonly bounces: readonly BounceReport[];
}

/**
 * Reads mailboxes straight from the file tree of a host: names, UID lists, and of each message the
 * first 16 KB. A file that changes its name under the reader (a client sets a flag) is looked up again.
 */
export async function readStore(
  mailboxes: readonly MailboxPlace[],
  cache: HeadCache = new Map(),
): Promise<Snapshot> {
  const messages: StoredMessage[] = [];
  const folders: StoredFolder[] = [];
  const bounces: BounceReport[] = [];
  await side(mailboxes, 8, async (place) => {
    for (const folder of await folderNames(place.maildir)) {
      const uidList = await readUidList(join(place.control, folder));
      const name = folderName(folder);
      if (uidList) folders.push({ mailbox: place.mailbox, folder: name, ...uidList });
      for (const file of await readFolder(join(place.maildir, folder), cache)) {
        messages.push({ mailbox: place.mailbox, folder: name, ...file.message });
        bounces.push(...file.bounces);
      }
    }
  });
  return { messages, folders, bounces };
}

/** Runs work over items, at most `width` side by side. */
async function side<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>) {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

/** Folders of a Maildir++ as directory names; "" is the INBOX. */
async function folderNames(maildir: string): Promise<readonly string[]> {
  const entries = await readdir(maildir, { withFileTypes: true, encoding: 'utf8' }).catch(absent);
  if (!entries) return [];
  const children = entries.filter((entry) => entry.isDirectory() && entry.name.startsWith('.'));
  const found = ['', ...children.map((entry) => entry.name)];
  const isFolder = await Promise.all(
    found.map(async (name) => (await stat(join(maildir, name, 'cur')).catch(absent)) !== undefined),
  );
  return found.filter((_, index) => isFolder[index]);
}

function folderName(directory: string): string {
  return directory === '' ? 'INBOX' : directory.slice(1);
}

async function readUidList(folder: string): Promise<UidList | undefined> {
  const text = await readFile(join(folder, 'dovecot-uidlist'), 'latin1').catch(absent);
  return text === undefined ? undefined : parseUidList(text);
}

interface FolderFile {
  readonly message: Omit<StoredMessage, 'mailbox' | 'folder'>;
  readonly bounces: readonly BounceReport[];
}

async function readFolder(folder: string, cache: HeadCache): Promise<readonly FolderFile[]> {
  const found = new Map<string, FolderFile>();
  for (let look = 0; look < 20; look += 1) {
    if ((await lookOnce(folder, cache, found)) === 0) return [...found.values()];
  }
  throw new Error(`${folder} changes faster than it can be read`);
}

/** Brings `found` (by path) up to date; returns how many files went away under it meanwhile. */
async function lookOnce(
  folder: string,
  cache: HeadCache,
  found: Map<string, FolderFile>,
): Promise<number> {
  const paths = await listFiles(folder);
  for (const path of found.keys()) if (!paths.has(path)) found.delete(path);
  let gone = 0;
  await side([...paths], 4, async ([path, name]) => {
    if (found.has(path)) return;
    const base = baseName(name);
    const head = await readHead(path, `${folder}/${base}`, base, cache);
    if (!head) {
      gone += 1;
      return;
    }
    const message = { messageId: head.messageId, base, flags: flagLetters(name) };
    found.set(path, { message, bounces: head.bounces });
  });
  return gone;
}

/** Full path to file name, of `new` and `cur`. `new` first: mail moves from there to `cur`. */
async function listFiles(folder: string): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const part of ['new', 'cur']) {
    const names = (await readdir(join(folder, part), 'latin1').catch(absent)) ?? [];
    for (const name of names) {
      if (!name.startsWith('.')) paths.set(join(folder, part, name), name);
    }
  }
  return paths;
}

const headSize = 16 * 1024;

async function readHead(
  path: string,
  key: string,
  base: string,
  cache: HeadCache,
): Promise<FileHead | undefined> {
  const known = cache.get(key);
  if (known) return known;
  const file = await open(Buffer.from(path, 'latin1')).catch(absent);
  if (!file) return undefined;
  try {
    const buffer = Buffer.allocUnsafe(headSize);
    const { bytesRead } = await file.read(buffer, 0, headSize, 0);
    const head = parseHead(plain(buffer.subarray(0, bytesRead)));
    const bounces = isReport(head) ? parseBounces(plain(await readWhole(file))) : [];
    const read = { messageId: messageIdOf(head) ?? `file:${base}`, bounces };
    cache.set(key, read);
    return read;
  } finally {
    await file.close();
  }
}

/** From the first byte: what was read before counts not. */
async function readWhole(file: FileHandle): Promise<Buffer> {
  const { size } = await file.stat();
  const whole = Buffer.allocUnsafe(size);
  const { bytesRead } = await file.read(whole, 0, size, 0);
  return whole.subarray(0, bytesRead);
}

/** Dovecot's zlib plugin stores messages in the format of gzip(1); a piece of one ends somewhere. */
function plain(content: Buffer): Buffer {
  const isGzip = content[0] === 0x1f && content[1] === 0x8b;
  return isGzip ? gunzipSync(content, { finishFlush: constants.Z_SYNC_FLUSH }) : content;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}
