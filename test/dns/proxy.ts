import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { ServerAddress } from '../../src/dns/query.ts';

/** What the proxy does with the update it holds. */
export type Verdict = 'pass' | 'drop-reply' | 'ignore';

/** A name server on TCP that hands everything on, and asks what to do with each update. */
export interface Proxy extends ServerAddress {
  /** Called while an update is held back. Default: it passes. */
  onUpdate: () => Promise<Verdict>;
  /** Called when the server has answered an update, before the reply is handed on. */
  onUpdated: () => Promise<void>;
  /** What the client gets of a reply. Default: all of it as it is. */
  onReply: (reply: Buffer) => Buffer;
  updates: number;
  close(): void;
}

const updateOpcode = 5;

/** Starts a proxy in front of `target`. */
export async function startProxy(target: ServerAddress, host = '127.0.0.1'): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect({ host: target.address, port: target.port });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    let verdict: Verdict = 'pass';
    let update = false;
    onMessages(client, async (message) => {
      update = ((message.readUInt8(4) >> 3) & 15) === updateOpcode;
      if (update) {
        proxy.updates += 1;
        verdict = await proxy.onUpdate();
      }
      if (verdict !== 'ignore') upstream.write(message);
    });
    onMessages(upstream, async (message) => {
      if (update) await proxy.onUpdated();
      if (verdict === 'drop-reply') client.destroy();
      else client.write(proxy.onReply(message));
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP port');
  const proxy: Proxy = {
    address: host,
    port: address.port,
    onUpdate: async () => 'pass',
    onUpdated: async () => {},
    onReply: (reply) => reply,
    updates: 0,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return proxy;
}

/** Calls back with each whole DNS message, its two bytes of length included. */
function onMessages(socket: Socket, take: (message: Buffer) => Promise<void>): void {
  let received = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0);
      void take(received.subarray(0, end));
      received = received.subarray(end);
    }
  });
}
