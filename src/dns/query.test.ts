import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import packet, { type Packet } from 'dns-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { NoReply, query } from './query.ts';

const answer = { type: 'A', name: 'mail.example', ttl: 60, data: '192.0.2.1' } as const;
const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

/** A UDP server on the loopback that answers each question as told; `undefined` is silence. */
async function udpServer(reply: (asked: Packet, count: number) => Buffer[]): Promise<number> {
  const socket: Socket = createSocket('udp4');
  open.push(socket);
  let count = 0;
  socket.on('message', (bytes, from) => {
    count += 1;
    for (const out of reply(packet.decode(bytes), count)) socket.send(out, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

async function tcpServer(port: number, reply: (asked: Packet) => Buffer[]): Promise<void> {
  const server: Server = createServer((socket) => {
    socket.on('data', (bytes) => {
      for (const out of reply(packet.decode(bytes.subarray(2)))) socket.write(out);
    });
    socket.on('error', () => {});
    open.push({ close: () => socket.destroy() });
  });
  open.push(server);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
}

const response = (asked: Packet, more: Packet): Packet => ({
  type: 'response',
  id: asked.id,
  questions: asked.questions,
  ...more,
});

const ask = (port: number, options = {}) =>
  query({ address: '127.0.0.1', port }, 'mail.example', 'A', options);

describe('query', () => {
  it('returns rcode, authority and answers, and asks without recursion', async () => {
    let recursion: boolean | undefined;
    const port = await udpServer((asked) => {
      recursion = ((asked.flags ?? 0) & packet.RECURSION_DESIRED) !== 0;
      const flags = packet.AUTHORITATIVE_ANSWER;
      return [packet.encode(response(asked, { flags, answers: [answer] }))];
    });
    const reply = await ask(port);
    expect(reply).toMatchObject({ rcode: 'NOERROR', aa: true, answers: [{ data: '192.0.2.1' }] });
    expect(recursion).toBe(false);
    await ask(port, { recursion: true });
    expect(recursion).toBe(true);
  });

  it('goes on to TCP when the reply is truncated, also within a record', async () => {
    const port = await udpServer((asked) => {
      const flags = packet.TRUNCATED_RESPONSE;
      return [packet.encode(response(asked, { flags, answers: [answer] })).subarray(0, -2)];
    });
    await tcpServer(port, (asked) => {
      const whole = packet.streamEncode(response(asked, { answers: [answer] }));
      return [whole.subarray(0, 1), whole.subarray(1, 9), whole.subarray(9)];
    });
    expect((await ask(port)).answers).toHaveLength(1);
  });

  it('passes over replies with another id, another question, or garbage', async () => {
    const port = await udpServer((asked) => {
      const id = ((asked.id ?? 0) + 1) & 0xffff;
      const other = { type: 'A', name: 'other.example' } as const;
      const evil = { ...answer, data: '203.0.113.66' };
      return [
        packet.encode(response(asked, { id, answers: [evil] })),
        packet.encode(response(asked, { questions: [other], answers: [evil] })),
        Buffer.from('garbage'),
        packet.encode(response(asked, { answers: [answer] })),
      ];
    });
    expect((await ask(port)).answers).toMatchObject([{ data: '192.0.2.1' }]);
  });

  it('takes a refusal that leaves the question out', async () => {
    const port = await udpServer((asked) => [
      packet.encode({ type: 'response', id: asked.id, flags: 5 }),
    ]);
    expect(await ask(port)).toMatchObject({ rcode: 'REFUSED', aa: false });
  });

  it('asks again after silence', async () => {
    const port = await udpServer((asked, count) =>
      count === 1 ? [] : [packet.encode(response(asked, { answers: [answer] }))],
    );
    expect((await ask(port, { timeout: 1000, attempts: 10 })).answers).toHaveLength(1);
  });

  it('gives up after its attempts', async () => {
    let questions = 0;
    const port = await udpServer(() => {
      questions += 1;
      return [];
    });
    await expect(ask(port, { timeout: 100, attempts: 3 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      noRoute: false,
    });
    // The last of them may still lie in the server's socket.
    await expect.poll(() => questions).toBe(3);
  });

  it.each(['udp', 'tcp'])('says when nothing listens (%s)', async (transport) => {
    const port = await udpServer(() => []);
    for (const server of open.splice(0)) server.close();
    await expect(ask(port, { transport })).rejects.toThrow(NoReply);
    await expect(ask(port, { transport })).rejects.toThrow('connection refused');
  });

  it('bounds the wait for a TCP server that never answers', async () => {
    const port = await udpServer(() => []);
    await tcpServer(port, () => []);
    await expect(ask(port, { transport: 'tcp', timeout: 100 })).rejects.toThrow('no reply within');
  });
});
