import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Scene, Side } from '../faults/scene.ts';

/** What port 25 of a host says to one recipient, before any message: `550 5.1.1 …`. */
export async function answerFor({ lab }: Scene, host: Side, recipient: string): Promise<string> {
  const said = await dialogue(lab.host(host).address, 25, [
    'EHLO stranger.example',
    'MAIL FROM:<post@elsewhere.example>',
    `RCPT TO:<${recipient}>`,
    'QUIT',
  ]);
  return said[3] ?? '';
}

/**
 * Says each line after the reply to the one before; returns the last lines of all replies, the greeting
 * first. SMTP, or POP3 with replies of one line.
 */
export function dialogue(
  host: string,
  port: number,
  lines: readonly string[],
  tls = false,
): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const socket = tls
      ? connectTls({ host, port, rejectUnauthorized: false })
      : connect({ host, port });
    const replies: string[] = [];
    let rest = '';
    socket.setTimeout(60_000, () => socket.destroy(new Error(`${host}:${port} says nothing`)));
    socket.on('error', reject);
    socket.on('close', () => resolve(replies));
    socket.on('data', (data) => {
      rest += data.toString('utf8');
      const all = rest.split('\r\n');
      rest = all.pop() ?? '';
      for (const line of all) {
        if (line[3] === '-') continue;
        replies.push(line);
        const next = lines[replies.length - 1];
        if (next === undefined) socket.end();
        else socket.write(`${next}\r\n`);
      }
    });
  });
}
