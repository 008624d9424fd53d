import { execFileSync, spawn } from 'node:child_process';
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
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import {
  background,
  base,
  children,
  isRoot,
  setUpHostctl,
  standIn,
  temporary,
  tree,
  until,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

it('the queue is set aside with its folders, and comes back', () => {
  const spool = join(temporary, 'spool');
  for (const queue of ['incoming', 'active', 'deferred/A', 'deferred/B', 'hold', 'bounce', 'trace'])
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
