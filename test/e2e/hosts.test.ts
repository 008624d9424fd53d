import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MailHostConfig } from '../../src/config/schema.ts';
import { command, script } from '../../src/hosts/command.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { Lab } from '../lab/lab.ts';
import { password } from '../lab/world.ts';

/*
 * Connections to real sshds: jump host, sudo, lost connections, exit codes and signals.
 */

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start({ hosts: ['old', 'new'] });
}, 120_000);

afterAll(async () => {
  await lab?.stop();
});

function host(name: 'old' | 'new', changes: Partial<MailHostConfig> = {}, sudo?: string): MailHost {
  const { address, hostKeys } = lab.host(name);
  const config = { address, port: 22, user: 'root', 'host-keys': [...hostKeys], ...changes };
  return new MailHost(name, config, 'hosts-test', { key: lab.sshKey.text, sudoPassword: sudo });
}

async function using<T>(target: MailHost, work: (target: MailHost) => Promise<T>): Promise<T> {
  try {
    return await work(target);
  } finally {
    await target.close();
  }
}

const hostname = script('hostname', [], { purpose: 'ask its name' });

test('goes through a jump host, whose key is pinned too', { timeout: 30_000 }, async () => {
  const { address, hostKeys } = lab.host('old');
  const jump = { address, port: 22, user: 'root', 'host-keys': [...hostKeys] };
  await lab.host('new').cutOffFrom('bridge');
  try {
    await using(host('new', { jump }), async (target) => {
      expect((await target.read(hostname)).stdout.toString()).toBe('new\n');
    });
    const wrong = { ...jump, 'host-keys': [...lab.host('new').hostKeys] };
    await using(host('new', { jump: wrong }), async (target) => {
      await expect(target.read(hostname)).rejects.toThrow(/host key refused/);
    });
  } finally {
    await lab.host('new').reconnectTo('bridge');
  }
});

test('reaches a host by IPv6', { timeout: 30_000 }, async () => {
  await using(host('old', { address: lab.host('old').address6 }), async (target) => {
    expect((await target.read(hostname)).stdout.toString()).toBe('old\n');
  });
});

test('keeps exit codes and signals, and what stood on standard error', {
  timeout: 30_000,
}, async () => {
  await using(host('old'), async (target) => {
    const three = await target.read(
      command(['sh', '-c', 'echo out; echo err >&2; exit 3'], { allow: [3] }),
    );
    expect([three.code, three.stdout.toString(), three.stderr]).toEqual([3, 'out\n', 'err\n']);
    await expect(target.read(script('kill -KILL $$', [], { purpose: 'die' }))).rejects.toThrow(
      /die was killed by (SIG)?KILL/,
    );
    await expect(
      target.read(script('echo why >&2; exit 7', [], { purpose: 'try' })),
    ).rejects.toThrow('try failed with exit code 7: why');
  });
});

test('bytes go in and come out as they are', { timeout: 30_000 }, async () => {
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => (index * 31) % 256));
  for (const [user, sudo] of [['root'], ['admin'], ['operator', password]] as const) {
    await using(host('old', { user }, sudo), async (target) => {
      const back = await target.read(command(['cat'], { stdin: bytes }));
      expect(back.stdout.equals(bytes)).toBe(true);
      const id = await target.read(command(['id', '-u']));
      expect(id.stdout.toString()).toBe('0\n');
    });
  }
});

test('reads again when the connection was lost in the middle', { timeout: 60_000 }, async () => {
  await using(host('old'), async (target) => {
    const mark = '/run/second-try';
    // The first time the command ends its own connection; sshd's session process is our grandparent.
    const cut = script(
      `if [ -e "$1" ]; then echo again; exit 0; fi
       : > "$1"
       pkill -KILL -f 'sshd: root@notty'
       sleep 60`,
      [mark],
      { purpose: 'lose the connection' },
    );
    expect((await target.read(cut)).stdout.toString()).toBe('again\n');
  });
});

test('a change without the lock is a fault of ours, and an old lock changes nothing', {
  timeout: 60_000,
}, async () => {
  const first = host('old');
  const second = host('old');
  try {
    await first.install();
    await expect(first.change(command(['touch', '/root/touched']))).rejects.toThrow(
      'without the lock',
    );
    await first.lockWord('lock', ['first', '0', '1']);
    first.holdLock(1);
    await first.change(command(['true']));
    await second.lockWord('lock', ['second', '60', '2']);
    await expect(first.change(command(['touch', '/root/touched']))).rejects.toThrow(
      /lock 1 was taken over by lock 2 \(second\)/,
    );
    const { code } = await lab.host('old').sh('[ -e /root/touched ]');
    expect(code).toBe(1);
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
});
