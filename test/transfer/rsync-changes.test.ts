import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Command, Result } from '../../src/hosts/command.ts';
import type { Host } from '../../src/hosts/host.ts';
import { rsyncItems } from '../../src/transfer/rsync-pass.ts';
import { Lab } from '../lab/lab.ts';
import { mustRun } from '../lab/process.ts';
import { RandomStore, stream } from './random-store.ts';

/** On both hosts; here both trees lie on one host, whose disk is this machine's own file system. */
const store = '/srv/mail';
let lab: Lab;
let disk: string;
let said: string[];

beforeAll(async () => {
  lab = await Lab.start({ hosts: ['old'] });
  disk = mkdtempSync(join(tmpdir(), 'changes-'));
  const old = lab.host('old');
  await old.powerCut();
  const image = join(disk, 'whole.image');
  mkdirSync(join(disk, 'whole'));
  await mustRun(['truncate', '-s', '8M', image]);
  await mustRun(['mkfs.ext3', '-q', '-I', '128', image]);
  await mustRun(['mount', '-o', 'loop', image, join(disk, 'whole')]);
  // The lab's own changes the times of folders that are read (overlayfs).
  await mustRun(['mount', '--rbind', disk, join(old.root, 'srv')]);
  await old.boot();
}, 120_000);

afterAll(async () => {
  const old = lab?.host('old');
  if (old?.running) await old.powerCut();
  if (old) await mustRun(['umount', '--recursive', join(old.root, 'srv')]);
  await mustRun(['umount', join(disk, 'whole')]);
  await lab?.stop();
  rmSync(disk, { recursive: true, force: true });
}, 60_000);

let source: string;
let target: string;

beforeEach(() => {
  for (const name of readdirSync(disk))
    if (!name.startsWith('whole')) rmSync(join(disk, name), { recursive: true });
  [source, target] = [join(disk, 'source'), join(disk, 'target')];
  for (const side of [source, target]) mkdirSync(`${side}.state/m`, { recursive: true });
  mkdirSync(target);
  said = [];
  // In place of the forced command of a key.
  writeFileSync(join(disk, 'forced-command'), 'exec rsync --config=/srv/conf --server --daemon .');
  writeFileSync(
    join(disk, 'conf'),
    'uid = 0\ngid = 0\nuse chroot = no\nread only = no\nmunge symlinks = no\nnumeric ids = yes\n[tree]\npath = /srv/target\n',
  );
});

/** The host as one of the two: its folders lie elsewhere, and a change time is never too young. */
function host(side: 'source' | 'target', isCautious: boolean): Host {
  const here = (word: string) => {
    const placed = word
      .replaceAll('/var/lib/mail-cutover', `/srv/${side}.state`)
      .replaceAll(store, `/srv/${side}`);
    return isCautious ? placed : placed.replace('young=$((now - 2))', 'young=$((now + 100))');
  };
  const run = async ({ argv, allow = [0] }: Command): Promise<Result> => {
    const { code, stdout, stderr } = await lab.host('old').sh('exec "$@"', argv.map(here));
    if (!allow.includes(code)) throw new Error(`${code}: ${stderr}`);
    return { code, signal: undefined, stdout: Buffer.from(stdout), stderr };
  };
  return {
    role: 'old',
    address: 'here',
    port: 22,
    read: run,
    change: run,
    tunnel: () => Promise.reject(new Error('no tunnel')),
    tunnelBack: () => Promise.reject(new Error('no tunnel')),
    close: async () => {},
  };
}

async function pass(isCautious = false, stores = [store]): Promise<string> {
  await newTick();
  await rsyncItems(
    {
      source: host('source', isCautious),
      target: host('target', isCautious),
      migration: 'm',
      items: [{ path: store, kind: 'directory' }],
      live: false,
      log: (line) => void said.push(line),
    },
    {
      sharedShell: 'sh /srv/forced-command',
      destination: 'host',
      module: () => 'tree',
      renewIfDue: async () => {},
    },
    stores,
  );
  await newTick();
  return said.at(-1) ?? '';
}

/** What rsync would do if it looked at everything. */
function left(): Promise<string> {
  return lab
    .host('old')
    .mustSh(
      'rsync -aHni --modify-window=-1 --delete -e "sh /srv/forced-command" /srv/source/ host::tree/',
    );
}

/** The clock of change times has moved on. */
async function newTick(): Promise<void> {
  const tick = join(disk, 'tick');
  const now = () => {
    writeFileSync(tick, '');
    return lstatSync(tick, { bigint: true }).ctimeNs;
  };
  for (const before = now(); now() === before; ) await sleep(1);
}

function maildir(name: string): void {
  for (const part of ['cur', 'new', 'tmp'])
    mkdirSync(join(source, name, part), { recursive: true });
  for (let index = 0; index < 3; index += 1)
    writeFileSync(join(source, name, `cur/170000000${index}.M1.host:2,`), `${name} ${index}`);
  writeFileSync(join(source, name, 'dovecot-uidlist'), '3 V1\n');
}

describe('rsync by list of changed folders', () => {
  beforeEach(() => {
    maildir('anna');
    maildir('bert/.Sent');
    maildir('new');
  });

  it('looks at everything the first time, then at what changed', async () => {
    expect(await pass()).toBe(`copied ${store}`);
    expect(await pass()).toBe(`copied ${store}; folders that changed: 0`);
    writeFileSync(join(source, 'anna/cur/1700000009.M1.host:2,'), 'new');
    expect(await pass()).toMatch(/changed: 2$/);
    expect(await left()).toBe('');
  });

  it('sees what changes in place: an index, also in a folder that is called new', async () => {
    await pass();
    writeFileSync(join(source, 'new/dovecot-uidlist'), '3 V2\n');
    expect(await pass()).toMatch(/changed: 1$/);
    expect(readFileSync(join(target, 'new/dovecot-uidlist'), 'utf8')).toBe('3 V2\n');
  });

  it('follows flags, moves, deletions, folders that come and go', async () => {
    await pass();
    renameSync(
      join(source, 'anna/cur/1700000000.M1.host:2,'),
      join(source, 'anna/cur/1700000000.M1.host:2,S'),
    );
    rmSync(join(source, 'anna/cur/1700000001.M1.host:2,'));
    renameSync(join(source, 'bert/.Sent'), join(source, 'bert/.Gone\nnow'));
    maildir('bert/.Fresh');
    await pass();
    expect(await left()).toBe('');
  });

  it('keeps links whose other end lies in a folder that did not change', async () => {
    await pass();
    linkSync(
      join(source, 'anna/cur/1700000000.M1.host:2,'),
      join(source, 'bert/.Sent/cur/1800000000.L.host:2,S'),
    );
    await pass();
    expect(await left()).toBe('');
  });

  it('looks at everything when the target is not the one of the last pass', async () => {
    await pass();
    rmSync(join(target, 'anna'), { recursive: true });
    expect(await pass()).toBe(`copied ${store}`);
    await lab.host('old').mustSh('rm /srv/target.state/m/*.token');
    expect(await pass()).toBe(`copied ${store}`);
    expect(await left()).toBe('');
  });

  it('looks at everything when the clock was set', async () => {
    await pass();
    // As the note would be if the clock had been an hour ahead.
    await lab
      .host('old')
      .mustSh(String.raw`sed -z -i '1s/ \([0-9]*\)$/ 0/' /srv/source.state/m/*.note`);
    expect(await pass()).toBe(`copied ${store}`);
  });

  it('trusts no change time that was young when it was looked at', async () => {
    await pass(true);
    expect(await pass(true)).toMatch(/changed: 1[0-9]$/);
  });
});

describe('times', () => {
  const inOld = async (text: string) => (await lab.host('old').mustSh(text)).trim();
  /** rsync puts a new file in the place of one that it sends. */
  const inodes = () => inOld('stat -c %i /srv/target/anna/cur/*');
  const everything = () => pass(false, []);

  it('are compared to the second on a target that keeps no fractions, and nothing is sent again', async () => {
    maildir('anna');
    await inOld('mount --bind /srv/whole /srv/target');
    try {
      await everything();
      const before = await inodes();
      await everything();
      expect(await inodes()).toBe(before);
      utimesSync(join(source, 'anna/cur/1700000000.M1.host:2,'), 1, 1);
      await everything();
      expect(await inOld('stat -c %Y /srv/target/anna/cur/1700000000.*')).toBe('1');
    } finally {
      await inOld('umount /srv/target');
    }
  });

  it('are compared with their fractions elsewhere, whatever time the folder of the store has', async () => {
    maildir('anna');
    for (const time of [5.25, 5.5]) {
      utimesSync(join(source, 'anna/cur/1700000000.M1.host:2,'), time, time);
      for (const side of [source, target]) utimesSync(side, 7, 7);
      await everything();
    }
    expect(await inOld('stat -c %.Y /srv/target/anna/cur/1700000000.* /srv/target')).toMatch(
      /^5\.50*\s+7\.0*$/,
    );
  });
});

describe('random stores and changes', () => {
  const seeds = Array.from({ length: 12 }, (_, index) => 100 + index);
  it.each(seeds)('are as if rsync had looked at everything (seed %i)', async (seed) => {
    const random = stream(seed);
    const mail = new RandomStore(source, random);
    mail.make();
    await pass();
    for (let round = 0; round < 4; round += 1) {
      mail.change(Math.floor(random() * 12));
      await pass();
      expect(await left()).toBe('');
    }
  });
});
