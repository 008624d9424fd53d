import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Background,
  background,
  base,
  type Ended,
  exchanged,
  expire,
  hostctl,
  hostctlPath,
  install,
  setUpHostctl,
  temporary,
  until,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

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
  });

  it('is taken from a holder that is told to be dead', () => {
    expect(well(['lock', 'a', '90', '0'])).toBe('1');
    expect(hostctl(['lock', 'b', '90', '0'])).toMatchObject({ code: 90 });
    expect(well(['lock', 'b', '90', '0', 'force'])).toBe('2');
    expect(hostctl(['run', '1', 'true'])).toMatchObject({ code: 91 });
  });

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

  /** Whether the program sleeps between two looks. */
  function isWaiting(pid = 0): boolean {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    return child !== '' && readFileSync(`/proc/${child}/comm`, 'utf8') === 'sleep\n';
  }

  /** The end of a live pass, and another command that is called alike, both under the lock 1. */
  async function passAndOther() {
    const go = join(temporary, 'go');
    const started = ['mirror.pl', 'another.pl'].map((program) => {
      const text = `: > "$2"; while [ ! -e "$3" ]; do sleep 0.01; done`;
      const words = ['sh', '-c', text, program, 'receive', join(temporary, program), go];
      return background(['run', '1', ...words]).ended;
    });
    for (const name of ['mirror.pl', 'another.pl'])
      await until(() => existsSync(join(temporary, name)), `${name} has started`);
    const [pass, other] = started as [Promise<Ended>, Promise<Ended>];
    return { pass, other, end: () => writeFileSync(go, '') };
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
    const { pass, other, end } = await passAndOther();
    well(['run', '1', hostctlPath(), 'end-passes']);
    expect(await pass).toMatchObject({ code: null });
    end();
    expect(await other).toMatchObject({ code: 0 });
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

  it('ends what its holder had begun and does not end, but no pass', async () => {
    install('/bin/sh', (text) => exchanged(text, 'end=$(($(now) + 60))', 'end=$(($(now) + 0))'));
    well(['lock', 'a', '90', '0']);
    const { pass, other, end } = await passAndOther();
    well(['settled', '1']);
    expect(await other).toMatchObject({ code: null });
    end();
    expect(await pass).toMatchObject({ code: 0 });
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
