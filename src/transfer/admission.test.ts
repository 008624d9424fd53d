import { spawnSync } from 'node:child_process';
import {
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
import { admit, renewal } from './admission.ts';

let temporary: string;
const keys = () => join(temporary, 'ssh/authorized_keys');

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'admission-'));
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

/** On this machine, with root's folder elsewhere. */
function run({ argv }: Command): void {
  const [program = '', ...args] = argv.map((word) =>
    word.replaceAll('/root/.ssh', join(temporary, 'ssh')),
  );
  const env = { ...process.env, HOSTCTL_LOCK: '12' };
  const { status, stderr } = spawnSync(program, args, { env, encoding: 'utf8' });
  if (status !== 0 || stderr !== '') throw new Error(`exit code ${status}: ${stderr}`);
}

const admission = (migration: string) => ({
  migration,
  addresses: '192.0.2.1,2001:db8::1',
  publicKey: `ssh-ed25519 AAAA mail-cutover ${migration} pass`,
  command: 'exec sh /run/x/forced-command',
});

describe('the line of a pass', () => {
  it('lets in from there, for a while, to one thing; and stands once', () => {
    mkdirSync(join(temporary, 'ssh'));
    writeFileSync(keys(), 'ssh-ed25519 BBBB another\n');
    for (let turn = 0; turn < 2; turn += 1) run(admit(admission('m'), 'test'));
    expect(readFileSync(keys(), 'utf8')).toMatch(
      /^ssh-ed25519 BBBB another\nrestrict,from="192\.0\.2\.1,2001:db8::1",expiry-time="\d{14}Z",command="exec sh \/run\/x\/forced-command" ssh-ed25519 AAAA mail-cutover m pass\n$/,
    );
  });

  it('is renewed alone, and the target works under the lock of who renews it', () => {
    for (const name of ['m', 'mm']) run(admit(admission(name), 'test'));
    const old = readFileSync(keys(), 'utf8').replaceAll(/\d{14}Z/g, '20200101000000Z');
    writeFileSync(keys(), old);
    writeFileSync(join(temporary, 'lock'), '5\n');
    run(renewal(temporary, 'm'));
    const [renewed = '', other = ''] = readFileSync(keys(), 'utf8').split('\n');
    expect(renewed.replace(/\d{14}Z/, '20200101000000Z')).toBe(old.split('\n')[0]);
    expect(renewed).not.toContain('20200101000000Z');
    expect(other).toBe(old.split('\n')[1]);
    expect(readFileSync(join(temporary, 'lock'), 'utf8')).toBe('12\n');
    expect(readdirSync(join(temporary, 'ssh'))).toEqual(['authorized_keys']);
  });

  it('keeps what else is there, and a link that leads there', () => {
    mkdirSync(join(temporary, 'ssh'));
    const elsewhere = join(temporary, 'keys');
    writeFileSync(elsewhere, 'ssh-ed25519 BBBB another\n');
    symlinkSync(elsewhere, keys());
    run(admit(admission('m'), 'test'));
    run(renewal(temporary, 'm'));
    expect(readFileSync(elsewhere, 'utf8')).toMatch(
      /^ssh-ed25519 BBBB another\nrestrict,.* m pass\n$/,
    );
    expect(readlinkSync(keys())).toBe(elsewhere);
    expect(readdirSync(temporary).sort()).toEqual(['keys', 'ssh']);
  });

  it('is not made by a renewal where there is none', () => {
    run(renewal(temporary, 'm'));
    expect(readdirSync(temporary)).toEqual([]);
  });
});
