import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { nsupdate } from '../../src/dns/nsupdate.ts';
import { UserError } from '../../src/errors.ts';
import { key } from './servers.ts';

const tsig = { algorithm: 'hmac-sha256', ...key };

describe('nsupdate', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('names the package where it is missing', async () => {
    vi.stubEnv('PATH', '/nonexistent');
    const missing = nsupdate(tsig, [], 1);
    await expect(missing).rejects.toThrow(UserError);
    await expect(missing).rejects.toThrow('install the package bind9-dnsutils');
  });

  it('ends in time where the server takes the update and says nothing', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = address && typeof address === 'object' ? address.port : 0;
    const commands = [
      `server 127.0.0.1 ${port}`,
      'zone z.example.',
      'update delete z.example. IN A',
    ];
    expect(await nsupdate(tsig, commands, 1)).toMatchObject({ code: 'no reply' });
    server.close();
  });

  it('does not repeat a key that nsupdate complains of', async () => {
    const secret = 'c2VjcmV0';
    const outcome = await nsupdate({ ...tsig, secret: `${secret}!` }, [], 1);
    expect(outcome).toMatchObject({ code: 'unknown', output: expect.stringContaining('***') });
    expect(JSON.stringify(outcome)).not.toContain(secret);
  });
});
