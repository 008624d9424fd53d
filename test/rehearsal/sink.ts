import { SMTPServer } from 'smtp-server';
import { network, outside } from '../lab/world.ts';
import { type BounceReport, isReport, parseBounces } from './bounce.ts';
import { messageIdOf, parseHead } from './head.ts';

/** A copy that the world outside has taken. */
export interface Received {
  readonly messageId: string;
  readonly recipient: string;
  /** ms since 1970 */
  readonly at: number;
}

export interface SinkOptions {
  /** Where to listen. Default: both addresses of the bridge. */
  readonly addresses?: readonly string[];
  /** Default 25. */
  readonly port?: number;
}

/** Enough for the header of any message and for the whole of a report. */
const keep = 256 * 1024;
const remembered = 20;

/**
 * The mail server of the world outside: takes mail for the outside domain and, as the rehearsal's
 * own sender is of that domain, the bounces that come back to it. Keeps who got what, and of the mail
 * itself only the last small messages.
 */
export class Sink {
  readonly received: Received[] = [];
  readonly bounces: BounceReport[] = [];
  /** The latest messages as they came, by Message-ID. */
  readonly contents = new Map<string, Buffer>();
  readonly #servers: SMTPServer[] = [];

  static async start(options: SinkOptions = {}): Promise<Sink> {
    const sink = new Sink();
    const { addresses = [network.bridge.v4, network.bridge.v6], port = 25 } = options;
    for (const address of addresses) await sink.#listen(address, port);
    return sink;
  }

  /** The port of the first listener. */
  get port(): number {
    const address = this.#servers[0]?.server.address();
    if (!address || typeof address === 'string') throw new Error('the sink is not listening');
    return address.port;
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
  }

  #listen(address: string, port: number): Promise<void> {
    const server = new SMTPServer({
      name: outside.mx,
      authOptional: true,
      disabledCommands: ['AUTH', 'STARTTLS'],
      disableReverseLookup: true,
      logger: false,
      onRcptTo: (recipient, _session, done) => {
        const domain = recipient.address.split('@')[1]?.toLowerCase();
        const ours = domain === outside.domain;
        done(ours ? undefined : Object.assign(new Error('not our domain'), { responseCode: 550 }));
      },
      onData: (stream, session, done) => {
        const chunks: Buffer[] = [];
        let size = 0;
        stream.on('data', (chunk: Buffer) => {
          if (size < keep) chunks.push(chunk);
          size += chunk.length;
        });
        stream.on('end', () => {
          const recipients = session.envelope.rcptTo.map(({ address }) => address.toLowerCase());
          this.#take(Buffer.concat(chunks), recipients);
          done();
        });
      },
    });
    // A host of the lab that dies in mid-connection is part of the rehearsal.
    server.on('error', () => undefined);
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.server.once('error', reject);
      server.listen(port, address, () => resolve());
    });
  }

  #take(content: Buffer, recipients: readonly string[]): void {
    const head = parseHead(content);
    if (isReport(head)) {
      this.bounces.push(...parseBounces(content));
      return;
    }
    const messageId = messageIdOf(head) ?? '';
    const at = Date.now();
    if (content.length < keep) this.#remember(messageId, content);
    for (const recipient of recipients) this.received.push({ messageId, recipient, at });
  }

  #remember(messageId: string, content: Buffer): void {
    this.contents.set(messageId, content);
    const [oldest] = this.contents.keys();
    if (this.contents.size > remembered && oldest !== undefined) this.contents.delete(oldest);
  }
}
