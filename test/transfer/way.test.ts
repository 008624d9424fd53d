import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Lock, takeLock } from '../../src/engine/lock.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { migrationFiles } from '../../src/hosts/migration-files.ts';
import { demandEqual } from '../../src/transfer/manifest.ts';
import { outlook } from '../../src/transfer/outlook.ts';
import { finalPass, passAndHold, transferPass } from '../../src/transfer/pass.ts';
import { createPassKey } from '../../src/transfer/pass-key.ts';
import { classify, rsyncPass } from '../../src/transfer/rsync-pass.ts';
import { seed } from '../bench/mail-store.ts';
import { Lab } from '../lab/lab.ts';

const store = '/srv/store';
let lab: Lab;
let lock: Lock;
let [source, target]: MailHost[] = [];
let said: string[] = [];

let messages = 10;

type Name = 'old' | 'new';

beforeAll(async () => {
  lab = await Lab.start({ hosts: ['old', 'new'] });
  [source, target] = (['old', 'new'] as const).map((role) => {
    const { address, hostKeys } = lab.host(role);
    const config = { address, port: 22, user: 'root', 'host-keys': [...hostKeys] };
    return new MailHost(role, config, 'way', { key: lab.sshKey.text });
  });
  for (const host of hosts()) await host.install();
  lock = await takeLock(hosts().map(migrationFiles), 'test');
  await lab.host('old').mustSh(seed, [store, '3', '8', 'small']);
}, 120_000);

afterEach(async () => {
  said = [];
  await lab.host('old').reconnectTo('new');
  await lab.host('old').letTo('new', 22);
  await lab.host('new').letTo('old', 22);
});

afterAll(async () => {
  await lock?.release();
  for (const host of hosts()) await host.close();
  await lab?.stop();
}, 60_000);

function hosts(): readonly [MailHost, MailHost] {
  if (!source || !target) throw new Error('no hosts');
  return [source, target];
}

/** `turned`: from NEW to OLD, as going back does it. */
function options(turned = false) {
  const [old, fresh] = hosts();
  return {
    source: turned ? fresh : old,
    target: turned ? old : fresh,
    migration: 'way',
    items: [{ path: store, kind: 'directory' as const }],
    stores: [store],
    log: (line: string) => void said.push(line),
  };
}

async function deliver(name: Name, message: string): Promise<void> {
  await lab.host(name).mustSh('printf x > "/srv/store/u1/new/$1"', [message]);
}

/** A pass, one that is held, both compared. */
async function liveAndFinal(turned = false): Promise<void> {
  await passAndHold({ ...options(turned), live: true });
  await deliver(turned ? 'new' : 'old', `18000000${messages++}.M1P1.host`);
  await finalPass(options(turned));
  await demandEqual(...hosts(), [store], 'full');
  expect(said.filter((line) => line.includes('by rsync'))).toEqual([]);
}

/** Nothing that belongs to a pass is left, on neither host. */
async function demandNothingLeft(): Promise<void> {
  for (const name of ['old', 'new'] as const) {
    const { stdout } = await lab.host(name).sh(
      `grep 'mail-cutover' /root/.ssh/authorized_keys
       ls -d /run/mail-cutover-way
       pgrep -af 'mee[t].pl|mirro[r].pl'`,
    );
    expect(stdout).toBe('');
  }
}

const held = 'the connection for the final pass is open';
const notHeld = 'no connection was held open';

it('goes straight where the source can connect to the target', async () => {
  expect((await outlook(options())).connects).toBe(true);
  await liveAndFinal();
  expect(said).toContain(held);
  expect(said.filter((line) => /gets no answer/.test(line))).toEqual([]);
}, 120_000);

it('goes straight over another address of the target', async () => {
  await lab.host('old').keepFrom('new', 22, ['v4']);
  expect((await outlook(options())).lines).toContainEqual(
    expect.stringMatching(/^Way: OLD .* connects to fd77::12, port 22/),
  );
  await liveAndFinal();
  expect(said).toContain(held);
}, 180_000);

describe.each([
  ['from OLD to NEW', false],
  ['from NEW to OLD', true],
])('where only the target can connect, %s', (_, turned) => {
  const [from, to] = turned ? (['new', 'old'] as const) : (['old', 'new'] as const);
  beforeEach(() => lab.host(from).keepFrom(to, 22, ['v4', 'v6']));

  it('it does', async () => {
    expect((await outlook(options(turned))).lines).toContainEqual(
      expect.stringMatching(
        turned
          ? /^Way: OLD .* connects to 10\.77\.0\.12/
          : /^Way: NEW .* connects to 10\.77\.0\.11/,
      ),
    );
    await liveAndFinal(turned);
    expect(said).toContainEqual(expect.stringMatching(/: the other one connects to it$/));
    expect(said).toContain(held);
    expect(said).not.toContain(notHeld);
    await demandNothingLeft();
  }, 180_000);

  it('rsync goes the same way', async () => {
    await deliver(from, '1900000000.M1P1.host');
    const items = await classify(options(turned).source, [store]);
    await rsyncPass({ ...options(turned), items, live: false });
    await demandEqual(...hosts(), [store], 'full');
    await demandNothingLeft();
  }, 180_000);
});

it('what is no Maildir and large goes by rsync: mbox, mdbox', async () => {
  await lab.host('old').mustSh(
    `mkdir -p /srv/boxes/storage
     head -c 5000000 /dev/zero | tr '\\0' m > /srv/boxes/storage/m.1
     printf 'From one\\n' > /srv/boxes/INBOX`,
  );
  const boxes = { path: '/srv/boxes', kind: 'directory' as const };
  const both = { ...options(), items: [...options().items, boxes], stores: [store, boxes.path] };
  await transferPass({ ...both, live: true });
  await lab.host('old').mustSh('printf more >> /srv/boxes/storage/m.1');
  await transferPass({ ...both, live: false });
  await demandEqual(...hosts(), [store, boxes.path], 'full');
  expect(said).toContainEqual(
    expect.stringMatching(/^copied \/srv\/boxes; folders that changed: \d$/),
  );
  expect(said.filter((line) => line.startsWith(`copied ${store}`))).toEqual([]);
}, 120_000);

it('a store with a file system in it: all of it goes, there and back, and no seal hides it', async () => {
  const [old, fresh] = hosts();
  for (const name of ['old', 'new'] as const)
    await lab.host(name).mustSh('mkdir -p /srv/store/own && mount -t tmpfs own /srv/store/own');
  const look = async (name: Name) =>
    (await lab.host(name).mustSh('ls /srv/store/own/u1/cur /srv/store/own/u1/new')).trim();
  try {
    await lab.host('old').mustSh('cp -a /srv/store/u1 /srv/store/own/u1');
    await transferPass({ ...options(), live: true });
    const before = await look('new');
    expect(before).toContain('.old,S=');
    for (const [turned, from] of [
      [false, old],
      [true, fresh],
    ] as const) {
      const left = await from.edit('seal', ['way', 'seal-0', store]);
      expect(left).toBe(`${store}\0`);
      await liveAndFinal(turned);
      await from.edit('undo-kind', ['way', 'seal']);
      expect([await look('old'), await look('new')]).toEqual([before, before]);
    }
    await rsyncPass({ ...options(), items: await classify(old, [store]), live: false });
    await demandEqual(...hosts(), [store], 'full');
    expect(await look('new')).toBe(before);
  } finally {
    for (const name of ['old', 'new'] as const)
      await lab.host(name).mustSh('umount /srv/store/own; rmdir /srv/store/own');
  }
  // Where nothing is mounted it is sealed.
  expect(await old.edit('seal', ['way', 'seal-0', store])).toBe('');
  await lab.host('old').mustSh('! touch /srv/store/try 2>/dev/null');
  await old.edit('undo-kind', ['way', 'seal']);
  await lab.host('old').mustSh('touch /srv/store/try && rm /srv/store/try');
}, 240_000);

it('without perl: rsync by the list of folders that changed, and plan says so', async () => {
  const perl = (from: string, to: string) =>
    lab.host('old').mustSh('mv "$(command -v "$1")" "/usr/bin/$2"', [from, to]);
  await perl('perl', 'perl-away');
  try {
    expect((await outlook(options())).lines).toContainEqual(
      expect.stringMatching(/^Program: rsync, .* only at folders that changed/),
    );
    await transferPass({ ...options(), live: true });
    await deliver('old', '1850000000.M1P1.host');
    await lab.host('old').mustSh('rm "$(ls -d /srv/store/u2/cur/* | head -n 1)"');
    await finalPass(options());
    await demandEqual(...hosts(), [store], 'full');
  } finally {
    await perl('perl-away', 'perl');
  }
  expect(said).toContainEqual(expect.stringMatching(/^by rsync, which is slower: perl is missing/));
  expect(said.at(-1)).toMatch(/^copied \/srv\/store; folders that changed: \d+$/);
  await demandNothingLeft();
}, 180_000);

it('the target is let in for nothing but to wait for a call', async () => {
  await lab.host('old').keepFrom('new', 22, ['v4', 'v6']);
  const key = await createPassKey({ ...options(), directories: [store] });
  try {
    const line = await lab.host('old').mustSh('grep "way pass$" /root/.ssh/authorized_keys');
    expect(line).toMatch(
      /^restrict,from="[^"]*10\.77\.0\.12[^"]*",expiry-time="\d{14}Z",command="exec perl /,
    );
    const ssh = `ssh -i ${key.folder}/key -o UserKnownHostsFile=${key.folder}/known_hosts -o BatchMode=yes`;
    const { stdout } = await lab.host('new').sh(`${ssh} root@10.77.0.11 id < /dev/null`);
    expect(stdout).toBe('ready\n');
    const forwarded = await lab
      .host('new')
      .sh(`${ssh} -W 127.0.0.1:22 root@10.77.0.11 < /dev/null`);
    expect(forwarded.code).not.toBe(0);
    expect(await lab.host('new').mustSh('stat -f -c %T "$1"', [key.folder])).toBe('tmpfs\n');
  } finally {
    await key.remove();
  }
  await demandNothingLeft();
}, 120_000);

describe('where neither can connect', () => {
  it('goes through the runner', async () => {
    await lab.host('old').cutOffFrom('new');
    expect((await outlook(options())).lines).toContainEqual(
      expect.stringMatching(/^Way: through the runner, because OLD/),
    );
    await passAndHold({ ...options(), live: true });
    expect(said).toContainEqual(expect.stringMatching(/: the pass goes through the runner$/));
    expect(said).toContain('no connection is held open: it would go through this job');
    await deliver('old', '1800000001.M1P1.old');
    await finalPass(options());
    await demandEqual(...hosts(), [store], 'full');
    expect(said.filter((line) => line.includes('by rsync'))).toEqual([]);
  }, 180_000);

  it('leaves no port open', async () => {
    const { stdout } = await lab.host('old').sh('ss -Hltn "src 127.0.0.1"');
    expect(stdout).not.toMatch(/127\.0\.0\.1:(?!25\b)\d+/);
  });
});
