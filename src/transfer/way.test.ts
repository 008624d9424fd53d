import { expect, it } from 'vitest';
import type { Command, Result } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { CommandFailed } from '../hosts/mail-host.ts';
import { findWay } from './way.ts';

/** A host that reaches nobody, and says what it is asked by the purpose of the question. */
function host(address: string, says: (purpose: string) => string): Host {
  return {
    address,
    port: 22,
    async read({ purpose = '' }: Command): Promise<Result> {
      return { code: 0, signal: undefined, stdout: Buffer.from(says(purpose)), stderr: '' };
    },
  } as unknown as Host;
}

const nothing = { code: 1, signal: undefined, stdout: Buffer.from(''), stderr: '' };

it('goes through the runner where a host keeps its host keys elsewhere', async () => {
  const target = host('192.0.2.2', (purpose) =>
    purpose.includes('public keys') ? 'ssh-ed25519 AAAA root@new\n' : '',
  );
  const source = host('192.0.2.1', (purpose) => {
    if (purpose.includes('public keys')) throw new CommandFailed('no such file', nothing);
    return '';
  });
  expect(await findWay(source, target)).toEqual({ by: 'runner' });
});
