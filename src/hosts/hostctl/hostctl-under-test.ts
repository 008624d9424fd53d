import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { hostScript } from './hostctl.ts';

/*
 * The real program under real shells, in a temporary folder. Three words of it are exchanged, and
 * nothing else: where it looks for programs (so that stand-ins for systemctl and postconf come
 * first), where systemd's units lie, and which shell runs it.
 */

export const shells = ['/bin/sh', '/bin/dash', '/bin/bash', '/bin/busybox sh'].filter((shell) =>
  existsSync(shell.split(' ')[0] ?? ''),
);

/** A folder for the test that runs; etc/ and units/ in it stand for those of the host. */
export let temporary: string;
/** Where the program is installed in it, for a migration "example". */
export let base: string;
/** What a test started in a process group of its own: it is killed after the test. */
export let children: ChildProcess[];

/** Called once in a file of tests: the program is installed before each of them, and gone after it. */
export function setUpHostctl(): void {
  beforeEach(() => {
    temporary = realpathSync(mkdtempSync(join(tmpdir(), 'hostctl-')));
    base = join(temporary, 'example');
    children = [];
    for (const folder of ['stand-ins', 'units', 'example/bin', 'etc'])
      mkdirSync(join(temporary, folder), { recursive: true });
    standIn('systemctl', systemctl);
    standIn('postconf', postconf);
    standIn('postfix', 'exit 1');
    writeFileSync(join(temporary, 'main.cf'), '');
    writeFileSync(join(temporary, 'master.cf'), '');
    install();
  });

  afterEach(() => {
    for (const child of children) {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
    rmSync(temporary, { recursive: true, force: true });
  });
}

/** Remembers what runs as a file a unit, and every word it was given. */
const systemctl = String.raw`
printf '%s\n' "$*" >> "$STATE/systemctl.log"
case $1 in
  is-active) [ -e "$STATE/active-$3" ] ;;
  stop) shift; for unit; do rm -f "$STATE/active-$unit"; done ;;
  restart) : > "$STATE/active-$2" ;;
  disable) rm -f "$STATE/active-$4" ;;
  start) shift; for unit; do if [ -e "$STATE/fails-$unit" ]; then exit 1; fi; : > "$STATE/active-$unit"; done ;;
esac`;

/** main.cf and master.cf as lines; like the real one it takes no line break in a value. */
const postconf = String.raw`
case $2 in *'
'*) echo 'postconf: fatal: -Me, -Fe, -Pe, -X, or -# accept no multi-line input' >&2; exit 1 ;; esac
[ -e "$STATE/main.cf" ] || { echo 'postconf: fatal: open main.cf' >&2; exit 1; }
case $1 in
  -dh) printf '%s\n' "$STATE" ;;
  -n) shift; for name; do grep "^$name = " "$STATE/main.cf" || :; done ;;
  -h) sed -n "s/^$2 = //p" "$STATE/main.cf" ;;
  -e) shift; for setting; do name=\${setting%%=*}; { grep -v "^$name = " "$STATE/main.cf" || :; printf '%s = %s\n' "$name" "\${setting#*=}"; } > "$STATE/new"; mv "$STATE/new" "$STATE/main.cf"; done ;;
  -X) { grep -v "^$2 = " "$STATE/main.cf" || :; } > "$STATE/new"; mv "$STATE/new" "$STATE/main.cf" ;;
  -M) case \${2:-} in
      '') cat "$STATE/master.cf" ;;
      *=*) shift; for entry; do { grep -v "^\${entry%%/*} " "$STATE/master.cf" || :; printf '%s\n' "\${entry#*=}"; } > "$STATE/new"; mv "$STATE/new" "$STATE/master.cf"; done ;;
      *) grep "^\${2%%/*} " "$STATE/master.cf" || echo 'postconf: warning: unmatched request' >&2 ;;
    esac ;;
  -MX) { grep -v "^\${2%%/*} " "$STATE/master.cf" || :; } > "$STATE/new"; mv "$STATE/new" "$STATE/master.cf" ;;
esac`.replaceAll('\\${', '${');

export function standIn(name: string, text: string): void {
  writeFileSync(join(temporary, 'stand-ins', name), `#!/bin/sh\nSTATE=${temporary}\n${text}\n`, {
    mode: 0o755,
  });
}

export function exchanged(text: string, from: string, to: string): string {
  expect(text.split(from).length, `the program says ${from}`).toBeGreaterThan(1);
  return text.replaceAll(from, to);
}

export function install(shell = '/bin/sh', more: (text: string) => string = (text) => text): void {
  let text = exchanged(hostScript, 'PATH=/usr/local/sbin:', `PATH=${temporary}/stand-ins:`);
  text = exchanged(text, '/etc/systemd/system', `${temporary}/units`);
  text = exchanged(text, '/etc/systemd/*', `${temporary}/units/*`);
  text = exchanged(text, '#!/bin/sh\n', `#!${shell}\n`);
  writeFileSync(hostctlPath(), more(text), { mode: 0o700 });
}

export function hostctlPath(): string {
  return join(base, 'bin/hostctl');
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function hostctl(words: readonly string[], input = ''): Ended {
  const { status, stdout, stderr } = spawnSync(hostctlPath(), words, { input, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

/** Runs it and demands that it goes well. */
export function well(words: readonly string[], input = ''): string {
  const ended = hostctl(words, input);
  expect(ended, words.join(' ')).toMatchObject({ code: 0 });
  return ended.stdout.trim();
}

export interface Background {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** In a process group of its own, so that all of it can be killed at once. */
export function background(words: readonly string[]): Background {
  const child = spawn(hostctlPath(), words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  return {
    child,
    ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr }))),
  };
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let left = 4000; !condition(); left -= 1) {
    if (left === 0) throw new Error(`never so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Everything below a folder: kind, mode, owner, contents. */
export function tree(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true, encoding: 'latin1' }).sort()) {
    const path = join(folder, name);
    const { mode, uid, gid } = lstatSync(path);
    const stat = lstatSync(path);
    const what = stat.isSymbolicLink()
      ? `-> ${readlinkSync(path)}`
      : stat.isDirectory()
        ? '/'
        : readFileSync(path, 'latin1');
    found[name] = `${mode.toString(8)} ${uid}:${gid} ${what}`;
  }
  return found;
}

export const me = execFileSync('sh', ['-c', 'printf %s "$(id -u):$(id -g)"'], { encoding: 'utf8' });
export const isRoot = process.getuid?.() === 0;
export const expire = () => writeFileSync(join(base, 'lock/expires'), '1');

/** The lock is taken, by "a", and a mail service that ran is closed. */
export function freeze(): void {
  writeFileSync(join(temporary, 'active-mail.service'), '');
  well(['lock', 'a', '90', '0']);
  well(['begin-freeze', '30']);
  well(['stop', 'freeze', 'stop-mail', 'mail.service']);
}
