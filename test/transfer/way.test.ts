import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Lock, takeLock } from '../../src/engine/lock.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { migrationFiles } from '../../src/hosts/migration-files.ts';
import { demandEqual } from '../../src/transfer/manifest.ts';
import { outlook } from '../../src/transfer/outlook.ts';
import { finalPass, passAndHold, transferPass } from '../../src/transfer/pass.ts';
import { createPassKey, removePassKey } from '../../src/transfer/pass-key.ts';
import { classify, rsyncPass } from '../../src/transfer/rsync-pass.ts';
import { seed } from '../bench/mail-store.ts';
import { Lab } from '../lab/lab.ts';
import { mustRun, waitFor } from '../lab/process.ts';

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
       # What brings to disk what tar wrote looks once a second whether tar is still there.
       for second in 1 2 3 4 5; do if pgrep -f 'mirro[r].pl untar' > /run/lab-left; then sleep 1; fi; done
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
      /^restrict,from="[^"]*10\.77\.0\.12[^"]*",expiry-time="\d{14}Z",command="exec sh (\S+)\/door \1 perl /,
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

it('a lease that is over lets nobody in, and ends nothing', async () => {
  const [old, fresh] = [lab.host('old'), lab.host('new')];
  const key = await createPassKey({ ...options(), directories: [store] });
  const ask = `${key.remoteShell} ${key.host} 'mail-cutover hello' < /dev/null 2>&1`;
  try {
    expect(await old.sh(ask)).toMatchObject({ code: 0, stdout: '' });
    // One that waits for the other side's first word.
    await old.mustSh(
      `mkfifo /run/lab-fifo
       (${key.remoteShell} ${key.host} 'mail-cutover mirror' < /run/lab-fifo > /run/lab-said 2>&1 &
        sleep 60 > /run/lab-fifo 2>&1 & echo $! > /run/lab-holder)`,
    );
    await waitFor('the target waits', 30, async () => (await fresh.sh(receives)).code === 0);
    await fresh.mustSh('echo 1 > "$1/lease"', [key.folder]);
    expect(await old.sh(ask)).toMatchObject({
      code: 77,
      stdout: 'mail-cutover: the lease of the key of this pass is over\n',
    });
    expect((await fresh.sh(receives)).code).toBe(0);
    await key.renew();
    expect((await old.sh(ask)).code).toBe(0);
    await fresh.mustSh('rm "$1/lease"', [key.folder]);
    expect((await old.sh(ask)).code).toBe(77);
  } finally {
    await old.sh(
      'kill "$(cat /run/lab-holder)"; rm -f /run/lab-fifo /run/lab-holder /run/lab-said',
    );
    await key.remove();
  }
  await waitFor('it has ended', 30, async () => (await fresh.sh(receives)).code !== 0);
  await demandNothingLeft();
}, 120_000);

/** The end of a pass on the target. */
const receives = "pgrep -f 'mirro[r].pl receive'";

describe('where a port answers and the key is not let in', () => {
  const runner = '*@10.77.0.1';
  const itself = '*@127.0.0.1 *@::1';
  /** Lets nobody else in; what reaches the port is answered all the same. */
  const admitOnly = (name: Name, users: string) =>
    lab
      .host(name)
      .mustSh(
        'printf "AllowUsers %s\n" "$1" > /etc/ssh/sshd_config.d/lab.conf; systemctl reload ssh',
        [users],
      );

  afterEach(async () => {
    for (const name of ['old', 'new'] as const)
      await lab.host(name).mustSh('rm -f /etc/ssh/sshd_config.d/lab.conf; systemctl reload ssh');
  });

  const detour = () => said.find((line) => line.includes('is not let in')) ?? '';

  it('on the target, the target connects', async () => {
    await admitOnly('new', runner);
    await liveAndFinal();
    expect(detour()).toMatch(
      /^10\.77\.0\.11 is not let in by sshd at 10\.77\.0\.12 \(.*Permission denied.*; the key is good from [^ ]*10\.77\.0\.11.*: the other one connects to it$/,
    );
    expect(said).toContain(held);
    await demandNothingLeft();
  }, 180_000);

  it('on neither, the pass goes through the runner', async () => {
    for (const name of ['old', 'new'] as const) await admitOnly(name, `${runner} ${itself}`);
    await liveAndFinal();
    expect(detour()).toMatch(
      /10\.77\.0\.12 is not let in by sshd at 10\.77\.0\.11 .*: the pass goes through the runner$/,
    );
    expect(said).toContain('no connection is held open: it would go through this job');
    await demandNothingLeft();
  }, 180_000);

  it('on the target by nobody at all, the target connects through the runner', async () => {
    await admitOnly('new', runner);
    await admitOnly('old', `${runner} ${itself}`);
    await liveAndFinal();
    expect(detour()).toMatch(/: the pass goes through the runner$/);
    await demandNothingLeft();
  }, 180_000);

  it('anywhere, the pass fails and says so', async () => {
    for (const name of ['old', 'new'] as const) await admitOnly(name, runner);
    await expect(createPassKey({ ...options(), directories: [store] })).rejects.toThrow(
      /^the hosts can't be joined for a pass: .*10\.77\.0\.11 is not let in .*10\.77\.0\.12 is not let in .*127\.0\.0\.1/,
    );
    for (const name of ['old', 'new'] as const)
      expect(await lab.host(name).sh('grep "way pass$" /root/.ssh/authorized_keys')).toMatchObject({
        stdout: '',
      });
    await removePassKey(...hosts(), 'way');
  }, 180_000);

  it('because it comes from another address (NAT), another way is taken', async () => {
    const old = lab.host('old');
    // What the other host sees is none of the addresses that this one knows of itself.
    await old.mustSh(
      `cat > /usr/local/bin/ip <<'END'
#!/bin/sh
found=$(/usr/bin/ip "$@")
printf '%s\\n' "$found" | grep -vF 10.77.0.211
END
       chmod 755 /usr/local/bin/ip
       link=$(/usr/bin/ip -o route get 10.77.0.12 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
       /usr/bin/ip address add 10.77.0.211/24 dev "$link"
       /usr/bin/ip route add 10.77.0.12/32 dev "$link" src 10.77.0.211`,
    );
    try {
      await liveAndFinal();
    } finally {
      await old.mustSh(
        `link=$(/usr/bin/ip -o route get 10.77.0.12 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
         rm /usr/local/bin/ip
         ip route del 10.77.0.12/32
         ip address del 10.77.0.211/24 dev "$link"`,
      );
    }
    expect(detour()).toMatch(/^10\.77\.0\.11 is not let in .*: it connects to fd77::12$/);
    expect(said).toContain(held);
    await demandNothingLeft();
  }, 180_000);
});

it('an sshd that does not tell its version gets a line that the oldest knows', async () => {
  const fresh = lab.host('new');
  await fresh.mustSh(
    'printf "#!/bin/sh\\nexit 1\\n" > /usr/local/sbin/sshd; chmod 755 /usr/local/sbin/sshd',
  );
  try {
    const key = await createPassKey({ ...options(), directories: [store] });
    expect(key.detour).toBe(undefined);
    expect(await fresh.mustSh('grep "way pass$" /root/.ssh/authorized_keys')).toMatch(
      /^no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-pty,no-user-rc,from="[^"]*",command="/,
    );
    const forward = `${key.remoteShell} -W 127.0.0.1:22 ${key.host} < /dev/null`;
    expect((await lab.host('old').sh(forward)).code).not.toBe(0);
    await key.remove();
  } finally {
    await fresh.mustSh('rm /usr/local/sbin/sshd');
  }
  await demandNothingLeft();
}, 60_000);

/**
 * Folders with the unpacked packages of a Debian or Ubuntu of old (`mmdebstrap --variant=extract
 * --include=openssh-server SUITE FOLDER`), parted by colons: their sshd serves the lab's NEW.
 */
const trees = (process.env['OLD_SSHD'] ?? '').split(':').filter(Boolean);

describe.skipIf(trees.length === 0).each(trees)('with the sshd of %s on NEW', (tree) => {
  beforeAll(async () => {
    const fresh = lab.host('new');
    await mustRun(['mkdir', '-p', join(fresh.root, 'srv/sshd')]);
    await mustRun(['cp', '-a', join(tree, 'lib'), join(tree, 'usr'), join(fresh.root, 'srv/sshd')]);
    await fresh.mustSh(`cat > /usr/local/sbin/sshd <<'END'
#!/bin/sh
tree=/srv/sshd
lib=x86_64-linux-gnu
exec $tree/lib/$lib/ld-linux-x86-64.so.2 --library-path $tree/lib/$lib:$tree/usr/lib/$lib $tree/usr/sbin/sshd -r "$@"
END
      chmod 755 /usr/local/sbin/sshd
      cat > /etc/ssh/old.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_rsa_key
PermitRootLogin prohibit-password
UsePAM no
END
      systemctl stop ssh.service
      mkdir -p /run/sshd
      systemd-run -q --collect --unit=old-sshd /usr/local/sbin/sshd -D -e -f /etc/ssh/old.conf`);
    await waitFor(
      'the old sshd',
      30,
      async () => (await fresh.sh('ss -Hltn "sport = :22"')).stdout !== '',
    );
  }, 120_000);

  afterAll(async () => {
    await lab
      .host('new')
      .mustSh(
        'systemctl stop old-sshd; rm -rf /srv/sshd /usr/local/sbin/sshd /etc/ssh/old.conf; systemctl start ssh.service',
      );
  }, 60_000);

  it('lets the key in while its lease lasts', async () => {
    const [old, fresh] = [lab.host('old'), lab.host('new')];
    const key = await createPassKey({ ...options(), directories: [store] });
    expect(key.detour).toBe(undefined);
    const ask = `${key.remoteShell} ${key.host} 'mail-cutover hello' < /dev/null`;
    expect((await old.sh(ask)).code).toBe(0);
    await key.renew();
    expect((await old.sh(ask)).code).toBe(0);
    await fresh.mustSh('echo 1 > "$1/lease"', [key.folder]);
    expect((await old.sh(ask)).code).toBe(77);
    await key.remove();
    await demandNothingLeft();
  }, 60_000);

  it('takes passes', async () => {
    await liveAndFinal();
    expect(said).toContain(held);
    expect(said.filter((line) => /is not let in/.test(line))).toEqual([]);
    await demandNothingLeft();
  }, 180_000);

  it('lets OLD wait there for a call, where only OLD can connect', async () => {
    await lab.host('new').keepFrom('old', 22, ['v4', 'v6']);
    await liveAndFinal(true);
    expect(said).toContainEqual(expect.stringMatching(/: the other one connects to it$/));
    expect(said).toContain(held);
    await demandNothingLeft();
  }, 180_000);
});

it('where /run is on a disk the key lies in /dev/shm', async () => {
  const [old, fresh] = [lab.host('old'), lab.host('new')];
  const wrapper = `cat > /usr/local/bin/stat <<'END'
#!/bin/sh
if [ "$*" = '-f -c %T -- /run' ]; then echo overlayfs; else exec /usr/bin/stat "$@"; fi
END
chmod 755 /usr/local/bin/stat`;
  for (const host of [old, fresh]) await host.mustSh(wrapper);
  try {
    const key = await createPassKey({ ...options(), directories: [store] });
    for (const host of [old, fresh])
      expect(await host.mustSh('readlink "$1"', [key.folder])).toMatch(/^\/dev\/shm\//);
    await key.remove();
    await liveAndFinal();
    for (const host of [old, fresh])
      expect(await host.sh('ls -d /dev/shm/mail-cutover*')).toMatchObject({ stdout: '' });
  } finally {
    for (const host of [old, fresh]) await host.mustSh('rm /usr/local/bin/stat');
  }
  await demandNothingLeft();
}, 180_000);

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
