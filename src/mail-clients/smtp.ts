import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline/promises';
import { connect as secure } from 'node:tls';

export interface Reply {
  readonly code: number;
  /** All lines, without their codes. */
  readonly lines: readonly string[];
}

export interface SmtpAnswer {
  readonly greeting: string;
  readonly startTls: boolean;
  /** The reply to RCPT TO. */
  readonly recipient: Reply;
}

/** Seconds for one reply. RFC 5321 section 4.5.3.2 allows a server five minutes; a check does not wait so long. */
const replySeconds = 30;

/**
 * Asks a server whether it would take a message for `recipient`, and leaves before any message:
 * EHLO, MAIL, RCPT, RSET, QUIT (RFC 5321); with STARTTLS where it wants that (530, RFC 3207). No
 * library sends a RCPT without a message after it.
 */
export async function askRecipient(
  port: number,
  sender: string,
  recipient: string,
): Promise<SmtpAnswer> {
  let socket: Socket = connect({ host: '127.0.0.1', port });
  try {
    let replies = read(patient(socket));
    const ask = async (line: string) => {
      socket.write(`${line}\r\n`);
      return next(replies);
    };
    const greeting = await next(replies);
    const hello = await ask('EHLO mail-cutover.invalid');
    const mail = `MAIL FROM:<${sender}>`;
    if ((await ask(mail)).code === 530) {
      await ask('STARTTLS');
      // Of the certificate nothing is believed here: what is asked is whether mail is taken.
      socket = secure({ socket, rejectUnauthorized: false });
      replies = read(patient(socket));
      await ask('EHLO mail-cutover.invalid');
      await ask(mail);
    }
    const answer = await ask(`RCPT TO:<${recipient}>`);
    await ask('RSET');
    await ask('QUIT');
    return {
      greeting: greeting.lines.join(' '),
      startTls: hello.lines.some((line) => line.toUpperCase().startsWith('STARTTLS')),
      recipient: answer,
    };
  } finally {
    socket.destroy();
  }
}

function patient(socket: Socket): Socket {
  return socket.setTimeout(replySeconds * 1000, () => socket.destroy(new Error('no reply')));
}

/** Replies of one or more lines (RFC 5321 section 4.2.1). */
async function* read(socket: Socket): AsyncGenerator<Reply, void> {
  let lines: string[] = [];
  for await (const line of createInterface({ input: socket })) {
    lines.push(line.slice(4));
    if (line[3] !== '-') {
      yield { code: Number(line.slice(0, 3)), lines };
      lines = [];
    }
  }
}

async function next(replies: AsyncGenerator<Reply, void>): Promise<Reply> {
  const { value, done } = await replies.next();
  if (done || !value) throw new Error('the server closed the connection');
  return value;
}
