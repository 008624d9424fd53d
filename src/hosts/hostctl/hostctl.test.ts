import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostScript } from './hostctl.ts';

/*
 * The real program under real shells, in a temporary folder. Three words of it are exchanged, and
 * nothing else: where it looks for programs (so that stand-ins for systemctl and postconf come
 * first), where systemd's units lie, and which shell runs it.
 */

const shells = ['/bin/sh', '/bin/dash', '/bin/bash', '/bin/busybox sh'].filter((shell) =>
  existsSync(shell.split(' ')[0] ?? ''),
);

let temporary: string;
let base: string;
let children: ChildProcess[];

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
  -M) case $2 in
      *=*) shift; for entry; do { grep -v "^\${entry%%/*} " "$STATE/master.cf" || :; printf '%s\n' "\${entry#*=}"; } > "$STATE/new"; mv "$STATE/new" "$STATE/master.cf"; done ;;
      *) grep "^\${2%%/*} " "$STATE/master.cf" || echo 'postconf: warning: unmatched request' >&2 ;;
    esac ;;
  -MX) { grep -v "^\${2%%/*} " "$STATE/master.cf" || :; } > "$STATE/new"; mv "$STATE/new" "$STATE/master.cf" ;;
esac`.replaceAll('\\${', '${');

function standIn(name: string, text: string): void {
  writeFileSync(join(temporary, 'stand-ins', name), `#!/bin/sh\nSTATE=${temporary}\n${text}\n`, {
    mode: 0o755,
  });
}

function exchanged(text: string, from: string, to: string): string {
  expect(text.split(from).length, `the program says ${from}`).toBeGreaterThan(1);
  return text.replaceAll(from, to);
}

function install(shell = '/bin/sh', more: (text: string) => string = (text) => text): void {
  let text = exchanged(hostScript, 'PATH=/usr/local/sbin:', `PATH=${temporary}/stand-ins:`);
  text = exchanged(text, '/etc/systemd/system', `${temporary}/units`);
  text = exchanged(text, '/etc/systemd/*', `${temporary}/units/*`);
  text = exchanged(text, '#!/bin/sh\n', `#!${shell}\n`);
  writeFileSync(hostctlPath(), more(text), { mode: 0o700 });
}

function hostctlPath(): string {
  return join(base, 'bin/hostctl');
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function hostctl(words: readonly string[], input = ''): Ended {
  const { status, stdout, stderr } = spawnSync(hostctlPath(), words, { input, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

/** Runs it and demands that it goes well. */
function well(words: readonly string[], input = ''): string {
  const ended = hostctl(words, input);
  expect(ended, words.join(' ')).toMatchObject({ code: 0 });
  return ended.stdout.trim();
}

interface Background {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** In a process group of its own, so that all of it can be killed at once. */
function background(words: readonly string[]): Background {
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

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let left = 1000; !condition(); left -= 1) {
    if (left === 0) throw new Error(`never so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Everything below a folder: kind, mode, owner, contents. */
function tree(folder: string): Record<string, string> {
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

const me = execFileSync('sh', ['-c', 'printf %s "$(id -u):$(id -g)"'], { encoding: 'utf8' });
const isRoot = process.getuid?.() === 0;
const expire = () => writeFileSync(join(base, 'lock/expires'), '1');

describe('the program', () => {
  it.each(shells)('is understood by %s', (shell) => {
    install(shell);
    expect(well(['lock', 'a', '90', '0'])).toBe('1');
    writeFileSync(join(temporary, 'etc/x.conf'), 'a\nb');
    well(['run', '1', hostctlPath(), 'block', 'g', 'x', join(temporary, 'etc/x.conf')], 'ours');
    expect(readFileSync(join(temporary, 'etc/x.conf'), 'utf8')).toContain('\nours\n');
    well(['run', '1', hostctlPath(), 'undo', 'g']);
    expect(readFileSync(join(temporary, 'etc/x.conf'), 'utf8')).toBe('a\nb');
    expect(hostctl(['run', '0', 'true'])).toMatchObject({ code: 91 });
    expect(well(['status'])).toContain('lock 1 held by a');
    expect(hostctl(['nonsense'])).toMatchObject({
      code: 1,
      stderr: 'hostctl: no such word: nonsense\n',
    });
  });

  const shellcheck = spawnSync('shellcheck', ['--version']).status === 0;
  it.skipIf(!shellcheck)('has nothing that shellcheck complains about', () => {
    // SC2012: `ls` lists our own records, whose names hold no odd character. SC2016: text for sh -c.
    const { stdout } = spawnSync('shellcheck', ['-s', 'sh', '-e', 'SC2012,SC2016,SC2045', '-'], {
      input: hostScript,
      encoding: 'utf8',
    });
    expect(stdout).toBe('');
  });
});

describe('the lock', () => {
  it('refuses a second holder with 90 and names the first', () => {
    expect(well(['lock', 'octocat in freeze', '90', '0'])).toBe('1');
    expect(hostctl(['lock', 'hubot in plan', '90', '0'])).toMatchObject({
      code: 90,
      stdout: 'octocat in freeze\n',
    });
    expect(well(['status'])).toContain('lock 1 held by octocat in freeze');
  });

  it('is taken over once it has ended by time or by word, under a larger number', () => {
    well(['lock', 'a', '90', '0']);
    expire();
    expect(well(['lock', 'b', '90', '0'])).toBe('2');
    well(['unlock', '2']);
    expect(well(['lock', 'c', '90', '0'])).toBe('3');
    expect(hostctl(['lock', 'a', '90', '0'])).toMatchObject({ code: 90, stdout: 'c\n' });
  });

  it('is renewed by its holder only, and a renewal makes it last', () => {
    well(['lock', 'a', '1', '0']);
    well(['renew', '1', '90']);
    expect(Number(readFileSync(join(base, 'lock/expires'), 'utf8'))).toBeGreaterThan(
      Date.now() / 1000 + 60,
    );
    expire();
    well(['lock', 'b', '90', '0']);
    expect(hostctl(['renew', '1', '90'])).toMatchObject({
      code: 91,
      stderr: 'lock 1 was taken over by lock 2 (b)\n',
    });
    expect(hostctl(['unlock', '1'])).toMatchObject({ code: 91 });
    expect(hostctl(['lock', 'a', '90', '0'])).toMatchObject({ code: 90 });
  });

  it('has a number that only grows, whatever minimum is asked for', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            holder: fc.constantFrom('a', 'b'),
            minimum: fc.nat(40),
            expired: fc.boolean(),
          }),
          {
            minLength: 1,
            maxLength: 6,
          },
        ),
        (attempts) => {
          rmSync(join(base, 'lock'), { recursive: true, force: true });
          let last = 0;
          for (const { holder, minimum, expired } of attempts) {
            if (expired && last > 0) expire();
            const { code, stdout } = hostctl(['lock', holder, '90', String(minimum)]);
            if (code === 90) continue;
            expect(code).toBe(0);
            expect(Number(stdout)).toBeGreaterThan(last);
            expect(Number(stdout)).toBeGreaterThanOrEqual(minimum);
            last = Number(stdout);
          }
        },
      ),
      { numRuns: 8 },
    );
  }, 30_000);

  it('lets two takers at once not both have it', async () => {
    const ended = await Promise.all(
      ['a', 'b', 'c', 'd'].map((holder) => background(['lock', holder, '90', '0']).ended),
    );
    expect(ended.map(({ code }) => code).sort()).toEqual([0, 90, 90, 90]);
  });
});

describe('run', () => {
  it('refuses an older number with 91 and runs a newer one', () => {
    well(['lock', 'a', '90', '7']);
    expect(hostctl(['run', '6', 'touch', join(temporary, 'x')])).toMatchObject({
      code: 91,
      stderr: 'lock 6 was taken over by lock 7 (a)\n',
    });
    expect(existsSync(join(temporary, 'x'))).toBe(false);
    well(['run', '8', 'touch', join(temporary, 'x')]);
    expect(existsSync(join(temporary, 'x'))).toBe(true);
  });

  it('hands on standard input, arguments and the exit code', () => {
    well(['lock', 'a', '90', '0']);
    expect(
      hostctl(['run', '1', 'sh', '-c', 'cat; printf %s "$1"; exit 24', 'sh', "a 'b'\nc"], 'in '),
    ).toMatchObject({
      code: 24,
      stdout: "in a 'b'\nc",
    });
  });

  /** A command under way, which ends when it is told to. */
  async function longCommand(): Promise<Background & { end(): void }> {
    const [started, stop] = [join(temporary, 'started'), join(temporary, 'stop')];
    const running = background([
      'run',
      '1',
      'sh',
      '-c',
      ': > "$1"; until [ -e "$2" ]; do sleep 0.01; done',
      'sh',
      started,
      stop,
    ]);
    await until(() => existsSync(started), 'the command has started');
    return { ...running, end: () => writeFileSync(stop, '') };
  }

  /** Whether the program asks flock(1) for its lock. */
  function isWaiting(pid = 0): boolean {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    return child !== '' && readFileSync(`/proc/${child}/comm`, 'utf8') === 'flock\n';
  }

  /** Seconds that no other run of these tests sleeps. */
  const own = 100_000 + process.pid;

  it.each([
    ['runs', ''],
    ['sleeps through SIGTERM', "trap '' TERM; "],
    ['was stopped', 'kill -STOP $$; '],
    ['has a session of its own below it', `setsid sh -c ": > $1.below; exec sleep ${own}" & `],
  ])('is ended by a takeover while it %s', async (_, first) => {
    well(['lock', 'a', '90', '0']);
    const started = join(temporary, 'started');
    const text = `: > "$1"; ${first}while :; do sleep 0.01; done`;
    const running = background(['run', '1', 'sh', '-c', text, 'sh', started]);
    await until(() => existsSync(started), 'the command has started');
    if (first.includes('below'))
      await until(() => existsSync(`${started}.below`), 'its session has started');
    expire();
    expect(well(['lock', 'b', '90', '0'])).toBe('2');
    expect(await running.ended).toMatchObject({ code: null });
    expect(spawnSync('pgrep', ['-fx', `sleep ${own}`]).stdout.toString()).toBe('');
    expect(readdirSync(join(base, 'lock/run'))).toEqual([]);
  });

  it.each([
    ['mirror.pl', 'passes', 0],
    ['mirror.pl', '', null],
    ['another.pl', 'passes', null],
  ])('%s receive, under a takeover that says "%s", ends with %s', async (program, word, code) => {
    well(['lock', 'a', '90', '0']);
    const [started, go] = [join(temporary, 'started'), join(temporary, 'go')];
    const text = `: > "$2"; while [ ! -e "$3" ]; do sleep 0.01; done`;
    const words = ['sh', '-c', text, program, 'receive', started, go];
    const running = background(['run', '1', ...words]);
    await until(() => existsSync(started), 'the command has started');
    expire();
    expect(well(['lock', 'b', '90', '0', '', word])).toBe('2');
    // Under the new number: the next takeover finds it, too.
    const entries = readdirSync(join(base, 'lock/run'));
    expect(entries.filter((name) => name.startsWith('2.'))).toHaveLength(code === 0 ? 1 : 0);
    writeFileSync(go, '');
    expect(await running.ended).toMatchObject({ code });
  });

  it('a pass that nobody goes on with is ended, and nothing else', async () => {
    well(['lock', 'a', '90', '0']);
    const go = join(temporary, 'go');
    const [pass, other] = ['mirror.pl', 'another.pl'].map((program) => {
      const text = `: > "$2"; while [ ! -e "$3" ]; do sleep 0.01; done`;
      const words = ['sh', '-c', text, program, 'receive', join(temporary, program), go];
      return background(['run', '1', ...words]);
    });
    for (const name of ['mirror.pl', 'another.pl'])
      await until(() => existsSync(join(temporary, name)), `${name} has started`);
    well(['run', '1', hostctlPath(), 'end-passes']);
    expect(await pass?.ended).toMatchObject({ code: null });
    writeFileSync(go, '');
    expect(await other?.ended).toMatchObject({ code: 0 });
  });

  it('a takeover removes nothing where it happens to be called', () => {
    well(['lock', 'a', '90', '0']);
    expire();
    mkdirSync(join(temporary, 'passes'));
    const words = ['lock', 'b', '90', '0', '', 'passes'];
    const options = { cwd: temporary, encoding: 'utf8' } as const;
    expect(spawnSync(hostctlPath(), words, options)).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(join(temporary, 'passes'))).toBe(true);
  });

  it('is not ended by a second run that is refused', async () => {
    well(['lock', 'a', '90', '0']);
    const running = await longCommand();
    expect(hostctl(['lock', 'b', '90', '0'])).toMatchObject({ code: 90, stdout: 'a\n' });
    running.end();
    expect(await running.ended).toMatchObject({ code: 0 });
  });

  it('can not begin after a takeover', () => {
    well(['lock', 'a', '90', '0']);
    expire();
    well(['lock', 'b', '90', '0']);
    expect(hostctl(['run', '1', 'true'])).toMatchObject({
      code: 91,
      stderr: 'lock 1 was taken over by lock 2 (b)\n',
    });
  });

  it('a takeover gives up with 93 where a thaw is under way, and leaves the lock free', () => {
    install('/bin/sh', (text) => exchanged(text, 'flock -x -w 60', 'flock -x -w 0'));
    well(['lock', 'octocat', '90', '0']);
    expire();
    const words = ['-x', join(base, 'lock/flock'), hostctlPath(), 'lock', 'b', '90', '0'];
    const { status, stderr } = spawnSync('flock', words, { encoding: 'utf8' });
    expect([status, stderr]).toEqual([
      93,
      'a command of octocat is still under way on this host\n',
    ]);
    expect(well(['lock', 'c', '90', '0'])).toBe('3');
  });

  it('tells when what its holder had begun has ended', async () => {
    well(['lock', 'a', '90', '0']);
    const running = await longCommand();
    const waiting = background(['settled', '1']);
    await until(() => isWaiting(waiting.child.pid), 'it waits');
    running.end();
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await waiting.ended).toMatchObject({ code: 0 });
    expire();
    well(['lock', 'b', '90', '0']);
    expect(hostctl(['settled', '1']).code).toBe(91);
  });

  it('lets the holder run more than one command at a time', async () => {
    well(['lock', 'a', '90', '0']);
    const running = await longCommand();
    expect(well(['run', '1', 'echo', 'beside'])).toBe('beside');
    running.end();
    await running.ended;
  });

  it('leaves a daemon that a command started without the lock', async () => {
    install('/bin/sh', (text) => exchanged(text, 'flock -x -w 60', 'flock -x -w 0'));
    well(['lock', 'a', '90', '0']);
    const pidFile = join(temporary, 'pid');
    well(['run', '1', 'sh', '-c', 'sleep 600 >/dev/null 2>&1 & echo $! > "$1"', 'sh', pidFile]);
    const pid = Number(readFileSync(pidFile, 'utf8'));
    try {
      expire();
      expect(well(['lock', 'b', '90', '0'])).toBe('2');
      expect(existsSync(`/proc/${pid}`)).toBe(true);
    } finally {
      process.kill(pid);
    }
  });
});

describe('edits and undo', () => {
  const file = () => join(temporary, 'etc/some.conf');
  const edit =
    (...words: readonly string[]) =>
    (input?: string) =>
      well(words, input);

  it.each([
    ['its last', /^# END .*\n/m],
    ['its first', /^# BEGIN .*\n/m],
  ])('a block whose mark, %s, was deleted takes no line of others along', (_, mark) => {
    writeFileSync(file(), 'a\n');
    edit('block', 'g', 'x', file())('ours 1\nours 2');
    const text = readFileSync(file(), 'utf8').replace(mark, '');
    writeFileSync(file(), `${text}theirs\n`);
    well(['undo', 'g']);
    expect(readFileSync(file(), 'utf8')).toBe('a\ntheirs\n');
  });

  it.each([
    ['was there', 'before\n', 0o640],
    ['was there without a last newline', 'a\nb', 0o600],
    ['was empty', '', 0o644],
    ['held bytes that are no text', '\0\x01\xff\n\xfe', 0o444],
  ])('a file that %s is as it was', (_, content, mode) => {
    writeFileSync(file(), Buffer.from(content, 'latin1'));
    chmodSync(file(), mode);
    if (isRoot) execFileSync('chown', ['12:34', file()]);
    const before = tree(join(temporary, 'etc'));
    const change = edit('file', 'g', 'some', file(), '755', me);
    change('after');
    const once = tree(join(temporary, 'etc'));
    expect(readFileSync(file(), 'utf8')).toBe('after');
    expect(lstatSync(file()).mode & 0o777).toBe(0o755);
    change('after');
    expect(tree(join(temporary, 'etc'))).toEqual(once);
    expect(readdirSync(join(base, 'undo/g'))).toEqual(['0000-some']);
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual(before);
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual(before);
  });

  it('a file that was not there is gone again, and a link is a link again', () => {
    symlinkSync('/nowhere', join(temporary, 'etc/link'));
    const before = tree(join(temporary, 'etc'));
    well(['file', 'g', 'some', file(), '644', me], 'x');
    well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'y');
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual(before);
    // Once more: what was saved the first time is in the way of nothing.
    well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'y');
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual(before);
  });

  it('records of two edits are told apart when one name ends like the other', () => {
    well(['file', 'g', 'stop-unit', file(), '644', me], 'x');
    well(['file', 'g', 'unit', join(temporary, 'etc/other'), '644', me], 'y');
    expect(readdirSync(join(base, 'undo/g'))).toEqual(['0000-stop-unit', '0001-unit']);
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual({});
  });

  it('a block stands once, and everything around it stays, also what came later', () => {
    writeFileSync(file(), 'a\n# BEGIN mine\nb\n');
    chmodSync(file(), 0o640);
    const before = tree(join(temporary, 'etc'));
    const change = edit('block', 'g', 'protocols', file());
    change('protocols = none\n');
    change('protocols = none');
    expect(readFileSync(file(), 'utf8')).toBe(
      'a\n# BEGIN mine\nb\n# BEGIN mail-cutover example protocols\nprotocols = none\n# END mail-cutover example protocols\n',
    );
    well(['undo', 'g']);
    expect(tree(join(temporary, 'etc'))).toEqual(before);
    change('x');
    writeFileSync(file(), `${readFileSync(file(), 'utf8')}later\n`);
    well(['undo', 'g']);
    expect(readFileSync(file(), 'utf8')).toBe('a\n# BEGIN mine\nb\nlater\n');
  });

  it('a block in any file is taken out to the byte', () => {
    const lines = fc.array(fc.constantFrom('a', '', ' b', '# END x', '\r', '\\n', 'ä'), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(lines, fc.boolean(), (text, newline) => {
        const content = text.join('\n') + (newline ? '\n' : '');
        writeFileSync(file(), content);
        well(['block', 'g', 'x', file()], 'ours');
        well(['block', 'g', 'x', file()], 'ours');
        well(['undo', 'g']);
        expect(readFileSync(file(), 'utf8')).toBe(content);
      }),
      { numRuns: 8 },
    );
  }, 30_000);

  it('a unit that ran runs again, one that did not does not', () => {
    writeFileSync(join(temporary, 'active-a.service'), '');
    well(['stop', 'g', 'stop-a', 'a.service']);
    well(['stop', 'g', 'stop-b', 'b.service']);
    well(['stop', 'g', 'stop-a', 'a.service']);
    expect(existsSync(join(temporary, 'active-a.service'))).toBe(false);
    well(['undo', 'g']);
    expect(existsSync(join(temporary, 'active-a.service'))).toBe(true);
    expect(existsSync(join(temporary, 'active-b.service'))).toBe(false);
  });

  it('units that are stopped together are remembered one by one', () => {
    writeFileSync(join(temporary, 'active-a.service'), '');
    writeFileSync(join(temporary, 'active-c.timer'), '');
    const words = ['stop-a', 'a.service', 'stop-b', 'b.service', 'stop-c', 'c.timer'];
    for (let time = 0; time < 2; time += 1) well(['stop', 'g', ...words]);
    const active = () => readdirSync(temporary).filter((name) => name.startsWith('active-'));
    expect(active()).toEqual([]);
    well(['undo', 'g']);
    expect(active()).toEqual(['active-a.service', 'active-c.timer']);
  });

  it('Postfix is waited for by its processes, and all else by systemd', () => {
    const units = ['postfix.service', 'postfix@-.service', 'dovecot.service'];
    for (const unit of units) writeFileSync(join(temporary, `active-${unit}`), '');
    standIn('find', '[ ! -e "$STATE/postfix-runs" ] || echo /proc/1/exe');
    writeFileSync(join(temporary, 'postfix-runs'), '');
    standIn('sleep', 'rm -f "$STATE/postfix-runs"');
    well(['stop', 'g', ...units.flatMap((unit) => [`stop-${unit}`, unit])]);
    expect(existsSync(join(temporary, 'postfix-runs'))).toBe(false);
    const stops = readFileSync(join(temporary, 'systemctl.log'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('stop'));
    expect(stops).toEqual([`stop --no-block ${units.join(' ')}`, 'stop dovecot.service']);
    well(['undo', 'g']);
    for (const unit of units) expect(existsSync(join(temporary, `active-${unit}`))).toBe(true);
  });

  it('a unit of ours serves until it is taken back', () => {
    well(['serve', 'g', 'ours', 'ours.service']);
    well(['serve', 'g', 'ours', 'ours.service']);
    expect(existsSync(join(temporary, 'active-ours.service'))).toBe(true);
    well(['undo', 'g']);
    expect(existsSync(join(temporary, 'active-ours.service'))).toBe(false);
    expect(readFileSync(join(temporary, 'systemctl.log'), 'utf8')).toContain(
      'disable -q --now ours.service',
    );
  });

  it('files of the same content are each what they were', () => {
    const paths = ['one', 'two'].map((name) => join(temporary, 'etc', name));
    writeFileSync(paths[0] ?? '', 'before');
    const words = paths.flatMap((path, index) => [`file-${index}`, path]);
    const owner = `${process.getuid?.()}:${process.getgid?.()}`;
    well(['files', 'g', '644', owner, ...words], "it's ours\n");
    expect(paths.map((path) => readFileSync(path, 'utf8'))).toEqual(["it's ours\n", "it's ours\n"]);
    well(['undo', 'g']);
    expect(readFileSync(paths[0] ?? '', 'utf8')).toBe('before');
    expect(existsSync(paths[1] ?? '')).toBe(false);
  });

  it('Postfix has its parameters and services again, set, empty or absent', () => {
    const main = 'transport_maps = hash:/etc/postfix/transport\nrelayhost = \n';
    const master = 'late unix - - y - - smtp -o a=b -o c=d\n';
    writeFileSync(join(temporary, 'main.cf'), main);
    writeFileSync(join(temporary, 'master.cf'), master);
    for (const value of ['x', 'x', 'y']) {
      for (const name of ['transport_maps', 'relayhost', 'local_transport'])
        well(['postconf', 'g', name, value]);
      const late = ['late', 'late/unix', `late unix - - y - - smtp -o v=${value}`];
      well(['master', 'g', ...late, 'door', '10026/inet', '10026 inet n - y - - smtpd']);
      expect(readFileSync(join(temporary, 'master.cf'), 'utf8')).toBe(
        `late unix - - y - - smtp -o v=${value}\n10026 inet n - y - - smtpd\n`,
      );
    }
    well(['undo', 'g']);
    const sorted = (text: string) =>
      text
        .split('\n')
        .map((line) => line.replace(/ +/g, ' '))
        .sort();
    expect(sorted(readFileSync(join(temporary, 'main.cf'), 'utf8'))).toEqual(sorted(main));
    expect(sorted(readFileSync(join(temporary, 'master.cf'), 'utf8'))).toEqual(sorted(master));
  });

  it('a main.cf that can not be read is no parameter that was absent', () => {
    rmSync(join(temporary, 'main.cf'));
    expect(hostctl(['postconf', 'g', 'relayhost', 'x']).code).not.toBe(0);
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
  });

  it('goes from the newest to the oldest, and on from where it was stopped', () => {
    const program = join(base, 'bin/examplectl');
    writeFileSync(
      program,
      `#!/bin/sh\necho "$3" >> ${temporary}/undone\n[ ! -e ${temporary}/fails-$3 ]\n`,
      { mode: 0o755 },
    );
    for (const name of ['a', 'b', 'c']) well(['record', 'g', name, 'examplectl:thing', name]);
    writeFileSync(join(temporary, 'fails-b'), '');
    expect(hostctl(['undo', 'g']).code).not.toBe(0);
    expect(readdirSync(join(base, 'undo/g')).filter((name) => !name.startsWith('.'))).toEqual([
      '0000-a',
      '0001-b',
    ]);
    rmSync(join(temporary, 'fails-b'));
    well(['undo', 'g']);
    expect(readFileSync(join(temporary, 'undone'), 'utf8')).toBe('c\nb\nb\na\n');
  });

  it('what ran starts last, in one go, with everything else as it was; again until it has', () => {
    for (const unit of ['a', 'b']) writeFileSync(join(temporary, `active-${unit}`), '');
    well(['stop', 'g', 'stop-a', 'a', 'stop-b', 'b', 'stop-c', 'c']);
    well(['postconf', 'g', 'relayhost', 'x']);
    writeFileSync(join(temporary, 'fails-b'), '');
    expect(hostctl(['undo', 'g']).code).not.toBe(0);
    expect(readFileSync(join(temporary, 'main.cf'), 'utf8')).toBe('');
    rmSync(join(temporary, 'fails-b'));
    well(['undo', 'g']);
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
    const starts = readFileSync(join(temporary, 'systemctl.log'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('start'));
    expect(starts).toEqual(['start b a', 'start b a']);
  });

  it('the queue is set aside with its folders, and comes back', () => {
    const spool = join(temporary, 'spool');
    for (const queue of [
      'incoming',
      'active',
      'deferred/A',
      'deferred/B',
      'hold',
      'bounce',
      'trace',
    ])
      mkdirSync(join(spool, queue), { recursive: true });
    for (const name of ['active/1', 'deferred/A/A2', 'deferred/B/B3', 'bounce/4'])
      writeFileSync(join(spool, name), name, { mode: 0o700 });
    if (isRoot) execFileSync('chown', ['-R', '12:34', spool]);
    execFileSync('chmod', ['-R', '700', spool]);
    const before = tree(spool);
    writeFileSync(join(base, 'frozen'), 'now');
    well(['queue', 'freeze', 'queue', spool]);
    well(['queue', 'freeze', 'queue', spool]);
    expect(Object.keys(tree(spool)).filter((name) => /\d$/.test(name))).toEqual([]);
    expect(readFileSync(join(base, 'queue/deferred/A/A2'), 'utf8')).toBe('deferred/A/A2');
    well(['undo', 'freeze']);
    expect(tree(spool)).toEqual(before);
  });

  it('a queue never replaces a message of the same name, and repeats nothing', () => {
    const spool = join(temporary, 'spool');
    const long = '4PxyzK1abcz1Bf';
    for (const folder of [join(spool, 'hold'), join(base, 'queue/hold')])
      mkdirSync(folder, { recursive: true });
    const put = (folder: string, name: string, text: string) =>
      writeFileSync(join(folder, 'hold', name), text);
    for (const name of ['A1B2C3D4E5', long]) {
      put(spool, name, 'theirs');
      put(join(base, 'queue'), name, 'ours');
    }
    // Moved by a try that was cut off before it removed this one.
    put(spool, 'A000012345', 'same');
    put(join(base, 'queue'), 'A000012345', 'same');
    well(['queue-release', spool]);
    const found = readdirSync(join(spool, 'hold')).map(
      (name) => [name, readFileSync(join(spool, 'hold', name), 'utf8')] as const,
    );
    expect(found.map(([, text]) => text).sort()).toEqual([
      'ours',
      'ours',
      'same',
      'theirs',
      'theirs',
    ]);
    for (const [name] of found) expect(name).toMatch(/^(A[0-9A-F]{9}|4PxyzK1ab.z1Bf)$/);
    expect(found).toContainEqual(['A1B2C3D4E5', 'theirs']);
    expect(readdirSync(join(base, 'queue/hold'))).toEqual([]);
  });

  it('a queue that is released is tried at once, but for what somebody holds', () => {
    const spool = join(temporary, 'spool');
    for (const folder of ['incoming', 'deferred'])
      mkdirSync(join(spool, folder), { recursive: true });
    const inAnHour = Date.now() / 1000 + 3600;
    const names = ['active/A1', 'deferred/B/B1', 'deferred/C1', 'hold/D1', 'incoming/E1'];
    for (const name of [...names, 'maildrop/F1']) {
      mkdirSync(join(base, 'queue', dirname(name)), { recursive: true });
      writeFileSync(join(base, 'queue', name), name);
      utimesSync(join(base, 'queue', name), inAnHour, inAnHour);
    }
    well(['queue-release', spool]);
    const left = (folder: string) => Object.keys(tree(folder)).filter((name) => /\d$/.test(name));
    expect(left(join(base, 'queue'))).toEqual([]);
    expect(left(spool).sort()).toEqual([
      'hold/D1',
      'incoming/A1',
      'incoming/B1',
      'incoming/C1',
      'incoming/E1',
      'maildrop/F1',
    ]);
    // The time of the next try, which qmgr(8) waits for in "incoming" too.
    const isDue = (name: string) => lstatSync(join(spool, name)).mtimeMs <= Date.now();
    expect(left(spool).filter(isDue).sort()).toEqual([
      'incoming/A1',
      'incoming/B1',
      'incoming/C1',
      'incoming/E1',
    ]);
  });

  const elsewhere = ['/dev/shm', '/run'].find(
    (folder) => existsSync(folder) && lstatSync(folder).dev !== lstatSync(tmpdir()).dev,
  );
  it.skipIf(!isRoot || elsewhere === undefined)(
    'a queue crosses file systems, cut off anywhere, each message once',
    () => {
      const spool = mkdtempSync(join(elsewhere ?? '', 'spool-'));
      try {
        const names = ['deferred/A/A1B2C3D4E5', 'deferred/B/B1B2C3D4E5', 'incoming/C1B2C3D4E5'];
        for (const name of names) {
          mkdirSync(join(base, 'queue', dirname(name)), { recursive: true });
          writeFileSync(join(base, 'queue', name), name, { mode: 0o700 });
        }
        // What a kill leaves: a copy that was removed here, one that was not, and a part.
        const aside = join(spool, '.mail-cutover/deferred');
        mkdirSync(aside, { recursive: true });
        writeFileSync(join(aside, 'A%A1B2C3D4E5'), 'deferred/A/A1B2C3D4E5', { mode: 0o700 });
        rmSync(join(base, 'queue/deferred/A/A1B2C3D4E5'));
        writeFileSync(join(aside, 'B%B1B2C3D4E5'), 'deferred/B/B1B2C3D4E5', { mode: 0o700 });
        writeFileSync(join(aside, '.part'), 'defer');
        mkdirSync(join(spool, 'deferred/A'), { recursive: true });
        well(['queue-release', spool]);
        for (const name of names) {
          const released = join(spool, 'incoming', basename(name));
          expect(readFileSync(released, 'utf8')).toBe(name);
          expect(existsSync(join(base, 'queue', name))).toBe(false);
          expect(lstatSync(released).mode & 0o777).toBe(0o700);
        }
      } finally {
        rmSync(spool, { recursive: true, force: true });
      }
    },
  );

  it.skipIf(!isRoot || elsewhere === undefined)(
    'a queue crosses file systems once, also where the command is tried again while it runs',
    async () => {
      const spool = mkdtempSync(join(elsewhere ?? '', 'spool-'));
      try {
        const names = [...Array(60).keys()].map((number) => `${number % 10}A0${number + 100}BC`);
        mkdirSync(join(base, 'queue/incoming'), { recursive: true });
        for (const name of names)
          writeFileSync(join(base, 'queue/incoming', name), name, { mode: 0o700 });
        const both = [1, 2].map(() => background(['queue-release', spool]).ended);
        for (const { code, stderr } of await Promise.all(both))
          expect([code, stderr]).toEqual([0, '']);
        const released = readdirSync(join(spool, 'incoming')).map((name) => [
          name,
          readFileSync(join(spool, 'incoming', name), 'utf8'),
        ]);
        expect(released.sort()).toEqual(names.map((name) => [name, name]).sort());
      } finally {
        rmSync(spool, { recursive: true, force: true });
      }
    },
  );

  it('what lies between two file systems is found by a move the other way', () => {
    const spool = join(temporary, 'spool');
    mkdirSync(join(spool, 'deferred/B'), { recursive: true });
    writeFileSync(join(spool, 'deferred/B/B1B2C3D4E5'), 'not removed yet');
    writeFileSync(join(base, 'frozen'), 'now');
    well(['queue', 'freeze', 'queue', spool]);
    // As a set-aside leaves it that is cut off at two messages, before and after it removed one in the spool.
    const between = join(base, 'queue/.mail-cutover/deferred');
    mkdirSync(between, { recursive: true });
    writeFileSync(join(between, 'A%A1B2C3D4E5'), 'removed');
    writeFileSync(join(between, 'C%C1B2C3D4E5'), 'a copy');
    writeFileSync(join(between, '.part'), 'rem');
    mkdirSync(join(spool, 'deferred/C'));
    writeFileSync(join(spool, 'deferred/C/C1B2C3D4E5'), 'the original');
    well(['undo', 'freeze']);
    const files = Object.entries(tree(spool)).filter(([name]) => /\d$/.test(name));
    expect(files.map(([name, text]) => [name, text.split(' ').slice(2).join(' ')])).toEqual([
      ['deferred/A/A1B2C3D4E5', 'removed'],
      ['deferred/B/B1B2C3D4E5', 'not removed yet'],
      ['deferred/C/C1B2C3D4E5', 'the original'],
    ]);
    expect(existsSync(join(base, 'queue/.mail-cutover'))).toBe(false);
  });

  it('a thaw that was cut off before it flushed is made to its end', () => {
    standIn('postfix', 'exit 0');
    standIn('postqueue', 'echo flush >> "$STATE/flushes"; [ ! -e "$STATE/fails" ]');
    writeFileSync(join(temporary, 'fails'), '');
    well(['begin-freeze', '10']);
    well(['postconf', 'freeze', 'relayhost', 'x']);
    expect(hostctl(['thaw']).code).not.toBe(0);
    expect(existsSync(join(base, 'undo/freeze'))).toBe(false);
    rmSync(join(temporary, 'fails'));
    expect(well(['thaw'])).toBe('thawed');
    expect(readFileSync(join(temporary, 'flushes'), 'utf8')).toBe('flush\nflush\n');
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('a queue is released into folders that Postfix can use', () => {
    const spool = join(temporary, 'spool');
    mkdirSync(join(spool, 'hold'), { recursive: true, mode: 0o750 });
    if (isRoot) execFileSync('chown', ['-R', '12:34', spool]);
    mkdirSync(join(base, 'queue/hold/C'), { recursive: true, mode: 0o700 });
    writeFileSync(join(base, 'queue/hold/C/C1'), 'x');
    well(['queue-release', spool]);
    const of = (path: string) => {
      const { mode, uid, gid } = lstatSync(join(spool, path));
      return [mode & 0o777, uid, gid];
    };
    expect(of('hold/C')).toEqual(of('hold'));
    expect(readFileSync(join(spool, 'hold/C/C1'), 'utf8')).toBe('x');
  });

  it.skipIf(!existsSync('/proc/self/stat'))(
    'a thaw flushes the queue once the queue manager has gone that was asked to reload',
    async () => {
      const log = join(temporary, 'order');
      const spool = join(temporary, 'spool');
      mkdirSync(join(spool, 'pid'), { recursive: true });
      writeFileSync(join(temporary, 'main.cf'), `queue_directory = ${spool}\n`);
      const manager = join(temporary, 'qmgr');
      copyFileSync('/bin/sleep', manager);
      chmodSync(manager, 0o755);
      // A child of this shell, as the queue manager is one of master(8); it goes when it is told to.
      const master = spawn(
        '/bin/sh',
        [
          '-c',
          `"$1" 600 & echo "  $$" > "$2/pid/master.pid"; echo ready; read -r word; echo goes >> "$3"; kill $!; wait $!; sleep 600`,
          'master',
          manager,
          spool,
          log,
        ],
        { detached: true, stdio: ['pipe', 'pipe', 'inherit'] },
      );
      children.push(master);
      await once(master.stdout, 'data');
      standIn('postfix', 'echo "$1" >> "$STATE/order"');
      standIn('postqueue', 'echo "flush" >> "$STATE/order"');
      well(['begin-freeze', '10']);
      well(['postconf', 'freeze', 'relayhost', 'x']);
      const thaw = background(['thaw']);
      const order = () => (existsSync(log) ? readFileSync(log, 'utf8') : '');
      await until(() => order().endsWith('status\n'), 'the thaw comes to the queue');
      master.stdin.write('go\n');
      expect((await thaw.ended).code).toBe(0);
      expect(order()).toBe('reload\nstatus\ngoes\nflush\n');
    },
  );

  it('cut off anywhere, repeated, ends in the original', async () => {
    const scenario = String.raw`
      set -e
      i=0
      while [ $i -lt 3 ]; do
        printf after | "$1" file g replaced "$2/replaced" 644 "$3"
        printf after | "$1" file g made "$2/sub/made" 644 "$3"
        printf ours | "$1" block g block "$2/blocked"
        "$1" tree g tree "$4" "$2/tree"
        "$1" tree g new-tree "$4" "$2/deep/new-tree"
        "$1" stop g unit unit.service
        "$1" undo g
        i=$((i + 1))
      done`;
    const folder = join(temporary, 'etc');
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'replaced'), 'before', { mode: 0o640 });
    writeFileSync(join(folder, 'blocked'), 'a\nb', { mode: 0o600 });
    writeFileSync(join(temporary, 'active-unit.service'), '');
    const staging = join(temporary, 'staging');
    for (const path of [
      join(folder, 'tree'),
      `${staging}${folder}/tree`,
      `${staging}${folder}/deep/new-tree`,
    ]) {
      mkdirSync(join(path, 'below'), { recursive: true });
      writeFileSync(join(path, 'below/file'), path);
    }
    const before = tree(folder);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(400), { minLength: 1, maxLength: 3 }), async (cuts) => {
        for (const milliseconds of cuts) {
          const child = spawn('sh', ['-c', scenario, 'sh', hostctlPath(), folder, me, staging], {
            detached: true,
            stdio: 'ignore',
          });
          children.push(child);
          const ended = new Promise((resolve) => child.on('close', resolve));
          await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, milliseconds))]);
          try {
            if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
          } catch {
            // It had ended.
          }
          await ended;
        }
        well(['undo', 'g']);
        expect(tree(folder)).toEqual(before);
        expect(existsSync(join(base, 'undo/g'))).toBe(false);
        expect(existsSync(join(temporary, 'active-unit.service'))).toBe(true);
      }),
      { numRuns: 12 },
    );
  }, 60_000);
});

describe('what the journal tells of undo records', () => {
  const log = () => readFileSync(join(base, 'undo-log'), 'utf8').split('\n').filter(Boolean);
  const sums = () => well(['undo-sums']).split('\n').filter(Boolean);
  const made = () =>
    log()
      .filter((line) => line.includes(' made '))
      .map((line) => line.replace(' made', ''));
  const file = () => join(temporary, 'etc/some.conf');

  /** Records of every kind of data: text, a file, a tree with a link, nothing. */
  function records(): void {
    writeFileSync(file(), 'before\n', { mode: 0o640 });
    symlinkSync('/nowhere', join(temporary, 'etc/link'));
    const [theirs, staged] = ['', '/staging'].map((at) => join(`${temporary}${at}`, 'etc/tree'));
    for (const folder of [theirs ?? '', `${temporary}/staging${theirs}`]) {
      mkdirSync(join(folder, 'below'), { recursive: true });
      writeFileSync(join(folder, 'below/a b'), folder);
      symlinkSync('a b', join(folder, 'below/link'));
    }
    expect(staged).toBeDefined();
    well(['postconf', 'g', 'relayhost', 'x', 'mynetworks', 'y']);
    well(['file', 'g', 'some', file(), '644', me], 'x');
    well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'x');
    well(['tree', 'g', `${temporary}/staging`, theirs ?? '']);
    well(['stop', 'g', 'stop-a', 'a.service', 'stop-b', 'b.service']);
    well(['block', 'g', 'ours', file()], 'ours');
  }

  it.each(shells)('is a line a record, with what lies there still, under %s', (shell) => {
    install(shell);
    records();
    expect(log().map((line) => line.replace(/[0-9a-f]{64}$/, 'SUM'))).toEqual([
      'g/0000-relayhost made SUM',
      'g/0001-mynetworks made SUM',
      'g/0002-some made SUM',
      'g/0003-link made SUM',
      expect.stringMatching(/^g\/0004-\S+-etc-tree made SUM$/),
      'g/0005-stop-a made SUM',
      'g/0006-stop-b made SUM',
      'g/0007-ours made SUM',
    ]);
    expect(sums()).toEqual(made());
    expect(readdirSync(base).sort()).toEqual(['bin', 'undo', 'undo-log']);
    // By hand, without this program.
    for (const name of readdirSync(join(base, 'undo/g'))) {
      const options = { cwd: join(base, 'undo/g', name), encoding: 'utf8' } as const;
      const { stdout } = spawnSync('sha256sum', ['sum'], options);
      expect(log().join('\n')).toContain(stdout.split(' ')[0]);
      expect(spawnSync('sha256sum', ['-c', 'sum'], options)).toMatchObject({ status: 0 });
    }
  });

  it('is another sum for the same data each time, so that no password can be tried', () => {
    const twice = [0, 1].map(() => {
      well(['record', 'g', 'x', 'kind', 'what'], 'hash of a password');
      const [sum] = sums();
      rmSync(join(base, 'undo/g'), { recursive: true });
      return sum;
    });
    expect(twice[0]).not.toBe(twice[1]);
    expect(readFileSync(join(base, 'undo-log'), 'utf8').match(/made/g)).toHaveLength(2);
  });

  it.each([
    [
      'what was there before',
      (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/before`, 'z'),
    ],
    ['what it is about', (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/what`, 'z')],
    [
      'of which kind it is',
      (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/kind`, 'file'),
    ],
    ['a saved file', (undo: string) => writeFileSync(`${undo}/saved/g-some`, 'z')],
    ['the mode of a saved file', (undo: string) => chmodSync(`${undo}/saved/g-some`, 0o777)],
    [
      'a saved link',
      (undo: string) => {
        rmSync(`${undo}/saved/g-link`);
        symlinkSync('/elsewhere', `${undo}/saved/g-link`);
      },
    ],
    [
      'a file of a saved tree',
      (undo: string) => {
        const [tree = ''] = readdirSync(`${undo}/saved`).filter((name) => name.endsWith('-tree'));
        writeFileSync(`${undo}/saved/${tree}/below/a b`, 'z');
      },
    ],
    [
      'a saved tree, by one file more',
      (undo: string) => {
        const [tree = ''] = readdirSync(`${undo}/saved`).filter((name) => name.endsWith('-tree'));
        writeFileSync(`${undo}/saved/${tree}/new`, '');
      },
    ],
  ])('shows that somebody changed %s, and the undo goes through', (_, change) => {
    records();
    change(join(base, 'undo'));
    const other = sums().filter((line) => !made().includes(line));
    expect(other).toHaveLength(1);
    hostctl(['undo', 'g']);
    const gone = log().filter((line) => line.includes(' gone '));
    expect(gone).toContain(other[0]?.replace(' ', ' gone '));
  });

  it('says what each record held when it was undone, also one by one', () => {
    records();
    const before = made();
    well(['undo-kind', 'g', 'unit']);
    well(['undo-prefix', 'g', 'li']);
    well(['undo-some', 'g', 'ours', 'some']);
    expect(sums()).toHaveLength(3);
    well(['undo', 'g']);
    const lines = log().filter((line) => line.includes(' gone '));
    expect(lines.at(-1)).toMatch(/^g\/\* gone [0-9a-f]{64}$/);
    const gone = lines.slice(0, -1).map((line) => line.replace(' gone', ''));
    const order = [6, 5, 3, 7, 2, 4, 1, 0];
    expect(gone).toEqual(order.map((index) => before[index]));
    expect(sums()).toEqual([]);
    well(['record', 'door', 'x', 'kind', 'what'], 'y');
    const [last] = made().slice(-1);
    well(['clean-up', 'other']);
    expect(log().at(-1)).toBe(last?.replace(' ', ' gone '));
  });

  it('follows a record that we change or move ourselves', () => {
    well(['record', 'g', 'sticky', 'kind', 'homes'], 'a\n');
    well(['put', 'undo/g/0000-sticky/before'], 'a\nb\n');
    expect(made()).toHaveLength(2);
    expect(sums()).toEqual(made().slice(-1));
    mkdirSync(join(base, 'undo/h'));
    execFileSync('mv', [join(base, 'undo/g/0000-sticky'), join(base, 'undo/h/0003-sticky')]);
    well(['record-moved', 'g', '0000-sticky', 'h', '0003-sticky']);
    expect(log().slice(-2)).toEqual([
      'g/0000-sticky gone -',
      `${sums()[0]?.replace(' ', ' made ')}`,
    ]);
  });

  it('is no reason for an undo to stop', () => {
    records();
    // As an older version made it, and where nothing can be written.
    rmSync(join(base, 'undo/g/0000-relayhost/sum'));
    standIn('sha256sum', 'exit 1');
    rmSync(join(base, 'undo-log'));
    mkdirSync(join(base, 'undo-log'));
    well(['undo', 'g']);
    expect(readFileSync(file(), 'utf8')).toBe('before\n');
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
  });

  it('is answered to an append, from the line on that was heard last', () => {
    const append = (text: string, ...more: string[]) => {
      const path = join(base, 'journal.jsonl');
      const bytes = existsSync(path) ? readFileSync(path).length : 0;
      return well(['append', 'journal.jsonl', String(bytes), ...more], text);
    };
    expect(append('1\n', '')).toBe('');
    well(['record', 'g', 'x', 'kind', 'what'], 'y');
    well(['record', 'g', 'y', 'kind', 'what'], 'y');
    const [first = '', second = ''] = log();
    expect(append('2\n')).toBe('');
    expect(append('3\n', '')).toBe(`${first}\n${second}`);
    expect(append('4\n', first)).toBe(second);
    expect(append('5\n', second)).toBe('');
    expect(append('6\n', 'g/0000-z made of another host')).toBe(`${first}\n${second}`);
  });
});

describe('freeze, thaw and release', () => {
  const frozen = () => existsSync(join(base, 'frozen'));
  const freeze = () => {
    writeFileSync(join(temporary, 'active-mail.service'), '');
    well(['lock', 'a', '90', '0']);
    well(['begin-freeze', '30']);
    well(['stop', 'freeze', 'stop-mail', 'mail.service']);
  };

  it('goes on closing nothing once the limit has passed in the middle of it', () => {
    freeze();
    writeFileSync(join(base, 'deadline'), '1');
    expect(well(['thaw-when-due'])).toBe('thawed');
    expect(hostctl(['stop', 'freeze', 'stop-mail', 'mail.service'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('the freeze has reached its limit'),
    });
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('reaches its limit although a command is under way, which is ended', async () => {
    freeze();
    const started = join(temporary, 'started');
    const text = ': > "$1"; while :; do sleep 0.01; done';
    const running = background(['run', '1', 'sh', '-c', text, 'sh', started]);
    await until(() => existsSync(started), 'the command has started');
    expect(well(['thaw-when-due'])).toBe('');
    writeFileSync(join(base, 'deadline'), '1');
    expect(well(['thaw-when-due'])).toBe('thawed');
    expect(frozen()).toBe(false);
    expect(await running.ended).toMatchObject({ code: null });
  }, 60_000);

  it('lets a fenced host send on what still comes to it', () => {
    freeze();
    well(['thaw']);
    writeFileSync(join(base, 'fenced'), '');
    well(['stop', 'freeze', 'stop-mail', 'mail.service']);
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(false);
  });

  it('arms a timer that thaws, and thaw takes everything back', () => {
    freeze();
    expect(frozen()).toBe(true);
    expect(readFileSync(join(temporary, 'units/mail-cutover-example-thaw.timer'), 'utf8')).toMatch(
      /^OnCalendar=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\nOnBootSec=30$/m,
    );
    expect(
      readFileSync(join(temporary, 'units/mail-cutover-example-thaw.service'), 'utf8'),
    ).toContain(`ExecStart=${base}/bin/hostctl thaw-when-due\nRestart=on-failure\n`);
    expect(well(['thaw'])).toBe('thawed');
    expect(frozen()).toBe(false);
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(readFileSync(join(temporary, 'systemctl.log'), 'utf8')).toContain(
      'disable --no-reload --now mail-cutover-example-thaw.timer',
    );
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('releases only what is frozen', () => {
    well(['lock', 'a', '90', '0']);
    expect(hostctl(['release', '1'])).toMatchObject({
      code: 1,
      stderr: 'not frozen (thawed at ?): nothing was released\n',
    });
    freeze();
    well(['thaw']);
    expect(hostctl(['release', '2']).stderr).toMatch(
      /^not frozen \(thawed at 20\S+Z\): nothing was released\n$/,
    );
    expect(existsSync(join(base, 'released'))).toBe(false);
  });

  it('refuses to thaw or to freeze after the release, which may be repeated', () => {
    freeze();
    const when = well(['release', '1']);
    expect(well(['release', '1'])).toBe(when);
    expect(hostctl(['thaw'])).toMatchObject({
      code: 94,
      stderr: `service was handed over at ${when}; use the rollback stage, or activate\n`,
    });
    expect(hostctl(['begin-freeze', '30']).stderr).toBe(
      `service was already handed over at ${when}\n`,
    );
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(false);
  });

  it('refuses a release under an older number', () => {
    freeze();
    expire();
    well(['lock', 'b', '90', '0']);
    expect(hostctl(['release', '1'])).toMatchObject({ code: 91 });
    expect(existsSync(join(base, 'released'))).toBe(false);
  });

  it('either thaws or releases, never both, when both come at once', async () => {
    for (let round = 0; round < 8; round += 1) {
      freeze();
      const number = readFileSync(join(base, 'lock/number'), 'utf8');
      const [thawed, released] = await Promise.all([
        background(['thaw']).ended,
        background(['release', number]).ended,
      ]);
      expect([thawed.code === 0, released.code === 0].sort()).toEqual([false, true]);
      expect(existsSync(join(temporary, 'active-mail.service'))).toBe(thawed.code === 0);
      expect(existsSync(join(base, 'released'))).toBe(released.code === 0);
      rmSync(join(base, 'released'), { force: true });
      rmSync(join(base, 'undo'), { recursive: true, force: true });
    }
  }, 30_000);

  it('is owner or has released, never both, and takes only when it no longer forwards', () => {
    const marks = () =>
      ['owner', 'released', 'forwarding'].filter((mark) => existsSync(join(base, mark)));
    freeze();
    expect(hostctl(['begin-forward', 'mail-cutover:[other]']).stderr).toContain('must not forward');
    well(['release', '1']);
    expect(marks()).toEqual(['released']);
    well(['begin-forward', 'mail-cutover:[other]']);
    expect(hostctl(['take', '1']).stderr).toContain('still forwards');
    expect(hostctl(['dismantle']).stderr).toContain('is not fenced');
    well(['remove', 'forwarding']);
    well(['take', '1']);
    well(['take', '1']);
    expect(marks()).toEqual(['owner']);
    expect(well(['thaw'])).toBe('thawed');
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    freeze();
    const [number] = [readFileSync(join(base, 'lock/number'), 'utf8')];
    well(['release', number]);
    expect(marks()).toEqual(['released']);
    expect(hostctl(['take', '1'])).toMatchObject({ code: 91 });
  });

  it('says in one line why mail stands still, and nothing when it does not', () => {
    expect(well(['greeting'])).toBe('');
    freeze();
    expect(well(['greeting'])).toMatch(/mailboxes are frozen until \d{4}-/);
    well(['release', '1']);
    expect(well(['greeting'])).toContain('mail has moved to the other host');
  });

  it('takes the lock from a holder that is told to be dead', () => {
    expect(well(['lock', 'a', '90', '0'])).toBe('1');
    expect(hostctl(['lock', 'b', '90', '0'])).toMatchObject({ code: 90 });
    expect(well(['lock', 'b', '90', '0', 'force'])).toBe('2');
    expect(hostctl(['run', '1', 'true'])).toMatchObject({ code: 91 });
  });

  it('lets a thaw that was cut off half-way be finished, and no release come between', () => {
    freeze();
    writeFileSync(join(temporary, 'fails-mail.service'), '');
    expect(hostctl(['thaw']).code).not.toBe(0);
    expect(hostctl(['release', '1'])).toMatchObject({ code: 1 });
    rmSync(join(temporary, 'fails-mail.service'));
    expect(well(['thaw'])).toBe('thawed');
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(well(['thaw'])).toBe('not frozen');
  });
});

describe('small files', () => {
  it('appends only to what the writer believes is there, else 92', () => {
    well(['append', 'journal.jsonl', '0'], 'ä\n');
    well(['append', 'journal.jsonl', '3'], 'b\n');
    expect(hostctl(['append', 'journal.jsonl', '3'], 'c\n')).toMatchObject({
      code: 92,
      stderr: 'journal.jsonl has 5 bytes, not 3: somebody else wrote to it\n',
    });
    expect(readFileSync(join(base, 'journal.jsonl'), 'utf8')).toBe('ä\nb\n');
  });

  it('appends a line longer than a pipe holds', () => {
    const line = `${'x'.repeat(300_000)}\n`;
    well(['append', 'journal.jsonl', '0'], line);
    expect(readFileSync(join(base, 'journal.jsonl'), 'utf8') === line).toBe(true);
  });

  it('writes and removes, readable by nobody else', () => {
    well(['put', 'owner'], 'x');
    expect(lstatSync(join(base, 'owner')).mode & 0o777).toBe(0o600);
    well(['put', 'owner'], 'y');
    expect(readFileSync(join(base, 'owner'), 'utf8')).toBe('y');
    well(['remove', 'owner']);
    well(['remove', 'owner']);
    expect(readdirSync(dirname(hostctlPath()))).toEqual(['hostctl']);
    expect(readdirSync(base)).toEqual(['bin']);
  });
});
