import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LocalMirror, type Side } from './local-mirror.ts';
import { MirrorServer } from './mirror-server.ts';
import { newTick, runner, tryOnce } from './property.ts';
import { treeImage } from './tree-image.ts';

let mirror: LocalMirror;
let source: Side;
let target: Side;

/** A ctime counts here as soon as the clock has moved on, so that no test waits two seconds. */
const noCaution = -1000;

beforeEach(() => {
  start(noCaution);
});

afterEach(async () => {
  await mirror.remove();
});

function start(young?: number, numbers: Readonly<Record<string, number>> = {}): void {
  mirror = new LocalMirror(young, undefined, numbers);
  source = mirror.side('source');
  target = mirror.side('target');
  for (const user of ['anna', 'bert']) {
    for (const folder of ['cur', 'new', 'tmp', '.Sent/cur', '.Sent/new', '.Sent/tmp'])
      mkdirSync(join(source.root, user, folder), { recursive: true });
    for (let index = 0; index < 5; index += 1)
      writeFileSync(message(user, `cur/170000000${index}.M${index}.host:2,`), `${user} ${index}`);
    writeFileSync(join(source.root, user, 'dovecot-uidlist'), '3 V1 N6\n');
  }
}

function message(user: string, path: string): string {
  return join(source.root, user, path);
}

/** A pass, after which both are equal; what it counted. */
async function pass(): Promise<Readonly<Record<string, number>>> {
  await newTick(mirror);
  const { counts } = await mirror.pass(source, target);
  expect(treeImage(target.root)).toEqual(treeImage(source.root));
  await newTick(mirror);
  return counts;
}

/** With a shell script in the place of tar, at both ends; in it `tar` is the real one. */
async function withTar(script: string, work: () => Promise<void>): Promise<void> {
  const folder = join(mirror.temporary, 'bin');
  mkdirSync(folder);
  writeFileSync(join(folder, 'tar'), `#!/bin/sh\nPATH=\${PATH#*:}\n${script}\n`, { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`);
  try {
    await work();
  } finally {
    vi.unstubAllEnvs();
  }
}

/** While a file system lies at this path: `tmpfs`, or one of so many KB made by `mkfs` with these words. */
async function withMount(
  path: string,
  kind: 'tmpfs' | { readonly mkfs: string; readonly size: number },
  work: () => Promise<void>,
): Promise<void> {
  mkdirSync(path, { recursive: true });
  if (kind === 'tmpfs') execFileSync('mount', ['-t', 'tmpfs', 'mail-cutover-test', path]);
  else {
    const image = join(mirror.temporary, 'image');
    writeFileSync(image, '');
    truncateSync(image, kind.size * 1024);
    execFileSync('sh', [
      '-c',
      `mkfs.${kind.mkfs} -q -F "$1" && mount -o loop "$1" "$2"`,
      'sh',
      image,
      path,
    ]);
    rmSync(join(path, 'lost+found'), { recursive: true, force: true });
  }
  try {
    await work();
  } finally {
    execFileSync('umount', ['-l', path]);
  }
}

describe('on file systems', () => {
  it('cuts times to the second where the target keeps no more, there and back', async () => {
    await withMount(target.root, { mkfs: 'ext3 -I 128', size: 8192 }, async () => {
      const inSeconds = (root: string) =>
        execFileSync(
          'find',
          [
            '.',
            '(',
            '-type',
            'd',
            '-printf',
            '%P %m %Ts\\n',
            ')',
            '-o',
            '-printf',
            '%P %m %s %n %Ts\\n',
          ],
          { cwd: root, encoding: 'utf8' },
        )
          .split('\n')
          .sort();
      const both = () => expect(inSeconds(target.root)).toEqual(inSeconds(source.root));
      await mirror.pass(source, target);
      both();
      writeFileSync(message('anna', 'cur/1700000009.M9.host:2,'), 'new');
      await newTick(mirror);
      expect((await mirror.pass(source, target)).counts).toMatchObject({ sent: 1, removed: 0 });
      both();
      // Without a note: all is compared.
      rmSync(join(source.folder, 'transfer-note'));
      expect((await mirror.pass(source, target)).counts).toMatchObject({ sent: 2, removed: 0 }); // indexes
      both();
    });
  });

  it('says that there is no room, and goes on when there is', async () => {
    await withMount(target.root, { mkfs: 'ext4', size: 2048 }, async () => {
      const path = message('anna', 'cur/1700000009.M9.host:2,');
      writeFileSync(path, Buffer.alloc(5_000_000));
      await expect(mirror.pass(source, target)).rejects.toThrow('No space left on device');
      writeFileSync(path, 'small');
      expect((await mirror.pass(source, target)).counts).toMatchObject({ unstable: 0 });
      expect(treeImage(target.root)).toEqual(treeImage(source.root));
    });
  });

  it('takes files of one number on two file systems for two', async () => {
    const [one, other] = ['anna', 'bert'].map((user) => message(user, '.Volume'));
    await withMount(one ?? '', 'tmpfs', () =>
      withMount(other ?? '', 'tmpfs', async () => {
        for (const user of ['anna', 'bert']) {
          mkdirSync(message(user, '.Volume/cur'), { recursive: true });
          const path = message(user, '.Volume/cur/1700000000.M0.host:2,');
          writeFileSync(path, `of ${user}`);
          linkSync(path, message(user, '.Volume/cur/1700000001.M1.host:2,'));
        }
        const [first, second] = ['anna', 'bert'].map((user) =>
          lstatSync(message(user, '.Volume/cur/1700000000.M0.host:2,')),
        );
        expect([first?.ino, first?.dev === second?.dev]).toEqual([second?.ino, false]);
        await pass();
        for (const user of ['anna', 'bert'])
          renameSync(
            message(user, '.Volume/cur/1700000001.M1.host:2,'),
            message(user, '.Volume/cur/1700000001.M1.host:2,S'),
          );
        await pass();
      }),
    );
  });
});

describe('a pass', () => {
  it('looks only at what changed since the last one', async () => {
    expect(await pass()).toMatchObject({ tar: 2, sent: 0, renamed: 0 });
    expect(await pass()).toMatchObject({ listed: 0, sent: 0 });
    appendFileSync(message('anna', 'dovecot-uidlist'), '6 :x\n');
    expect(await pass()).toMatchObject({ listed: 0, sent: 1 });
    writeFileSync(message('bert', 'new/1700000009.M9.host'), 'new');
    expect(await pass()).toMatchObject({ listed: 1, sent: 1 });
  });

  it('renames what got other flags or went to another folder, and sends nothing', async () => {
    await pass();
    renameSync(
      message('anna', 'cur/1700000000.M0.host:2,'),
      message('anna', 'cur/1700000000.M0.host:2,FSa'),
    );
    renameSync(
      message('anna', 'cur/1700000001.M1.host:2,'),
      message('anna', '.Sent/cur/1700000001.M1.host:2,S'),
    );
    rmSync(message('anna', 'cur/1700000002.M2.host:2,'));
    expect(await pass()).toMatchObject({ renamed: 2, removed: 1, sent: 0 });
  });

  it('follows a folder that was renamed without sending its messages', async () => {
    await pass();
    renameSync(message('anna', '.Sent'), message('anna', '.Gone'));
    expect(await pass()).toMatchObject({ sent: 0 });
    renameSync(message('anna', 'cur'), message('anna', '.Gone/cur/x'));
    mkdirSync(message('anna', 'cur'));
    await pass();
  });

  it('takes messages out of a folder in whose place a file has come', async () => {
    await pass();
    renameSync(
      message('anna', 'cur/1700000003.M3.host:2,'),
      message('anna', 'new/1700000003.M3.host'),
    );
    rmSync(message('anna', 'cur'), { recursive: true });
    writeFileSync(message('anna', 'cur'), 'no folder');
    expect(await pass()).toMatchObject({ renamed: 1, sent: 1 });
  });

  it('never takes the message of one mailbox for that of another', async () => {
    const twins = ['anna', 'bert'].map((user) => message(user, '.Sent/cur/1.same.host:2,'));
    for (const [index, path] of twins.entries()) {
      writeFileSync(path, `text ${index}`);
      utimesSync(path, 1e9, 1e9);
    }
    await pass();
    const [one = '', other = ''] = twins;
    rmSync(one);
    renameSync(other, `${other}S`);
    await pass();
    rmSync(`${other}S`);
    writeFileSync(`${one}F`, 'text 9');
    utimesSync(`${one}F`, 1e9, 1e9);
    await pass();
  });

  it('links a message whose other link lies in a folder that did not change', async () => {
    await pass();
    linkSync(
      message('bert', 'cur/1700000000.M0.host:2,'),
      message('anna', '.Sent/cur/1800000000.L.host:2,S'),
    );
    expect(await pass()).toMatchObject({ sent: 1 });
    renameSync(
      message('anna', '.Sent/cur/1800000000.L.host:2,S'),
      message('anna', '.Sent/cur/1800000000.L.host:2,'),
    );
    expect(await pass()).toMatchObject({ sent: 0 });
  });

  it('lists everything when the note, the token or the target is not the one of the last pass', async () => {
    await pass();
    rmSync(join(source.folder, 'transfer-note'));
    expect(await pass()).toMatchObject({ listed: 17, sent: 2 });
    writeFileSync(join(target.folder, 'transfer-token'), 'another');
    expect(await pass()).toMatchObject({ listed: 17 });
    rmSync(target.root, { recursive: true });
    expect(await pass()).toMatchObject({ tar: 2, sent: 0 });
  });

  it('brings a folder that the target lost although the note knows it', async () => {
    await pass();
    rmSync(join(target.root, 'anna/.Sent'), { recursive: true });
    writeFileSync(message('anna', 'subscriptions'), 'Sent\n');
    await pass();
  });

  it('drops the token before it changes anything, so that one that was cut off is not trusted', async () => {
    await pass();
    symlinkSync('x', message('anna', 'cur/link'));
    execFileSync('mkfifo', [message('bert', 'pipe')]);
    await expect(pass()).rejects.toThrow('exit code 5: neither file, folder nor symbolic link');
    expect(existsSync(join(target.folder, 'transfer-token'))).toBe(false);
    rmSync(message('bert', 'pipe'));
    expect(await pass()).toMatchObject({ listed: 17 });
  });

  it('trusts no ctime that was young when it was looked at', async () => {
    await mirror.remove();
    start();
    await pass();
    expect(await pass()).toMatchObject({ listed: 17 });
  });

  /** Every way is slow, and every mailbox is enough to tell. */
  const slow = { fast_enough: 1e15, settling: 0, trial: 1, clearly: 0 };

  it('tries some streams, and less to carry, where the way is slow', async () => {
    await mirror.remove();
    start(noCaution, { ...slow, given_ahead: 1 });
    for (let index = 0; index < 200; index += 1) {
      mkdirSync(message(`user${index}`, 'cur'), { recursive: true });
      writeFileSync(message(`user${index}`, 'cur/1700000000.M0.host:2,'), Buffer.alloc(100_000));
    }
    const { tar, streams, by_zstd, by_gzip } = await pass();
    expect([tar, streams, (by_zstd ?? 0) + (by_gzip ?? 0) >= 1]).toEqual([202, 4, true]);
    expect(await pass()).toMatchObject({ listed: 0, sent: 0 });
  });

  it('joins links of mailboxes that came by different streams', async () => {
    await mirror.remove();
    start(noCaution, { ...slow, given_ahead: 1 });
    for (let index = 0; index < 40; index += 1) {
      mkdirSync(message(`user${index}`, 'cur'), { recursive: true });
      const path = message(`user${index}`, 'cur/1700000000.M0.host:2,');
      // Some share a message with the next but twenty, some an index.
      if (index < 20) writeFileSync(path, Buffer.alloc(100_000, `${index}`));
      else linkSync(message(`user${index - 20}`, 'cur/1700000000.M0.host:2,'), path);
      const list = message(`user${index}`, 'dovecot-uidlist');
      if (index % 2 === 0) writeFileSync(list, `${index}`);
      else linkSync(message(`user${index - 1}`, 'dovecot-uidlist'), list);
    }
    expect(await pass()).toMatchObject({ tar: 42 });
    expect(await pass()).toMatchObject({ listed: 0, sent: 0 });
  });

  it('waits for no bytes that tar does not read: of other links, or of what is gone', async () => {
    await mirror.remove();
    start(noCaution, { given_ahead: 1_000_000 });
    for (const user of ['anna', 'bert']) {
      const path = message(user, 'cur/1700000000.M0.host:2,');
      writeFileSync(path, Buffer.alloc(2_000_000));
      for (const name of ['L1', 'L2']) linkSync(path, message(user, `new/1700000001.${name}.host`));
    }
    expect(await pass()).toMatchObject({ tar: 2 });
    rmSync(target.root, { recursive: true });
    // Its own process reads nothing, as if all was gone.
    await withTar('cat | tar "$@"', async () => {
      expect(await pass()).toMatchObject({ tar: 2 });
    });
  });

  it('goes on with the other streams where one fails', async () => {
    await mirror.remove();
    start(noCaution, { ...slow, given_ahead: 1 });
    for (let index = 0; index < 60; index += 1) {
      mkdirSync(message(`user${index}`, 'cur'), { recursive: true });
      writeFileSync(message(`user${index}`, 'cur/1700000000.M0.host:2,'), Buffer.alloc(100_000));
    }
    // The second tar on the target ends at once.
    const script = `case $1 in -x) if mkdir ${mirror.temporary}/first 2>/dev/null || ! mkdir ${mirror.temporary}/second 2>/dev/null; then :; else exit 2; fi ;; esac
      tar "$@"`;
    await withTar(script, async () => {
      const { tar } = await pass();
      expect(tar).toBeGreaterThan(40);
    });
    expect(await pass()).toMatchObject({ listed: 0, sent: 0 });
  });

  it.each([77, 255])('tells of streams that are refused (exit code %i)', async (code) => {
    await mirror.remove();
    start(noCaution);
    // As with a key whose lease is over: the tar on the target does not even start.
    await withTar(`case $1 in -x) exit ${code} ;; esac; tar "$@"`, async () => {
      expect((await pass()).refused_streams).toBeGreaterThan(0);
    });
    expect(await pass()).toMatchObject({ listed: 0, sent: 0 });
  });

  it('lists everything when the clock was set since', async () => {
    await pass();
    const note = join(source.folder, 'transfer-note');
    const text = readFileSync(note, 'latin1').split('\n');
    // As if the clock had been an hour ahead.
    text[3] = String(Number(text[3]) + 3600);
    writeFileSync(note, text.join('\n'), 'latin1');
    expect(await pass()).toMatchObject({ listed: 17 });
  });

  it('reads a mailbox anew that was restored from a backup, and renames what is there', async () => {
    const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to]);
    await pass();
    copy(message('anna', ''), join(mirror.temporary, 'backup'));
    renameSync(
      message('anna', 'cur/1700000000.M0.host:2,'),
      message('anna', 'cur/1700000000.M0.host:2,S'),
    );
    await pass();
    rmSync(message('anna', ''), { recursive: true });
    copy(join(mirror.temporary, 'backup'), message('anna', ''));
    expect(await pass()).toMatchObject({ renamed: 1 });
  });

  it('sees another folder in the place of one, with the same names in it', async () => {
    await pass();
    const [place, other] = [message('anna', 'cur'), message('anna', 'other')];
    execFileSync('cp', ['-a', place, other]);
    writeFileSync(join(other, '1700000000.M0.host:2,'), 'of another');
    renameSync(place, join(mirror.temporary, 'aside'));
    renameSync(other, place);
    expect(await pass()).toMatchObject({ sent: 1 });
  });

  it.each([
    ['a newline', '1700000009.M9\n.host:2,'],
    ['bytes that are no UTF-8', '1700000009.M\xff\xfe.host:2,'],
    ['keywords', '1700000009.M9.host:2,Sabz'],
    ['the size of what is compressed', '1700000009.M9.host,S=4711,W=4800:2,S'],
  ])('renames a message whose name has %s', async (_, text) => {
    const path = (name: string) =>
      Buffer.concat([Buffer.from(message('anna', 'cur/')), Buffer.from(name, 'latin1')]);
    writeFileSync(path(text), gzipSync('a message'));
    await pass();
    renameSync(path(text), path(`${text}T`));
    expect(await pass()).toMatchObject({ renamed: 1, sent: 0 });
  });

  it('brings what is under delivery, and lets it go', async () => {
    writeFileSync(message('anna', 'tmp/1700000009.M9.host'), 'half');
    await pass();
    renameSync(
      message('anna', 'tmp/1700000009.M9.host'),
      message('anna', 'new/1700000009.M9.host'),
    );
    await pass();
  });

  it('takes sdbox, mdbox and mbox as the files that they are', async () => {
    const dbox = message('clara', 'mailboxes/INBOX/dbox-Mails');
    mkdirSync(dbox, { recursive: true });
    mkdirSync(message('clara', 'storage'));
    const files = [join(dbox, 'u.1'), message('clara', 'storage/m.1'), message('clara', 'INBOX')];
    for (const file of files) writeFileSync(file, 'From one\n');
    await pass();
    for (const file of files) appendFileSync(file, 'From two\n');
    rmSync(join(dbox, 'u.1'));
    writeFileSync(join(dbox, 'u.2'), 'From three\n');
    await pass();
  });

  it('brings a file with holes', async () => {
    const path = message('anna', 'dovecot.index.cache');
    writeFileSync(path, '');
    truncateSync(path, 3_000_000);
    appendFileSync(path, 'end');
    await pass();
  });

  it('puts right what somebody edited on the target in a folder that changed', async () => {
    await pass();
    const there = (path: string) => join(target.root, 'anna/cur', path);
    rmSync(there('1700000000.M0.host:2,'));
    writeFileSync(there('1700000001.M1.host:2,'), 'edited');
    writeFileSync(there('1900000000.M1.host:2,'), 'extra');
    writeFileSync(message('anna', 'cur/1700000009.M9.host:2,'), 'new');
    await pass();
  });

  it('takes a folder of 40,000 messages', { timeout: 300_000 }, async () => {
    const folder = message('anna', '.Many/cur');
    mkdirSync(folder, { recursive: true });
    for (let index = 0; index < 40_000; index += 1)
      writeFileSync(join(folder, `${index}.m:2,`), '');
    await pass();
    renameSync(join(folder, '4711.m:2,'), join(folder, '4711.m:2,S'));
    rmSync(join(folder, '4712.m:2,'));
    expect(await pass()).toMatchObject({ listed: 1, renamed: 1, removed: 1, sent: 0 });
  });

  it('brings a store by tar where the target has nothing, and puts right what tar missed', async () => {
    const counts = await pass();
    expect(counts).toMatchObject({ tar: 2, listed: 1 });
    expect(await pass()).toMatchObject({ listed: 0 });
  });

  it('looks at no mailbox twice that tar brought to a folder of many', async () => {
    for (const user of ['carl', 'dora'])
      mkdirSync(message('example.org', `${user}/cur`), { recursive: true });
    // The store and the folder of the domain.
    expect(await pass()).toMatchObject({ tar: 4, listed: 2 });
    expect(await pass()).toMatchObject({ listed: 0 });
  });

  describe.each([
    ['a mailbox of a folder of many', 'example.org/carl'],
    ['a folder of mailboxes', 'example.org'],
  ])('%s that tar brought', (_what, entry) => {
    it.each([
      ['is gone', ''],
      ['is a symbolic link', 'ln -s nowhere "$entry"'],
      ['is a file', 'echo text >"$entry"'],
      ['is another folder', 'mkdir "$entry"'],
    ])('is put right when it %s since', async (_change, change) => {
      mkdirSync(message('example.org', 'carl/cur'), { recursive: true });
      writeFileSync(message('example.org', 'carl/cur/1700000000.M0.host:2,'), 'carl');
      const script = `tar "$@"
        entry='${join(source.root, entry)}'
        case $1 in -c) mv "$entry" '${join(mirror.temporary, 'aside')}'; ${change || ':'} ;; esac`;
      await withTar(script, async () => {
        expect(await pass()).toMatchObject({ tar: 3 });
      });
      expect(await pass()).toMatchObject({ sent: 0 });
    });
  });

  it('goes over a connection that was opened before the changes', async () => {
    await pass();
    await mirror.hold(source, target);
    writeFileSync(message('bert', 'new/1700000009.M9.host'), 'new');
    appendFileSync(message('anna', 'dovecot-uidlist'), '6 :x\n');
    await newTick(mirror);
    expect((await mirror.go(source)).counts).toMatchObject({ listed: 1, sent: 2 });
    expect(treeImage(target.root)).toEqual(treeImage(source.root));
    await expect(mirror.go(source)).rejects.toThrow('exit code 6: nothing is held');
    expect(await pass()).toMatchObject({ listed: 0 });
  });

  it('does not go with what is held for another pass, or was overtaken by one', async () => {
    await pass();
    await mirror.hold(source, target, 'one');
    await expect(mirror.go(source, 'other')).rejects.toThrow('exit code 6: what is held');
    await mirror.hold(source, target);
    writeFileSync(message('bert', 'new/1700000009.M9.host'), 'new');
    await pass();
    await expect(mirror.go(source)).rejects.toThrow('exit code 6: what is held');
  });

  it('takes the lock when it begins, and does nothing where another has it', async () => {
    await pass();
    for (const side of [source, target]) {
      mkdirSync(join(side.folder, 'lock'));
      writeFileSync(join(side.folder, 'lock/number'), '7');
    }
    await mirror.hold(source, target);
    writeFileSync(message('bert', 'new/1700000009.M9.host'), 'new');
    await expect(mirror.go(source, 'tag', '6')).rejects.toThrow('taken over by lock 7');
    expect(existsSync(join(target.root, 'bert/new/1700000009.M9.host'))).toBe(false);
    await mirror.hold(source, target);
    writeFileSync(join(target.folder, 'lock/number'), '8');
    await expect(mirror.go(source, 'tag', '7')).rejects.toThrow('on the target: lock 7');
    expect(existsSync(join(target.root, 'bert/new/1700000009.M9.host'))).toBe(false);
    await mirror.hold(source, target);
    await newTick(mirror);
    await mirror.go(source, 'tag', '8');
    expect(readdirSync(join(target.folder, 'lock/run'))).toContainEqual(
      expect.stringMatching(/^8\./),
    );
    expect(treeImage(target.root)).toEqual(treeImage(source.root));
  });

  it('ends what is held when told to', async () => {
    await pass();
    await mirror.hold(source, target);
    await mirror.release(source);
    await expect(mirror.go(source)).rejects.toThrow('exit code 6');
  });

  it('brings a part of the mailboxes at a time, and then looks at what changed only', async () => {
    const part = async (which: string) =>
      (await mirror.pass(source, target, 'store', which)).counts;
    const first = await part('1/2');
    expect(existsSync(join(target.root, 'anna'))).not.toBe(existsSync(join(target.root, 'bert')));
    const again = await part('1/2');
    expect([first['tar'], again['tar'], again['sent']]).toEqual([1, undefined, 0]);
    expect(await part('2/2')).toMatchObject({ tar: 1, sent: 0 });
    expect(await pass()).toMatchObject({ listed: 1, sent: 0 });
  });

  it('puts in place what a tar has left that was cut off', async () => {
    const staging = join(target.root, '.mail-cutover.tar/4711');
    mkdirSync(join(staging, 'anna/cur'), { recursive: true });
    mkdirSync(join(staging, 'nobody'));
    writeFileSync(join(staging, 'anna/cur/half'), 'a half');
    expect(await pass()).toMatchObject({ tar: 1 });
  });

  it('takes nothing that lies behind a link in what tar has brought', async () => {
    mkdirSync(message('example.org', 'carl/cur'), { recursive: true });
    const elsewhere = join(mirror.temporary, 'elsewhere');
    mkdirSync(join(elsewhere, 'carl/cur'), { recursive: true });
    for (const stream of ['', '/4711']) {
      const staging = join(target.root, `.mail-cutover.tar${stream}`);
      mkdirSync(staging, { recursive: true });
      symlinkSync(elsewhere, join(staging, 'example.org'));
    }
    expect(await pass()).toMatchObject({ tar: 3 });
    expect(readdirSync(elsewhere)).toEqual(['carl']);
  });

  it('runs by itself, and says in its folder how it ended', async () => {
    const folder = join(mirror.temporary, 'run');
    mkdirSync(folder);
    await mirror.detach(source, target, folder);
    await vi.waitFor(() => expect(existsSync(join(folder, 'code'))).toBe(true), 60_000);
    expect(readFileSync(join(folder, 'code'), 'utf8')).toBe('0\n');
    expect(readFileSync(join(folder, 'out'), 'utf8')).toMatch(/^done .*sent=\d+/);
    expect(treeImage(target.root)).toEqual(treeImage(source.root));
  });

  it('goes on when both ends have much to say at once', async () => {
    const folder = message('anna', '.Many/cur');
    mkdirSync(folder, { recursive: true });
    // Not by tar.
    for (const user of ['anna', 'bert']) mkdirSync(join(target.root, user), { recursive: true });
    for (let index = 0; index < 45_000; index += 1)
      writeFileSync(join(folder, `${index}.m:2,`), '');
    writeFileSync(message('bert', 'cur/1.big:2,'), Buffer.alloc(3_000_000, 'x'));
    expect(await pass()).toMatchObject({ sent: 45_013 });
  });

  it('takes one file, and leaves what lies beside it', async () => {
    const [from, to] = [join(mirror.temporary, 'etc/a'), join(mirror.temporary, 'etc-there/a')];
    mkdirSync(join(mirror.temporary, 'etc'));
    mkdirSync(join(mirror.temporary, 'etc-there'));
    writeFileSync(from, 'one');
    writeFileSync(`${to}b`, 'left alone');
    writeFileSync(
      join(mirror.temporary, 'etc-there/.mail-cutover.1.0'),
      'of a pass that was cut off',
    );
    await mirror.pass({ ...source, root: from }, { ...target, root: to }, 'file');
    expect(readFileSync(to, 'utf8')).toBe('one');
    expect(lstatSync(to).mtimeMs).toBe(lstatSync(from).mtimeMs);
    expect(readdirSync(join(mirror.temporary, 'etc-there')).sort()).toEqual(['a', 'ab']);
  });

  it.each([
    ['one pass by two streams', ['1/1']],
    ['two passes, each of a part', ['1/2', '2/2']],
  ])('joins links between mailboxes that came by %s', async (_, parts) => {
    await mirror.remove();
    start(noCaution, { ...slow, given_ahead: 1 });
    for (let index = 0; index < 12; index += 1) {
      mkdirSync(message(`user${index}`, 'cur'), { recursive: true });
      linkSync(
        message('anna', 'cur/1700000000.M0.host:2,'),
        message(`user${index}`, 'cur/1.L0.host'),
      );
      linkSync(message('anna', 'dovecot-uidlist'), message(`user${index}`, 'dovecot-uidlist'));
    }
    for (const part of parts) await mirror.pass(source, target, 'store', part);
    expect(await pass()).toMatchObject({ sent: 0 });
  });

  it('keeps a link in whose place a folder was when the pass began', async () => {
    await pass();
    writeFileSync(message('anna', '.Sent/cur/1800000000.M0.host:2,'), 'new');
    writeFileSync(message('bert', 'new/1800000000.M0.host'), 'new');
    mkdirSync(message('carl', ''));
    const aside = join(mirror.temporary, 'aside');
    writeFileSync(
      mirror.meanwhile,
      `cd ${source.root} && mv anna ${aside} && ln -s ${aside} anna\n`,
    );
    await newTick(mirror);
    await mirror.pass(source, target);
    rmSync(mirror.meanwhile);
    await newTick(mirror);
    await pass();
    expect(await pass()).toMatchObject({ listed: 0 });
  });

  it('leaves what tar has left on the source of an earlier pass to it', async () => {
    mkdirSync(message('.mail-cutover.tar', '4711/anna/cur'), { recursive: true });
    await mirror.pass(source, target);
    expect(existsSync(join(target.root, '.mail-cutover.tar'))).toBe(false);
    rmSync(message('.mail-cutover.tar', ''), { recursive: true });
    await pass();
  });

  it('says what went wrong on the target', async () => {
    rmSync(target.folder, { recursive: true });
    mkdirSync(target.folder);
    writeFileSync(target.root, 'a file in the way');
    await expect(pass()).rejects.toThrow("on the target: can't make");
  });
});

describe('random stores and changes, live, live, final, there and back', () => {
  const seeds = Array.from({ length: 25 }, (_, index) => index + 1);
  const server = new MirrorServer();
  afterAll(() => server.stop());
  it.each(seeds)('end equal to the byte (seed %i)', async (seed) => {
    await tryOnce(seed, runner(seed, server));
  });
});
