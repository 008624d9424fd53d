import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Command, Result } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { mountsInStores } from './mounts.ts';
import { eraseStores } from './postfix-dovecot/finish.ts';
import { room, usage } from './room.ts';
import { proveStill } from './stillness.ts';

/*
 * Real file systems, in a mount namespace that a sleeping process holds: they are gone with it. OLD sees
 * the machine as it is, NEW what is mounted there.
 */

const canMount =
  spawnSync('unshare', ['-m', '--propagation', 'private', 'mount', '-t', 'tmpfs', 'x', '/mnt'])
    .status === 0;

let temporary: string;
let store: string;
let holder: ChildProcess;

class LocalHost {
  readonly role: 'old' | 'new';
  readonly label: string;
  constructor(role: 'old' | 'new') {
    this.role = role;
    this.label = role.toUpperCase();
  }
  change(toRun: Command): Promise<Result> {
    return this.read(toRun);
  }
  async read({ argv }: Command): Promise<Result> {
    const words = this.role === 'old' ? argv : ['nsenter', `-m/proc/${holder.pid}/ns/mnt`, ...argv];
    const [program = '', ...args] = words;
    const { status, stdout, stderr } = spawnSync(program, args);
    if (status !== 0) throw new Error(`exit code ${status}: ${stderr}`);
    return { code: 0, signal: undefined, stdout, stderr: stderr.toString('utf8') };
  }
}
const old = new LocalHost('old') as unknown as MailHost;
const target = new LocalHost('new') as unknown as MailHost;

/** On NEW a file system at each path, one after the other, of so many KiB. */
async function mounted(...all: readonly (readonly [path: string, kib: number])[]): Promise<void> {
  const text = `set -e
    while [ $# -gt 0 ]; do mkdir -p "$1"; mount -t tmpfs -o "size=\${2}k" x "$1"; shift 2; done
    echo ready
    exec sleep 600`;
  const words = [
    '-m',
    '--propagation',
    'private',
    'sh',
    '-c',
    text,
    'sh',
    ...all.flat().map(String),
  ];
  holder = spawn('unshare', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout ?? holder, 'data');
}

describe.skipIf(!canMount)('file systems in a store', () => {
  beforeEach(() => {
    temporary = realpathSync(mkdtempSync(join(tmpdir(), 'mounts-')));
    store = join(temporary, 'vmail');
    for (const domain of ['a.org', 'b org\\x'])
      mkdirSync(join(store, domain, 'cur'), { recursive: true });
    for (let index = 0; index < 64; index += 1)
      writeFileSync(join(store, 'a.org/cur', `${index}`), Buffer.alloc(16384, 1));
    writeFileSync(join(store, 'b org\\x/cur/1'), Buffer.alloc(16384, 1));
  });

  afterEach(() => {
    holder.kill();
    rmSync(temporary, { recursive: true, force: true });
  });

  it('are named, also where the store is a link', async () => {
    await mounted([join(store, 'a.org'), 1024], [join(store, 'b org\\x'), 1024]);
    const link = join(temporary, 'link');
    symlinkSync('vmail', link);
    expect(await mountsInStores(old, target, [store])).toEqual([
      {
        severity: 'tells',
        text: `NEW: file systems of their own in the store ${store}: ${store}/a.org (tmpfs), ${store}/b org\\x (tmpfs); what belongs there is written to them`,
        cure: '',
      },
    ]);
    const [found] = await mountsInStores(target, old, [link]);
    expect(found?.text).toContain(`${link}/a.org (tmpfs), `);
    expect(found?.text).toMatch(/they are copied too, but freeze does not make that store read/);
  });

  it('are refused where others may write', async () => {
    await mounted([join(store, 'a.org'), 1024]);
    const answer = await target.read({ argv: ['cat', '/proc/self/mountinfo'] });
    const text = answer.stdout.toString('latin1').replaceAll(' - tmpfs x ', ' - nfs4 x ');
    const stdout = Buffer.from(`${store}\0${text}`, 'latin1');
    const elsewhere = {
      ...target,
      read: async () => ({ ...answer, stdout }),
    } as unknown as MailHost;
    const [found] = await mountsInStores(elsewhere, old, [store]);
    expect(found?.severity).toBe('blocks');
    expect(found?.text).toMatch(/lies .*\/a\.org \(nfs4\), where this suite can't tell/);
  });

  it.each([
    [64, 20480, undefined],
    [20480, 64, '/a.org has 0.1 MiB free'],
    [20480, 20480, undefined],
    [8, 20480, ' has 0.0 MiB free'],
  ])('have room of their own: %s KiB, and %s in it', async (outer, inner, lacks) => {
    await mounted([store, outer], [join(store, 'a.org'), inner]);
    const found = (await room(old, target, [store])).map(({ text }) => text);
    expect(found).toEqual(
      lacks === undefined ? [] : [expect.stringContaining(`NEW: ${store}${lacks}, but OLD's mail`)],
    );
  });

  it('and a store that is a link take what they hold', async () => {
    await mounted([join(store, 'a.org'), 20480]);
    symlinkSync('vmail', join(temporary, 'link'));
    const [direct, link] = await usage(old, [store, join(temporary, 'link')]);
    expect(direct?.inodes).toBe(70);
    expect(link).toEqual(direct);
  });

  it('stay when the mail is erased, and finish says so', async () => {
    await mounted([join(store, 'b org\\x'), 1024]);
    const inner = join(store, 'b org\\x');
    await target.read({ argv: ['sh', '-c', 'echo mail > "$1/message"', 'sh', inner] });
    expect(await eraseStores(target, [store])).toBe(
      `erased: ${store}; left as they are, file systems of their own: ${inner}`,
    );
    const left = await target.read({ argv: ['find', store, '-mindepth', '1'] });
    expect(left.stdout.toString('utf8').trim().split('\n')).toEqual([inner, `${inner}/message`]);
    expect(await eraseStores(old, [store])).toBe(`erased: ${store}`);
    expect(readdirSync(store)).toEqual([]);
  });

  it('are looked at for what changes, and for who has a file open, also through a link', async () => {
    const inner = join(store, 'a.org');
    await mounted([inner, 1024]);
    symlinkSync('vmail', join(temporary, 'link'));
    expect(await proveStill(target, [store], [])).toContain('1 trees stand still');
    const [program, ...words] = ['nsenter', `-m/proc/${holder.pid}/ns/mnt`, 'sh', '-c'];
    const text = 'exec 3>> "$1/open"; echo ready; exec sleep 600';
    const writer = spawn(program, [...words, text, 'sh', inner]);
    try {
      await once(writer.stdout, 'data');
      for (const path of [store, join(temporary, 'link')])
        await expect(proveStill(target, [path], [])).rejects.toThrow(/open for writing.*a.org/);
    } finally {
      writer.kill();
    }
  });
});
