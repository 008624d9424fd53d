import { afterEach, expect, test } from 'vitest';
import { Ledger } from './ledger.ts';
import type { OutgoingMessage } from './messages.ts';
import { type MailResolver, NoSuchName } from './resolver.ts';
import { type Script, ScriptedServer } from './scripted-server.ts';
import { Sender } from './sender.ts';
import { SmtpProber } from './smtp-prober.ts';

const servers: ScriptedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(script?: Script, address = '127.0.0.1', port = 0): Promise<ScriptedServer> {
  const server = await ScriptedServer.start(address, port, script);
  servers.push(server);
  return server;
}

function knowing(...addresses: string[]): MailResolver {
  return { mailHosts: async (domain) => [`mx.${domain}`], addresses: async () => addresses };
}

function message(...recipients: string[]): OutgoingMessage {
  return { messageId: '<m@sender>', from: 'post@sender', recipients, subject: 's', size: 200 };
}

function makeSender(port: number, resolver: MailResolver = knowing('127.0.0.1')) {
  const ledger = new Ledger();
  const sender = new Sender({ ledger, resolver, heloName: 'out', port, backoff: 5, timeout: 2000 });
  return { ledger, sender };
}

test('all recipients of a domain in one transaction, of two domains in two', async () => {
  const server = await serve();
  const { ledger, sender } = makeSender(server.port);
  sender.submit(message('a@x.example', 'b@x.example', 'c@y.example'));
  expect(await sender.drained(5)).toBe(true);
  const groups = server.taken.map(({ recipients }) => recipients);
  expect(groups).toHaveLength(2);
  expect(groups).toContainEqual(['a@x.example', 'b@x.example']);
  expect(ledger.deliveries.map(({ state }) => state)).toEqual(['accepted', 'accepted', 'accepted']);
  expect(server.taken[0]?.text).toContain('Message-ID: <m@sender>\r\n');
});

test('each recipient keeps its own reply, and only the deferred one is tried again', async () => {
  let first = true;
  const server = await serve((line) => {
    if (line === 'RCPT TO:<no@x>') return '552 5.2.2 full';
    if (line === 'RCPT TO:<later@x>' && first) {
      first = false;
      return '451 4.7.1 later';
    }
    return undefined;
  });
  const { ledger, sender } = makeSender(server.port);
  sender.submit(message('yes@x', 'no@x', 'later@x'));
  await sender.drained(5);
  expect(server.taken.map(({ recipients }) => recipients)).toEqual([['yes@x'], ['later@x']]);
  expect(ledger.deliveries).toMatchObject([
    { recipient: 'yes@x', state: 'accepted', attempts: 1 },
    { recipient: 'no@x', state: 'refused', reply: '552 5.2.2 full', attempts: 1 },
    { recipient: 'later@x', state: 'accepted', attempts: 2 },
  ]);
});

test('a connection that dies after the final dot is a lost reply, and tried again', async () => {
  let first = true;
  const server = await serve((line) => {
    if (line !== '.' || !first) return undefined;
    first = false;
    return 'hang up';
  });
  const { ledger, sender } = makeSender(server.port);
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([{ state: 'accepted', lostReplies: 1, attempts: 2 }]);
});

test.each(['DATA', 'RCPT TO:<a@x>', 'connect'])('hanging up at %s is no lost reply', async (at) => {
  let first = true;
  const server = await serve((line) => {
    if (line !== at || !first) return undefined;
    first = false;
    return 'hang up';
  });
  const { ledger, sender } = makeSender(server.port);
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([{ state: 'accepted', lostReplies: 0, attempts: 2 }]);
});

test('an address that refuses the connection is passed over for the next', async () => {
  const server = await serve(undefined, '127.0.0.2');
  const { ledger, sender } = makeSender(server.port, knowing('127.0.0.1', '127.0.0.2'));
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([{ server: '127.0.0.2', attempts: 1 }]);
  expect(sender.unreachable.get('127.0.0.1')).toBe(1);
});

test('a 5xx or 4xx greeting is passed over too, and never refuses a recipient', async () => {
  const server = await serve((line, n) => (line === 'connect' && n < 3 ? '554 away' : undefined));
  const { ledger, sender } = makeSender(server.port);
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([{ state: 'accepted', attempts: 3 }]);
});

test('names are asked for again at each attempt', async () => {
  const server = await serve(undefined, '127.0.0.2');
  let asked = 0;
  const resolver: MailResolver = {
    mailHosts: async () => ['mx'],
    addresses: async () => {
      asked += 1;
      if (asked === 1) throw new Error('SERVFAIL');
      return asked === 2 ? ['127.0.0.1'] : ['127.0.0.2'];
    },
  };
  const { ledger, sender } = makeSender(server.port, resolver);
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([
    { state: 'accepted', server: '127.0.0.2', attempts: 3 },
  ]);
});

test('a host without any address bounces, as at a real sender', async () => {
  const resolver: MailResolver = {
    mailHosts: async () => ['mx'],
    addresses: async () => {
      throw new NoSuchName('mx has no address');
    },
  };
  const { ledger, sender } = makeSender(25, resolver);
  sender.submit(message('a@x'));
  await sender.drained(5);
  expect(ledger.deliveries).toMatchObject([{ state: 'refused' }]);
});

test('the prober sums up the time without an answer', async () => {
  let down = false;
  const server = await serve((line) => (down && line.startsWith('RCPT') ? '451 no' : undefined));
  const prober = new SmtpProber({
    ...{ resolver: knowing('127.0.0.1'), host: 'mx', port: server.port },
    ...{ from: 'a@sender', recipient: 'a@x', heloName: 'out' },
  });
  prober.start();
  await expect.poll(() => prober.probes).toBeGreaterThan(0);
  expect(prober.refusedSeconds).toBe(0);
  down = true;
  await expect.poll(() => prober.refusedSeconds, { timeout: 3000 }).toBeGreaterThan(0.4);
  expect(prober.failing).toContain('451');
  down = false;
  await expect.poll(() => prober.failing).toBeUndefined();
  prober.stop();
  expect(prober.outages).toHaveLength(1);
  expect(server.taken).toEqual([]);
});
