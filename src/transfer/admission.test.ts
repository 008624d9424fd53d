import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Command } from '../hosts/command.ts';
import { admit, leaseIsOver, renewal } from './admission.ts';

let temporary: string;
const keys = () => join(temporary, 'ssh/authorized_keys');

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'admission-'));
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

/** A stand-in for sshd, which begins its usage as that version does; or says nothing of the kind. */
function install(says: string): void {
  mkdirSync(join(temporary, 'bin'), { recursive: true });
  const program = join(temporary, 'bin/sshd');
  writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' 'unknown option -- ?' '${says}' >&2; exit 1\n`);
  chmodSync(program, 0o755);
}

const bookworm = 'OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.16 11 Feb 2025';

/** On this machine, with root's folder elsewhere. */
function run({ argv }: Command): void {
  const [program = '', ...args] = argv.map((word) =>
    word.replaceAll('/root/.ssh', join(temporary, 'ssh')),
  );
  const path = `${join(temporary, 'bin')}:${process.env['PATH']}`;
  const env = { ...process.env, HOSTCTL_LOCK: '12', PATH: path };
  const { status, stderr } = spawnSync(program, args, { env, encoding: 'utf8' });
  if (status !== 0 || stderr !== '') throw new Error(`exit code ${status}: ${stderr}`);
}

const folder = () => join(temporary, 'pass');

const admission = (migration: string) => ({
  migration,
  folder: folder(),
  addresses: '192.0.2.1,2001:db8::1',
  publicKey: `ssh-ed25519 AAAA mail-cutover ${migration} pass`,
  command: 'echo let in',
});

beforeEach(() => {
  mkdirSync(folder());
  install(bookworm);
});

/** What the line of the keys' file starts, as sshd does it. */
function knock() {
  const command = /command="([^"]*)"/.exec(readFileSync(keys(), 'utf8'))?.[1] ?? '';
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const oldest =
  /^no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-pty,no-user-rc,from="[0-9a-f.:,]+",command="/;
const middle = /^restrict,from="[0-9a-f.:,]+",command="/;

describe('the line of a pass', () => {
  it('lets in from there, for a while, to one thing; and stands once', () => {
    mkdirSync(join(temporary, 'ssh'));
    writeFileSync(keys(), 'ssh-ed25519 BBBB another\n');
    for (let turn = 0; turn < 2; turn += 1) run(admit(admission('m'), 'test'));
    const line =
      /^ssh-ed25519 BBBB another\nrestrict,from="192\.0\.2\.1,2001:db8::1",expiry-time="\d{14}Z",command="exec sh (\S+)\/door \1 echo let in" ssh-ed25519 AAAA mail-cutover m pass\n$/;
    expect(readFileSync(keys(), 'utf8')).toMatch(line);
  });

  it.each([
    ['OpenSSH_6.7p1 Debian-5+deb8u8, OpenSSL 1.0.1t  3 May 2016', oldest],
    ['OpenSSH_7.2p2 Ubuntu-4, OpenSSL 1.0.2g-fips  1 Mar 2016', middle],
    ['OpenSSH_7.4p1, OpenSSL 1.0.2k-fips  26 Jan 2017', middle],
    ['OpenSSH_7.6p1 Ubuntu-4, OpenSSL 1.0.2n  7 Dec 2017', middle],
    ['OpenSSH_8.4p1 Debian-5+deb11u3, OpenSSL 1.1.1w  11 Sep 2023', /,expiry-time="\d{14}",/],
    ['OpenSSH_9.0p1, OpenSSL 3.0.7', /,expiry-time="\d{14}",/],
    [bookworm, /,expiry-time="\d{14}Z",/],
    ['OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1 1 Jul 2025', /,expiry-time="\d{14}Z",/],
    ['a server of another kind 9.9', oldest],
  ])('has only words that sshd knows there: %s', (says, words) => {
    install(says);
    for (const command of [admit(admission('m'), 'test'), renewal(folder(), 'm')]) {
      run(command);
      expect(readFileSync(keys(), 'utf8')).toEqual(expect.stringMatching(words));
    }
    expect(knock()).toMatchObject({ status: 0, stdout: 'let in\n' });
  });

  it('is renewed alone, and the target works under the lock of who renews it', () => {
    for (const name of ['m', 'mm']) run(admit(admission(name), 'test'));
    const old = readFileSync(keys(), 'utf8').replaceAll(/\d{14}Z/g, '20200101000000Z');
    writeFileSync(keys(), old);
    writeFileSync(join(folder(), 'lock'), '5\n');
    run(renewal(folder(), 'm'));
    const [renewed = '', other = ''] = readFileSync(keys(), 'utf8').split('\n');
    expect(renewed.replace(/\d{14}Z/, '20200101000000Z')).toBe(old.split('\n')[0]);
    expect(renewed).not.toContain('20200101000000Z');
    expect(other).toBe(old.split('\n')[1]);
    expect(readFileSync(join(folder(), 'lock'), 'utf8')).toBe('12\n');
    expect(readdirSync(join(temporary, 'ssh'))).toEqual(['authorized_keys']);
  });

  it('keeps what else is there, and a link that leads there', () => {
    mkdirSync(join(temporary, 'ssh'));
    const elsewhere = join(temporary, 'keys');
    writeFileSync(elsewhere, 'ssh-ed25519 BBBB another\n');
    symlinkSync(elsewhere, keys());
    run(admit(admission('m'), 'test'));
    run(renewal(folder(), 'm'));
    expect(readFileSync(elsewhere, 'utf8')).toMatch(
      /^ssh-ed25519 BBBB another\nrestrict,.* m pass\n$/,
    );
    expect(readlinkSync(keys())).toBe(elsewhere);
    expect(readdirSync(temporary).sort()).toEqual(['bin', 'keys', 'pass', 'ssh']);
  });

  it('is not made by a renewal where there is none', () => {
    run(renewal(folder(), 'm'));
    expect(readdirSync(temporary).sort()).toEqual(['bin', 'pass']);
    expect(readdirSync(folder())).toEqual([]);
  });
});

describe('the door', () => {
  const isOver = {
    status: leaseIsOver,
    stdout: '',
    stderr: 'mail-cutover: the lease of the key of this pass is over\n',
  };
  const lease = () => join(folder(), 'lease');
  const uptime = () => Number.parseInt(readFileSync('/proc/uptime', 'utf8'), 10);

  beforeEach(() => run(admit(admission('m'), 'test')));

  it('is open for half an hour', () => {
    const seconds = Number(readFileSync(lease(), 'utf8')) - uptime();
    expect(seconds).toBeGreaterThan(1790);
    expect(seconds).toBeLessThanOrEqual(1800);
    expect(knock()).toEqual({ status: 0, stdout: 'let in\n', stderr: '' });
  });

  it('is closed when the lease is over, until it is renewed', () => {
    writeFileSync(lease(), `${uptime()}\n`);
    expect(knock()).toEqual(isOver);
    run(renewal(folder(), 'm'));
    expect(knock()).toMatchObject({ status: 0 });
  });

  it.each(['', 'soon\n', '99999999999999999999999999\n', '1e99\n'])(
    'is closed where the lease is %j',
    (text) => {
      writeFileSync(lease(), text);
      expect(knock()).toEqual(isOver);
    },
  );

  it('is closed where there is no lease', () => {
    rmSync(lease());
    expect(knock()).toEqual(isOver);
  });
});
