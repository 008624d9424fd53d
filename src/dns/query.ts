import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import packet, {
  type Answer,
  type DecodedPacket,
  type Question,
  type RecordType,
} from 'dns-packet';
import { canonicalName } from './rdata.ts';

/**
 * A small DNS client over `dns-packet`. `node:dns` can't say whether an answer is authoritative, nor
 * ask without recursion, and both matter for a proof.
 */

/** One address of one name server. */
export interface ServerAddress {
  /** IPv4 or IPv6 address. */
  readonly address: string;
  readonly port: number;
}

/** How a question is asked. */
export interface QueryOptions {
  /** Sets RD: let a resolver go and find out. Default: false, the server's own data only. */
  readonly recursion?: boolean;
  /** `udp` goes on to TCP when the reply is truncated. Default: `udp`. */
  readonly transport?: 'udp' | 'tcp';
  /** Milliseconds for one attempt. Default: 3000. */
  readonly timeout?: number;
  /** Default: 2. */
  readonly attempts?: number;
}

/** A reply, decoded. */
export interface Reply {
  /** "NOERROR", "NXDOMAIN", "REFUSED" … */
  readonly rcode: string;
  /** The server answers from a zone of its own. */
  readonly aa: boolean;
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  readonly additionals: readonly Answer[];
  /** As it came, for what `dns-packet` decodes only in part. */
  readonly bytes: Buffer;
}

/** No usable reply came; `code` is the system's, or `ETIMEDOUT`. */
export class NoReply extends Error {
  override readonly name = 'NoReply';
  readonly code: string;

  constructor(code: string, reason: string, options?: ErrorOptions) {
    super(reason, options);
    this.code = code;
  }

  /** This machine has no way to such addresses at all: it says nothing about the server. */
  get noRoute(): boolean {
    return ['ENETUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(this.code);
  }
}

/** Asks one server one question. Throws `NoReply` when all attempts ended without an answer. */
export async function query(
  server: ServerAddress,
  name: string,
  type: RecordType,
  options: QueryOptions = {},
): Promise<Reply> {
  const { attempts = 2 } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(server, { name, type }, options);
    } catch (error) {
      if (!(error instanceof NoReply) || error.noRoute || attempt >= attempts) throw error;
    }
  }
}

async function ask(server: ServerAddress, question: Question, options: QueryOptions) {
  const { transport = 'udp', timeout = 3000, recursion = false } = options;
  // A fresh id and a fresh source port each time (RFC 5452): hard to answer for a stranger.
  const id = randomInt(0x10000);
  const flags = recursion ? packet.RECURSION_DESIRED : 0;
  const query = packet.encode({ type: 'query', id, flags, questions: [question] });
  const accept = (bytes: Buffer) => decode(bytes, id, question);

  const first = await exchange[transport](server, query, accept, timeout);
  const reply = first.flag_tc ? await exchange.tcp(server, query, accept, timeout) : first;
  return {
    rcode: reply.rcode,
    aa: reply.flag_aa,
    answers: reply.answers ?? [],
    authorities: reply.authorities ?? [],
    additionals: reply.additionals ?? [],
    bytes: reply.bytes,
  };
}

/** The declared type lacks the reply code, which the package does decode. */
type Decoded = DecodedPacket & { rcode: string };
type Accepted = Decoded & { bytes: Buffer };
type Accept = (bytes: Buffer) => Accepted | undefined;
type Exchange = (
  server: ServerAddress,
  query: Buffer,
  accept: Accept,
  timeout: number,
) => Promise<Accepted>;

/** The reply, or `undefined` if these bytes do not answer our question. */
function decode(bytes: Buffer, id: number, question: Question): Accepted | undefined {
  const decoded = tryDecode(bytes);
  const reply = decoded && { ...decoded, bytes };
  if (!reply?.flag_qr || reply.id !== id) return undefined;
  const [asked] = reply.questions ?? [];
  // Some servers leave the question out of a refusal.
  if (!asked) return reply.rcode === 'NOERROR' ? undefined : reply;
  const same =
    asked.type === question.type && canonicalName(asked.name) === canonicalName(question.name);
  return same ? reply : undefined;
}

function tryDecode(bytes: Buffer): Decoded | undefined {
  try {
    return packet.decode(bytes) as Decoded;
  } catch {
    return truncated(bytes);
  }
}

/** A truncated reply may end inside a record; its header and question are enough to go on to TCP. */
function truncated(bytes: Buffer): Decoded | undefined {
  if (bytes.length < 12 || (bytes.readUInt16BE(2) & packet.TRUNCATED_RESPONSE) === 0)
    return undefined;
  const head = Buffer.from(bytes);
  head.fill(0, 6, 12);
  try {
    return packet.decode(head) as Decoded;
  } catch {
    return undefined;
  }
}

const udp: Exchange = (server, query, accept, timeout) =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    const settle = (end: () => void) => {
      clearTimeout(timer);
      socket.close();
      end();
    };
    const timer = setTimeout(() => settle(() => reject(timedOut(timeout))), timeout);
    socket.on('error', (error) => settle(() => reject(failed(error))));
    // A connected socket takes packets from that address and port only, and learns of a closed port.
    socket.on('connect', () => socket.send(query));
    socket.connect(server.port, server.address);
    socket.on('message', (bytes, from) => {
      const peer = socket.remoteAddress();
      const reply = from.address === peer.address && from.port === peer.port && accept(bytes);
      if (reply) settle(() => resolve(reply));
    });
  });

const tcp: Exchange = (server, query, accept, timeout) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: server.address, port: server.port });
    const settle = (end: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      end();
    };
    const timer = setTimeout(() => settle(() => reject(timedOut(timeout))), timeout);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.on('connect', () => socket.write(Buffer.concat([length, query])));
    socket.on('error', (error) => settle(() => reject(failed(error))));
    socket.on('close', () =>
      settle(() => reject(new NoReply('ECONNRESET', 'closed without a reply'))),
    );
    let received = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const reply = accept(received.subarray(2, 2 + received.readUInt16BE(0)));
      settle(() =>
        reply ? resolve(reply) : reject(new NoReply('EBADMSG', 'an unreadable reply')),
      );
    });
  });

const exchange = { udp, tcp };

function timedOut(timeout: number): NoReply {
  return new NoReply('ETIMEDOUT', `no reply within ${timeout / 1000} s`);
}

function failed(error: NodeJS.ErrnoException): NoReply {
  const code = error.code ?? 'EIO';
  const reason = reasons[code] ?? error.message;
  return new NoReply(code, reason, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'no route from this machine',
  EADDRNOTAVAIL: 'no route from this machine',
  EAFNOSUPPORT: 'this machine has no such address family',
};
