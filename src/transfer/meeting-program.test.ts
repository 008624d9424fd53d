import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { meetingProgram } from './meeting-program.ts';

let folder: string;
let program: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meeting-'));
  program = join(folder, 'meet.pl');
  writeFileSync(program, meetingProgram);
  writeFileSync(join(folder, 'key'), '');
  writeFileSync(
    join(folder, 'forced-command'),
    `case $SSH_ORIGINAL_COMMAND in
       'say back') exec cat ;;
       'fail 3') cat > /dev/null; exit 3 ;;
       'last word') printf last; exit 0 ;;
       *) printf 'asked: %s' "$SSH_ORIGINAL_COMMAND" ;;
     esac`,
  );
});

afterEach(() => {
  if (existsSync(pidFile())) end();
  rmSync(folder, { recursive: true, force: true });
});

const pidFile = () => join(folder, 'answer.pid');
const waiting = () => readdirSync(folder).filter((name) => name.startsWith('waiting.'));

function end(): void {
  try {
    process.kill(Number(readFileSync(pidFile(), 'utf8')), 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isAlive(): boolean {
  return existsSync(`/proc/${readFileSync(pidFile(), 'utf8').trim()}/exe`);
}

/** In place of ssh(1): the forced command, started here. */
function answer(...ssh: readonly string[]) {
  const words = ssh.length > 0 ? ssh : ['perl', program, 'wait', folder];
  // A file, as on a host: the connection that waits keeps standard error.
  const said = openSync(join(folder, 'fault'), 'w');
  const all = [program, 'answer', folder, ...words];
  const { status } = spawnSync('perl', all, { stdio: ['ignore', 'ignore', said] });
  return { status, stderr: readFileSync(join(folder, 'fault'), 'utf8') };
}

function call(words: readonly string[], input: Buffer | string = '') {
  const options = { input, maxBuffer: 1e9 };
  return spawnSync('perl', [program, 'call', folder, 'host', ...words], options);
}

describe('a call over a connection that the other side has opened', () => {
  it('finds the forced command with the words that it was made with', () => {
    expect(answer().status).toBe(0);
    const { status, stdout } = call(['rsync', '--server', '.']);
    expect([status, stdout.toString()]).toEqual([0, 'asked: rsync --server .']);
  });

  it('carries much in both directions at once', () => {
    answer();
    const much = randomBytes(5_000_000);
    expect(call(['say', 'back'], much).stdout.equals(much)).toBe(true);
  });

  it('ends with the exit code of the forced command', () => {
    answer();
    expect(call(['fail', '3'], 'text').status).toBe(3);
    expect(call(['last', 'word']).stdout.toString()).toBe('last');
  });

  it('ends when the forced command ends, although there is more to say', async () => {
    answer();
    const child = spawn('perl', [program, 'call', folder, 'host', 'last', 'word']);
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('may be one of several', async () => {
    answer();
    const calls = Array.from({ length: 4 }, () =>
      spawn('perl', [program, 'call', folder, 'host', 'say', 'back'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    for (const [index, { stdin }] of calls.entries()) stdin?.write(`I am ${index}`);
    const heard = await Promise.all(
      calls.map(async ({ stdout }) => String((await once(stdout, 'data'))[0])),
    );
    expect(heard).toEqual(['I am 0', 'I am 1', 'I am 2', 'I am 3']);
    for (const { stdin } of calls) stdin?.end();
    await Promise.all(calls.map((child: ChildProcess) => once(child, 'exit')));
  });

  it('goes on when no further ones are answered', async () => {
    answer();
    const child = spawn('perl', [program, 'call', folder, 'host', 'say', 'back']);
    child.stdin.write('before');
    await once(child.stdout, 'data');
    await vi.waitFor(() => expect(waiting()).toHaveLength(1));
    end();
    await vi.waitFor(() => expect(isAlive()).toBe(false));
    child.stdin.write('after');
    expect(String((await once(child.stdout, 'data'))[0])).toBe('after');
    child.stdin.end();
    await once(child, 'exit');
  });

  it('ends, as with ssh, with 255 when the connection is lost', async () => {
    const carrier = join(folder, 'carrier');
    writeFileSync(carrier, 'echo $$ >> "$1/carriers"; exec perl "$1/meet.pl" wait "$1"');
    answer('setsid', '--wait', 'sh', carrier, folder);
    const child = spawn('perl', [program, 'call', folder, 'host', 'say', 'back']);
    child.stdin.write('before');
    await once(child.stdout, 'data');
    const [first = ''] = readFileSync(join(folder, 'carriers'), 'utf8').split('\n');
    process.kill(-Number(first), 'SIGKILL');
    expect((await once(child, 'exit'))[0]).toBe(255);
  });

  it('is never answered where the other side says nothing', async () => {
    writeFileSync(program, meetingProgram.replace('$opening = 30;', '$opening = 1;'));
    const { status, stderr } = answer('sleep', '60');
    expect([status, stderr]).toEqual([5, 'no word from the other side\n']);
    await vi.waitFor(() => expect(isAlive()).toBe(false));
  });

  it('is never answered where no connection could be made', () => {
    const { status, stderr } = answer('sh', '-c', 'echo refused >&2; exit 255');
    expect([status, stderr]).toEqual([5, 'refused\n']);
  });
});
