import { connect } from 'node:net';
import { createInterface } from 'node:readline';

export interface Pop3Options {
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

const silenceSeconds = 20;

/** Logs in over plain POP3 (RFC 1939), as through an SSH tunnel, and counts the messages. */
export async function countMessages({ port, user, password }: Pop3Options): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.setTimeout(silenceSeconds * 1000, () => socket.destroy(new Error('no answer')));
  const failed = new Promise<never>((_, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
  failed.catch(() => undefined);
  try {
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    const answer = async (): Promise<string> => {
      const { value } = await Promise.race([lines.next(), failed]);
      if (typeof value !== 'string' || !value.startsWith('+OK')) throw new Error(String(value));
      return value;
    };
    await answer();
    for (const line of [`USER ${user}`, `PASS ${password}`]) {
      socket.write(`${line}\r\n`);
      await answer();
    }
    socket.write('STAT\r\n');
    const count = Number((await answer()).split(' ')[1]);
    socket.write('QUIT\r\n');
    return count;
  } finally {
    socket.destroy();
  }
}
