import { afterAll, beforeAll, expect, test } from 'vitest';
import { startProxy } from '../dns/proxy.ts';
import { Migration } from '../e2e/migration.ts';
import {
  activate,
  arrived,
  folder,
  type Scene,
  scene,
  send,
  serves,
  ttlBefore,
} from '../faults/scene.ts';
import { domains, mailName, network, virtualUser } from '../lab/world.ts';

/*
 * The hosts refuse a run that another has overtaken; a name server knows nothing of that. A runner
 * sleeps when its last look at the lock is behind it and its update is on its way; another one takes over
 * and goes back; then the update arrives.
 */

let here: Scene;

const records = [
  { name: mailName, type: 'A', values: [network.new.v4] },
  { name: mailName, type: 'AAAA', values: [network.new.v6] },
];

/** The TTL is low enough as it is: going back finds the zone as it should be, and has nothing to restore. */
const dnsBy = (server: string, port: number) => [
  { zone: domains.virtual, provider: 'rfc2136', server, port, ttl: ttlBefore, records },
];

beforeAll(async () => {
  here = await scene({ dns: dnsBy(network.dns.v4, 53) });
});
afterAll(() => here?.end());

const zone = async () =>
  here.lab
    .host('dns')
    .mustSh(`for type in A AAAA; do dig +noall +answer @${network.dns.v4} ${mailName} $type; done`);

/** NXRRSET (RFC 2136 section 2.2): a prerequisite did not hold. */
const nxrrset = 8;
const rcodeOf = (reply: Buffer) => reply.readUInt8(2 + 3) & 15;

test('an update that comes after another run has gone back changes nothing', {
  timeout: 300_000,
}, async () => {
  const { lab, migration } = here;
  const before = await zone();
  await activate(here);
  const proxy = await startProxy({ address: network.dns.v4, port: 53 });
  const sleeper = await Migration.create(lab, { dns: dnsBy(proxy.address, proxy.port) });
  let group = 0;
  let answer: number | undefined;
  proxy.onUpdate = async () => {
    process.kill(-group, 'SIGSTOP');
    for (const host of ['old', 'new'] as const)
      await lab.host(host).mustSh(`printf 1 > ${folder}/lock/expires`);
    await migration.must('rollback');
    return 'pass';
  };
  proxy.onUpdated = async () => {
    process.kill(-group, 'SIGCONT');
  };
  proxy.onReply = (reply) => {
    if (proxy.updates > 0) answer ??= rcodeOf(reply);
    return reply;
  };
  const { code, log } = await sleeper.run(
    'dns-cutover',
    {},
    {
      onStart: (pid) => {
        group = pid;
      },
    },
  );
  expect(answer).toBe(nxrrset);
  expect(code).not.toBe(0);
  expect(log).toMatch(/was taken over by lock \d+/);
  expect(proxy.updates).toBe(1);
  expect(await zone()).toBe(before);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  await arrived(here, 'old', await send(here, 'old', virtualUser(1)));
  proxy.close();
  await sleeper.remove();
});
