import { execFileSync, spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Command, Result } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { type Depth, demandEqual, differences } from './manifest.ts';

/*
 * The real script on this machine. Two hosts have the same path; here each sees the tree of its own
 * folder at `there`, because a link is turned before each of its commands.
 */

export let temporary: string;
export let there: string;

/** Called once in a file of tests. */
export function setUpHosts(): void {
  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'manifest-'));
    mkdirSync(join(temporary, 'old'));
    there = join(temporary, 'host/vmail');
  });

  afterEach(() => {
    execFileSync('chmod', ['-R', 'u+rwx', temporary]);
    rmSync(temporary, { recursive: true, force: true });
  });
}

export class LocalHost implements Host {
  readonly address: string;
  readonly port = 22;
  /** Folder with stand-ins for programs. */
  path = '';
  /** Words before each command: into a mount namespace. */
  prefix: readonly string[] = [];
  constructor(address: string) {
    this.address = address;
  }
  get role() {
    return this.address as 'old' | 'new';
  }
  async read({ argv, stdin }: Command): Promise<Result> {
    const [program = '', ...args] = [...this.prefix, ...argv];
    rmSync(join(temporary, 'host'), { force: true });
    symlinkSync(join(temporary, this.address), join(temporary, 'host'));
    const { status, signal, stdout, stderr } = spawnSync(program, args, {
      input: stdin ?? '',
      env: { ...process.env, PATH: `${this.path}:${process.env['PATH']}` },
    });
    if (status !== 0) throw new Error(`exit code ${status}: ${stderr.toString('utf8')}`);
    return { code: 0, signal: signal ?? undefined, stdout, stderr: stderr.toString('utf8') };
  }
  change(): Promise<Result> {
    throw new Error('a manifest changes nothing');
  }
  tunnel(): never {
    throw new Error('not here');
  }
  tunnelBack(): never {
    throw new Error('not here');
  }
  async close(): Promise<void> {}
}

export const old = new LocalHost('old');
export const target = new LocalHost('new');

export const canMount =
  spawnSync('unshare', ['-m', '--propagation', 'private', 'mount', '-t', 'tmpfs', 'x', '/mnt'])
    .status === 0 && spawnSync('mkfs.ext3', ['-V']).status === 0;
export const vmail = (host: LocalHost) => join(temporary, host.address, 'vmail');
export const box = (host: LocalHost) => join(vmail(host), 'example.org/alice/cur');

/** A Maildir on OLD and, by cp -a, on NEW. */
export function twins(): void {
  mkdirSync(box(old), { recursive: true });
  writeFileSync(join(box(old), '1.M1.old:2,S'), 'first message');
  writeFileSync(join(box(old), '2.M2.old:2,'), 'other message');
  linkSync(join(box(old), '2.M2.old:2,'), join(box(old), '3.M3.old:2,F'));
  writeFileSync(join(vmail(old), 'example.org/alice/dovecot-uidlist'), '3 V1 N3');
  symlinkSync('../alice', join(vmail(old), 'example.org/bob'));
  execFileSync('cp', ['-a', join(temporary, 'old'), join(temporary, 'new')]);
}

export const compare = (depth: Depth = 'names') => differences(old, target, there, depth);

/** Digest and list must say the same. */
export async function expectDifferent(depth: Depth, entry: RegExp): Promise<void> {
  expect((await compare(depth)).join('\n')).toMatch(entry);
  await expect(demandEqual(old, target, [there], depth)).rejects.toThrow(
    /differs between the hosts in \d+ entries/,
  );
}

/** Puts a program of this name before the real one. */
export function standIn(name: string, text: string): void {
  mkdirSync(join(temporary, 'stand-ins'), { recursive: true });
  writeFileSync(join(temporary, 'stand-ins', name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

/** By the program in Perl, and by find(1). */
export async function bothWays(compareThem: () => Promise<unknown>): Promise<void> {
  await compareThem();
  standIn('perl', 'exit 3');
  for (const host of [old, target]) host.path = join(temporary, 'stand-ins');
  try {
    await compareThem();
  } finally {
    for (const host of [old, target]) host.path = '';
    rmSync(join(temporary, 'stand-ins'), { recursive: true });
  }
}

export function twinsAgain(): void {
  rmSync(join(temporary, 'new'), { recursive: true });
  execFileSync('cp', ['-a', join(temporary, 'old'), join(temporary, 'new')]);
}

/** Other contents of the same size, with the mtime kept. */
export function silentlyEdit(path: string, content: string): void {
  execFileSync('sh', [
    '-c',
    'touch -r "$1" "$3" && printf %s "$2" > "$1" && touch -r "$3" "$1"',
    'sh',
    path,
    content,
    join(temporary, 'stamp'),
  ]);
}
