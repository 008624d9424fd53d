import { expect, it } from 'vitest';
import type { Command, Result } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { rsyncItems } from './rsync-pass.ts';

const done: Result = { code: 0, signal: undefined, stdout: Buffer.alloc(0), stderr: '' };

it('looks at the lease before each item: the one before may have taken hours', async () => {
  const did: string[] = [];
  const host = {
    async change({ purpose = '' }: Command): Promise<Result> {
      did.push(purpose);
      return done;
    },
  } as unknown as Host;
  const key = {
    sharedShell: 'ssh',
    destination: 'target',
    module: () => 'tree0',
    renewIfDue: async () => void did.push('renewed'),
  };
  const items = ['/srv/a', '/srv/b'].map((path) => ({ path, kind: 'directory' as const }));
  const hosts = { source: host, target: host };
  await rsyncItems({ ...hosts, migration: 'm', items, live: true, log: () => {} }, key);
  const expected = ['renewed', 'copy /srv/a', 'renewed', 'copy /srv/b'];
  const copying = did.filter((what) => what === 'renewed' || what.startsWith('copy '));
  expect(copying.slice(0, 4)).toEqual(expected);
});
