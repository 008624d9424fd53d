import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Lock, takeLock } from '../../src/engine/lock.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { migrationFiles } from '../../src/hosts/migration-files.ts';
import { demandEqual } from '../../src/transfer/manifest.ts';
import { outlook } from '../../src/transfer/outlook.ts';
import { finalPass, passAndHold } from '../../src/transfer/pass.ts';
import { seed } from '../bench/mail-store.ts';
import { Lab } from '../lab/lab.ts';

const store = '/srv/store';
let lab: Lab;
let lock: Lock;
let [source, target]: MailHost[] = [];
const said: string[] = [];

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

afterAll(async () => {
  await lock?.release();
  for (const host of hosts()) await host.close();
  await lab?.stop();
}, 60_000);

function hosts(): readonly [MailHost, MailHost] {
  if (!source || !target) throw new Error('no hosts');
  return [source, target];
}

function options() {
  const [from, to] = hosts();
  return {
    source: from,
    target: to,
    targetPort: 22,
    migration: 'way',
    items: [{ path: store, kind: 'directory' as const }],
    stores: [store],
    log: (line: string) => void said.push(line),
  };
}

it('goes straight where the source can connect to the target', async () => {
  expect((await outlook(options())).connects).toBe(true);
});

it('goes through the runner where the source can not connect to the target', async () => {
  await lab.host('old').cutOffFrom('new');
  expect((await outlook(options())).lines).toContainEqual(
    expect.stringMatching(/^Way: through the runner, because OLD/),
  );
  await passAndHold({ ...options(), live: true });
  expect(said).toContainEqual(expect.stringMatching(/: the pass goes through the runner$/));
  expect(said).toContain('no connection is held open: it would go through this job');
  await lab.host('old').mustSh('printf x > /srv/store/u1/new/1800000001.M1P1.old');
  await finalPass(options());
  await demandEqual(...hosts(), [store], 'full');
  expect(said.filter((line) => line.includes('by rsync'))).toEqual([]);
}, 180_000);

it('leaves no port open', async () => {
  const { stdout } = await lab.host('old').sh('ss -Hltn "src 127.0.0.1"');
  expect(stdout).not.toMatch(/127\.0\.0\.1:(?!25\b)\d+/);
});
