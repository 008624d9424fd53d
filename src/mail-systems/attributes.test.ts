import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { attributesInStores } from './attributes.ts';

/** The real program on this machine, on attributes that setxattr(2) has set. */
const setXattr = String.raw`
my %numbers = ("x86_64" => 188, "aarch64" => 5, "riscv64" => 5);
my ($path, $name, $value) = ($ARGV[0], $ARGV[1], pack "H*", $ARGV[2]);
exit(syscall($numbers{(split /-/, $ARGV[3])[0]}, $path, $name, $value, length $value, 0) == 0 ? 0 : 1)`;
const machine = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
const set = (path: string, name: string, hex: string) =>
  spawnSync('perl', ['-e', setXattr, path, name, hex, machine]).status === 0;

/** acl(5): the owner rw, user 1000 r, the group nothing, the mask rw, others nothing. */
const acl = [
  '02000000',
  ...['01000600ffffffff', '02000400e8030000', '04000000ffffffff'],
  ...['10000600ffffffff', '20000000ffffffff'],
].join('');

let temporary: string;
let store: string;

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'attributes-'));
  store = join(temporary, 'vmail');
  mkdirSync(join(store, 'a.org/anna/cur'), { recursive: true });
  writeFileSync(join(store, 'a.org/anna/cur/1\n.M1'), 'x');
});

afterEach(() => rmSync(temporary, { recursive: true, force: true }));

const host = {
  label: 'OLD',
  async read({ argv: [program = '', ...args], stdin }: Command) {
    const { status, stdout, stderr } = spawnSync(program, args, { input: stdin ?? '' });
    if (status !== 0) throw new Error(`exit code ${status}: ${stderr}`);
    return { code: 0, signal: undefined, stdout, stderr: stderr.toString('utf8') };
  },
} as unknown as MailHost;

const found = async (path = store) =>
  (await attributesInStores(host, [path])).map((one) => one.text);

const canSet = () => set(join(store, 'a.org'), 'user.x', '00');

describe('what no pass copies', () => {
  it('is not found where there is none', async () => {
    expect(await found()).toEqual([]);
  });

  it('is found by an ACL and by an attribute, also through a link', async (test) => {
    test.skip(
      !canSet() || !set(join(store, 'a.org/anna/cur/1\n.M1'), 'system.posix_acl_access', acl),
    );
    const texts = [
      `OLD: 1 of 5 folders and files looked at in the stores have an ACL (${store}/a.org/anna/cur/1\\n.M1), and ACLs`,
      `OLD: 1 of 5 folders and files looked at in the stores have extended attributes (${store}/a.org), which`,
    ];
    expect(await found()).toEqual(texts.map((text) => expect.stringContaining(text)));
    symlinkSync('vmail', join(temporary, 'link'));
    expect(await found(join(temporary, 'link'))).toHaveLength(2);
  });

  it('is looked for in a sample of a large store, and not for long', async (test) => {
    test.skip(!canSet());
    execFileSync('sh', [
      '-c',
      'cd "$1"; for box in $(seq 120); do mkdir "a.org/$box"; (cd "a.org/$box"; seq 200 | xargs touch); done',
      ...['sh', store],
    ]);
    const before = performance.now();
    expect(await found()).toEqual([expect.stringMatching(/^OLD: 1 of [45]\d\d\d folders/)]);
    expect(performance.now() - before).toBeLessThan(10_000);
  });
});
