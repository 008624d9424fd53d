import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A way that is long: `relay.ts PORT ADDRESS MILLISECONDS` takes connections, and hands every byte on to
 * sshd at ADDRESS, and every answer back, so much later. It holds 64 MB each way, so it bounds no rate
 * that SSH's own windows don't.
 */
const most = 64 * 2 ** 20;

async function carry(from: Socket, to: Socket, milliseconds: number): Promise<void> {
  let under = 0;
  from.on('data', async (piece: Buffer) => {
    under += piece.length;
    if (under > most) from.pause();
    // Timers of one length fire in the order in which they were set.
    await sleep(milliseconds);
    to.write(piece, () => {
      under -= piece.length;
      if (under <= most) from.resume();
    });
  });
  from.on('end', async () => {
    await sleep(milliseconds);
    to.end();
  });
  from.on('error', () => to.destroy());
  from.on('close', () => setTimeout(() => to.destroy(), milliseconds + 1000).unref());
}

const [port, address = '', milliseconds] = process.argv.slice(2);
createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const there = connect({ port: 22, host: address, allowHalfOpen: true, noDelay: true });
  void carry(near, there, Number(milliseconds));
  void carry(there, near, Number(milliseconds));
}).listen(Number(port), () => console.log('ready'));
