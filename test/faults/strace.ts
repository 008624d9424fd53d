import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { LabHost } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';

/** What a process did to files, in the order of the one kernel clock of all hosts. */
export interface FileEvent {
  /** Seconds since 1970. */
  readonly at: number;
  readonly kind: 'write' | 'sync' | 'rename' | 'mkdir';
  /** What was written, made, synced ('/' for all of a file system), or the new name. */
  readonly path: string;
  /** The old name. */
  readonly from?: string;
  /** The first bytes that were written. */
  readonly text?: string;
}

const calls =
  'write,pwrite64,copy_file_range,sendfile,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,mkdir,mkdirat';

/** Follows all that a host's sshd starts, with strace(1), until it is stopped. */
export async function traceSshd(
  host: LabHost,
  file: string,
): Promise<{ stop(): Promise<readonly FileEvent[]> }> {
  const pid = sshdOf(host);
  const words = ['-f', '-qq', '-ttt', '-y', '-s', '256', '-e', `trace=${calls}`, '-o', file];
  const child = spawn('strace', [...words, '-p', String(pid)], { stdio: 'inherit' });
  await waitFor('strace follows', 10, () => tracer(pid) === child.pid);
  return {
    async stop() {
      await end(child);
      return parseTrace(readFileSync(file, 'utf8'));
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  await ended;
}

function tracer(pid: number): number {
  return Number(/^TracerPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** The listening sshd in a host's network, as a process of the caller's. */
function sshdOf(host: LabHost): number {
  const network = `net:[${statSync(`/run/netns/${host.name}`).ino}]`;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const isListener = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('[listener]');
      if (isListener && readlinkSync(`/proc/${name}/ns/net`) === network) return Number(name);
    } catch {
      // It has ended.
    }
  }
  throw new Error(`no sshd on ${host.name}`);
}

/** Reads strace's output (`-f -ttt -y`); calls that failed did nothing. */
export function parseTrace(text: string): readonly FileEvent[] {
  const events: FileEvent[] = [];
  const unfinished = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, pid = '', time = '', rest = ''] = /^(\d+)\s+(\d+\.\d+) (.*)$/.exec(line) ?? [];
    const begun = /^(.*) <unfinished \.\.\.>$/.exec(rest);
    if (begun) {
      unfinished.set(pid, begun[1] ?? '');
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const call = resumed ? `${unfinished.get(pid) ?? ''}${resumed[1]}` : rest;
    const event = parseCall(call);
    if (event) events.push({ at: Number(time), ...event });
  }
  // A call that was begun earlier is written down when it ends, and the ends are in order.
  return events;
}

function parseCall(call: string): Omit<FileEvent, 'at'> | undefined {
  if (/= -1 /.test(call)) return undefined;
  const write = /^(?:write|pwrite64)\(\d+<([^>]*)>, "((?:[^"\\]|\\.)*)"/.exec(call);
  if (write) return { kind: 'write', path: write[1] ?? '', text: unquoted(write[2] ?? '') };
  const copied = /^copy_file_range\(\d+<[^>]*>, [^,]*, \d+<([^>]*)>/.exec(call);
  if (copied) return { kind: 'write', path: copied[1] ?? '' };
  const sent = /^sendfile\(\d+<([^>]*)>/.exec(call);
  if (sent) return { kind: 'write', path: sent[1] ?? '' };
  const synced = /^(?:fsync|fdatasync)\(\d+<([^>]*)>/.exec(call);
  if (synced) return { kind: 'sync', path: synced[1] ?? '' };
  if (/^(?:sync|syncfs)\(/.test(call)) return { kind: 'sync', path: '/' };
  const names = [...call.matchAll(/(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"/g)].map(
    ([, folder = '', name = '']) => (name.startsWith('/') ? name : `${folder}/${name}`),
  );
  if (/^renameat2?\(/.test(call))
    return { kind: 'rename', from: names[0] ?? '', path: names[1] ?? '' };
  const made = /^mkdir(?:at)?\((?:AT_FDCWD<([^>]*)>, )?"([^"]*)"/.exec(call);
  if (made) {
    const [, folder = '', name = ''] = made;
    return { kind: 'mkdir', path: name.startsWith('/') ? name : `${folder}/${name}` };
  }
  const plain = /^rename\("([^"]*)", "([^"]*)"/.exec(call);
  if (plain) return { kind: 'rename', from: plain[1] ?? '', path: plain[2] ?? '' };
  return undefined;
}

function unquoted(text: string): string {
  return text.replaceAll(/\\(["\\])/g, '$1');
}

/**
 * What may be lost: what a pass remembers for the next one, which then looks at everything; that an
 * undo was made, which is then made again; and until when a lock is held, renewed beside everything else.
 */
const isNote = (path: string) =>
  /\/transfer-(?:note|token)|\/\.undone\.|\/lock\/expires/.test(path);

const folderOf = (path: string) => path.slice(0, path.lastIndexOf('/'));

/**
 * Renames under the given folders that were not made durable: written, then synced, then renamed, and
 * the folder synced before the journal's next line says that it was done. New folders of undo records
 * likewise.
 */
export function hasty(events: readonly FileEvent[], folders: readonly string[]): readonly string[] {
  const faults: string[] = [];
  for (const [index, event] of events.entries()) {
    if (!folders.some((folder) => event.path.startsWith(`${folder}/`))) continue;
    if (isNote(event.path)) continue;
    const isRecord = event.kind === 'mkdir' && event.path.includes('/undo/');
    if (event.kind !== 'rename' && !isRecord) continue;
    const before = events.slice(0, index);
    const written = before.findLastIndex(
      ({ kind, path }) => kind === 'write' && path === event.from,
    );
    const isSynced = before
      .slice(written + 1)
      .some(({ kind, path }) => kind === 'sync' && (path === event.from || path === '/'));
    if (written >= 0 && !isSynced) faults.push(`${event.path}: renamed before it was synced`);
    const later = events.slice(index + 1);
    const next = later.findIndex(isJournal);
    const until = next < 0 ? later : later.slice(0, next);
    const folder = folderOf(event.path);
    if (!until.some(({ kind, path }) => kind === 'sync' && (path === folder || path === '/')))
      faults.push(`${event.path}: the folder was not synced before the journal went on`);
  }
  return faults;
}

const isJournal = ({ kind, path }: FileEvent) =>
  kind === 'write' && path.endsWith('/journal.jsonl');

/** Lines of the journal that were not synced, file and folder, before anything else was changed. */
export function hastyLines(events: readonly FileEvent[]): readonly string[] {
  const faults: string[] = [];
  for (const [index, event] of events.entries()) {
    if (!isJournal(event)) continue;
    const later = events.slice(index + 1);
    const effect = later.findIndex(
      ({ kind, path }) =>
        kind !== 'sync' &&
        /^\/(?:etc|var\/lib\/mail-cutover)\//.test(path) &&
        !/\/lock\//.test(path) &&
        // dd(1) writes a long line in pieces.
        !path.endsWith('/journal.jsonl') &&
        !isNote(path),
    );
    const until = effect < 0 ? later : later.slice(0, effect);
    for (const wanted of [event.path, folderOf(event.path)]) {
      if (!until.some(({ kind, path }) => kind === 'sync' && path === wanted))
        faults.push(`${wanted} was not synced after: ${event.text?.slice(0, 200)}`);
    }
  }
  return faults;
}
