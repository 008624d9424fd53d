import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { qmailProgram } from './host-program.ts';

/*
 * The real program, with a service and a proc(5) of its own in a temporary folder, and a stand-in for svc.
 */

let temporary: string;
let children: ChildProcess[];

beforeEach(() => {
  children = [];
  temporary = realpathSync(mkdtempSync(join(tmpdir(), 'qmail-services-')));
  mkdirSync(join(temporary, 'proc/net'), { recursive: true });
  write('service/qmail-send/run', '#!/bin/sh\nexec qmail-start ./Maildir/\n', 0o755);
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(temporary, { recursive: true, force: true });
});

function write(path: string, text: string | Buffer, mode = 0o644): void {
  const file = join(temporary, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
}

const told = () => {
  const log = join(temporary, 'told');
  return existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [];
};

/** `limit`: how many seconds the program waits for a qmail-send that takes signals. */
function qmailctl(words: readonly string[], limit = 60) {
  let text = qmailProgram;
  for (const [from, to] of [
    ['/proc/', `${temporary}/proc/`],
    ['PATH=/usr/local/sbin:', `PATH=${temporary}/bin:`],
    ['/service /etc/service /var/service /etc/sv/enabled', `${temporary}/service`],
    ['/run/systemd/system', `${temporary}/no-systemd`],
    ['$(date +%s) + 60', `$(date +%s) + ${limit}`],
  ] as const) {
    expect(text.split(from).length, `the program says ${from}`).toBeGreaterThan(1);
    text = text.replaceAll(from, to);
  }
  const { status, stdout, stderr } = spawnSync('sh', ['-s', '--', ...words], {
    input: text,
    env: { MAIL_CUTOVER_BASE: join(temporary, 'base') },
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, stdout, stderr };
}

describe('signals to qmail-send', () => {
  const start = 'SigCgt:\t0000000000000000\n';
  /** TERM, ALRM and HUP, as qmail-send(8) catches them. */
  const ready = 'SigCgt:\t0000000000006001\n';

  /** supervise/status of daemontools and runit. */
  function status(pid: number, want: 'u' | 'd'): Buffer {
    const bytes = Buffer.alloc(18);
    bytes.writeUInt32LE(pid, 12);
    bytes.write(want, 17);
    return bytes;
  }

  /** Process 200 follows when 100 is told to end; it takes signals a second after it has begun. */
  function supervised(now: Buffer, becomes: string): void {
    write('service/qmail-send/supervise/status', now);
    write('next', status(200, 'u'));
    write('proc/100/status', ready);
    write('proc/200/status', start);
    write(
      'bin/svc',
      `#!/bin/sh
cd ${temporary}
printf '%s %s' "$1" "$(cat proc/200/status)" >> told; echo >> told
case $1 in -t)
  mv next service/qmail-send/supervise/status
  { sleep 1; printf '${becomes}' > proc/200/status; } > /dev/null 2>&1 & ;;
esac
`,
      0o755,
    );
  }

  it('wait until a new one catches them: before that ALRM ends what is to become of it', () => {
    supervised(status(100, 'u'), ready);
    write('base/restart', '');
    expect(qmailctl(['hook', 'thawed'])).toMatchObject({ status: 0, stderr: '' });
    expect(told()).toEqual([`-t ${start.trim()}`, `-a ${ready.trim()}`]);
  });

  it('are not sent to one that never does, and that is said', () => {
    supervised(status(100, 'u'), 'SigCgt:\\t0000000000004000\\n');
    const { status: code, stderr } = qmailctl(['restart', 'send'], 3);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/qmail-send: no qmail-send that takes signals .*\(process 200\)/),
    ]);
    expect(qmailctl(['alrm'], 1).status).toBe(1);
    expect(told()).toEqual([`-t ${start.trim()}`]);
  });

  it('reach the next one where a thaw was cut off between two', () => {
    supervised(status(0, 'u'), ready);
    write('proc/200/status', ready);
    write('base/restart', '');
    const file = join(temporary, 'service/qmail-send/supervise/status');
    children.push(
      spawn('sh', ['-c', 'sleep 1; mv "$1" "$2"', 'sh', join(temporary, 'next'), file]),
    );
    expect(qmailctl(['hook', 'thawed'])).toMatchObject({ status: 0, stderr: '' });
    expect(told()).toEqual([`-a ${ready.trim()}`]);
    expect(qmailctl(['hook', 'thawed'])).toMatchObject({ status: 0, stderr: '' });
    expect(told()).toEqual([`-a ${ready.trim()}`, `-a ${ready.trim()}`]);
  });

  it('are not waited for where it is down, or closed by us', () => {
    supervised(status(0, 'd'), ready);
    expect(qmailctl(['alrm'], 1)).toMatchObject({ status: 0, stderr: '' });
    supervised(status(200, 'u'), ready);
    write(
      'service/qmail-send/run',
      '#!/bin/sh\n# mail-cutover orchard: closed while mail is moved. qmail-start\nexec sleep 86400\n',
    );
    for (const words of [['alrm'], ['hup'], ['restart', 'send']])
      expect(qmailctl(words, 1)).toMatchObject({ status: 0, stderr: '' });
    // Opened again, and what it ran while it was closed goes on.
    write('service/qmail-send/run', '#!/bin/sh\nexec qmail-start ./Maildir/\n');
    write('proc/200/comm', 'sleep\n');
    write('proc/200/status', start);
    expect(qmailctl(['alrm'], 1)).toMatchObject({ status: 0, stderr: '' });
    expect(told()).toEqual([]);
  });
});

describe('what still takes mail', () => {
  const listens = '00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11';
  const connected = (inode: number, port = '0019') =>
    `0100007F:${port} 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 ${inode}`;

  function running(pid: number, comm: string, sockets: readonly number[] = [], state = 'S'): void {
    write(`proc/${pid}/stat`, `${pid} (${comm}) ${state} 1 1 1 0\n`);
    mkdirSync(join(temporary, `proc/${pid}/fd`));
    for (const [fd, inode] of sockets.entries())
      symlinkSync(`socket:[${inode}]`, join(temporary, `proc/${pid}/fd/${fd}`));
  }

  beforeEach(() => {
    const lines = [listens, connected(12), connected(13), connected(14, '006E'), connected(0)];
    const text = lines.map((line, index) => `   ${index}: ${line} 1 0\n`).join('');
    write('proc/net/tcp', `  sl  local_address rem_address st tx_queue inode\n${text}`);
  });

  it('are qmail-smtpd, qmail-queue, and what is about to be one, and nobody else', () => {
    running(1, 'systemd', [12]);
    running(20, 'tcpserver', [11]);
    running(21, 'tcpserver', [12]);
    running(22, 'haproxy', [11, 13]);
    running(23, 'qmail-pop3d', [14]);
    running(24, 'qmail-smtpd');
    running(25, 'qmail-queue');
    running(26, 'qmail-smtpd', [], 'Z');
    running(27, 'qmail-send', [99]);
    const { status, stdout, stderr } = qmailctl(['arriving']);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout.trim().split('\n').sort()).toEqual([
      '21 tcpserver',
      '24 qmail-smtpd',
      '25 qmail-queue',
    ]);
  });

  it('may end by itself, and is ended when it does not', async () => {
    const child = spawn(
      'sh',
      ['-c', 'trap \'rm -r "$1"; exit\' TERM; echo; while :; do sleep 0.1; done', 'sh', 'proc'],
      { cwd: temporary, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    children.push(child);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    running(child.pid ?? 0, 'qmail-smtpd');
    const began = performance.now();
    expect(qmailctl(['end-arriving', '2'])).toMatchObject({ status: 0, stderr: '' });
    expect(performance.now() - began).toBeGreaterThan(1000);
    expect(existsSync(join(temporary, 'proc'))).toBe(false);
    mkdirSync(join(temporary, 'proc'));
    expect(qmailctl(['end-arriving', '2'])).toMatchObject({ status: 0, stderr: '' });
  });
});
