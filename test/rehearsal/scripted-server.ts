import { createServer, type Server, type Socket } from 'node:net';

/** What the server does with a command: a reply, or hanging up. Undefined: the usual reply. */
export type Script = (line: string, connection: number) => string | 'hang up' | undefined;

/** An SMTP server for tests that says exactly what it is told to; it keeps what it answered 250 for. */
export class ScriptedServer {
  readonly taken: { recipients: readonly string[]; text: string }[] = [];
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(script: Script) {
    this.#server = createServer((socket) => this.#serve(socket, script));
  }

  static async start(address: string, port: number, script: Script = () => undefined) {
    const server = new ScriptedServer(script);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(port, address, resolve);
    });
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    if (!address || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket, script: Script): void {
    this.connections += 1;
    const connection = this.connections;
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    let recipients: string[] = [];
    let pending = '';
    let data: string | undefined;
    const answer = (line: string, usual: string): boolean => {
      const reply = script(line, connection) ?? usual;
      if (reply === 'hang up') socket.destroy();
      else socket.write(`${reply}\r\n`);
      return reply.startsWith('250');
    };
    answer('connect', '220 scripted');
    socket.on('data', (chunk) => {
      pending += chunk.toString('latin1');
      for (;;) {
        if (data === undefined) {
          const end = pending.indexOf('\r\n');
          if (end < 0) return;
          const line = pending.slice(0, end);
          pending = pending.slice(end + 2);
          if (line === 'DATA') data = '';
          const ok = answer(
            line,
            line === 'DATA' ? '354 go' : line === 'QUIT' ? '221 bye' : '250 ok',
          );
          if (line.startsWith('MAIL')) recipients = [];
          if (line.startsWith('RCPT') && ok) recipients.push(line.slice(9, -1));
        } else {
          const end = pending.indexOf('\r\n.\r\n');
          if (end < 0) return;
          const text = pending.slice(0, end + 2).replaceAll('\r\n.', '\r\n');
          pending = pending.slice(end + 5);
          data = undefined;
          if (answer('.', '250 taken')) this.taken.push({ recipients, text });
        }
      }
    });
  }
}
