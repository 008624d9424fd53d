import { connect as connectTcp, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** A reply as RFC 5321 section 4.2 has it: the code, and the text of all its lines. */
export interface Reply {
  readonly code: number;
  readonly text: string;
}

/** The connection was refused, broke, or stayed silent for too long. */
export class SmtpGone extends Error {
  override readonly name = 'SmtpGone';
}

export interface SmtpTarget {
  readonly address: string;
  readonly port: number;
  /** Milliseconds of silence after which the connection counts as dead. */
  readonly timeout: number;
}

/**
 * One SMTP connection, a command at a time. No pooling, no pipelining and no retries: whoever uses
 * it sees every single reply, which is what an exact account rests on.
 */
export class SmtpConnection {
  readonly #target: SmtpTarget;
  #socket: Socket;
  #pending = '';
  #lines: string[] = [];
  #replies: Reply[] = [];
  #waiting: ((outcome: Reply | SmtpGone) => void) | undefined;
  #gone: SmtpGone | undefined;

  private constructor(target: SmtpTarget, socket: Socket) {
    this.#target = target;
    this.#socket = socket;
    this.#listen();
  }

  /** Connects and reads the greeting. */
  static async open(target: SmtpTarget): Promise<{ smtp: SmtpConnection; greeting: Reply }> {
    const socket = connectTcp({ host: target.address, port: target.port });
    socket.setNoDelay(true);
    const smtp = new SmtpConnection(target, socket);
    try {
      return { smtp, greeting: await smtp.#reply() };
    } catch (error) {
      smtp.close();
      throw error;
    }
  }

  /** Sends one line and waits for its reply. */
  command(line: string): Promise<Reply> {
    const reply = this.#reply();
    if (!this.#gone) this.#socket.write(`${line}\r\n`);
    return reply;
  }

  /** Turns the connection into TLS after a 220 to STARTTLS. The certificate is not checked (RFC 7435). */
  async upgrade(serverName: string): Promise<void> {
    const plain = this.#socket;
    plain.removeAllListeners('data');
    plain.removeAllListeners('close');
    await new Promise<void>((resolve, reject) => {
      const fail = (error?: Error) =>
        reject(this.#fail(new SmtpGone(`TLS with ${this.#name()} failed`, { cause: error })));
      const secure = connectTls(
        { socket: plain, servername: serverName, rejectUnauthorized: false },
        () => {
          secure.off('close', onClose);
          this.#socket = secure;
          this.#pending = '';
          this.#listen();
          resolve();
        },
      );
      const onClose = () => fail();
      secure.on('error', fail);
      secure.on('close', onClose);
      secure.setTimeout(this.#target.timeout, () => secure.destroy());
    });
  }

  /** Sends the beginning of a message after a 354: whole lines. `body` sends the rest. */
  part(message: Buffer): Promise<void> {
    return this.#write(doubleDots(message));
  }

  /**
   * Sends a message after a 354, with dots doubled (RFC 5321 section 4.5.2). `onFinalDot` is called
   * just before the line that ends it: from then on the server may have taken the message.
   */
  async body(message: Buffer, onFinalDot: () => void): Promise<Reply> {
    const text = doubleDots(message);
    const end = text.subarray(-2).equals(CRLF) ? '.\r\n' : '\r\n.\r\n';
    await this.#write(text);
    const reply = this.#reply();
    onFinalDot();
    if (!this.#gone) this.#socket.write(end);
    return reply;
  }

  /** Says QUIT without waiting long for the answer, and closes. */
  async quit(): Promise<void> {
    try {
      await this.command('QUIT');
    } catch {
      // The transaction is over; how the other side hangs up is its own matter.
    }
    this.close();
  }

  close(): void {
    this.#socket.destroy();
  }

  #write(text: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      const gone = this.#gone;
      if (gone) return reject(gone);
      this.#socket.write(text, (error) =>
        error ? reject(new SmtpGone(`${this.#name()} hung up in mid-message`)) : resolve(),
      );
    });
  }

  #reply(): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const early = this.#replies.shift();
      if (early) return resolve(early);
      if (this.#gone) return reject(this.#gone);
      this.#waiting = (outcome) => {
        this.#waiting = undefined;
        if (outcome instanceof SmtpGone) reject(outcome);
        else resolve(outcome);
      };
    });
  }

  #listen(): void {
    const socket = this.#socket;
    socket.setTimeout(this.#target.timeout, () => {
      this.#fail(new SmtpGone(`${this.#name()} was silent for ${this.#target.timeout} ms`));
      socket.destroy();
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')));
    socket.on('error', (error) =>
      this.#fail(new SmtpGone(`${this.#name()}: ${error.message}`, { cause: error })),
    );
    socket.on('close', () => this.#fail(new SmtpGone(`${this.#name()} hung up`)));
  }

  #read(text: string): void {
    const lines = (this.#pending + text).split('\r\n');
    this.#pending = lines.pop() ?? '';
    for (const line of lines) {
      this.#lines.push(line.slice(4));
      if (line[3] === '-') continue;
      const reply = { code: Number.parseInt(line.slice(0, 3), 10), text: this.#lines.join('\n') };
      this.#lines = [];
      if (this.#waiting) this.#waiting(reply);
      else this.#replies.push(reply);
    }
  }

  #fail(gone: SmtpGone): SmtpGone {
    this.#gone ??= gone;
    this.#waiting?.(this.#gone);
    return this.#gone;
  }

  #name(): string {
    const { address, port } = this.#target;
    return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
  }
}

const CRLF = Buffer.from('\r\n');

function doubleDots(message: Buffer): Buffer {
  if (message[0] !== 0x2e && !message.includes('\r\n.')) return message;
  return Buffer.from(message.toString('latin1').replace(/(^|\r\n)\./g, '$1..'), 'latin1');
}
