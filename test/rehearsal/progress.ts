import type { Traffic } from './traffic.ts';

/** The traffic in one line, for people who watch. */
export function trafficLine(traffic: Traffic): string {
  const { ledger, sender, submitters, clients, prober } = traffic;
  const states = Map.groupBy(ledger.deliveries, ({ state }) => state);
  const count = (state: 'accepted' | 'refused') => states.get(state)?.length ?? 0;
  const waiting = sender.queued + submitters.queued;
  return [
    `${count('accepted')} accepted (NEW ${ledger.acceptedBy('new').length})`,
    `${waiting} waiting`,
    `${count('refused')} refused`,
    `IMAP ${clients.connected}/${clients.count}, ${clients.onNew} on NEW`,
    `port 25 ${prober.failing === undefined ? 'open' : 'CLOSED'} (${prober.refusedSeconds.toFixed(1)} s)`,
  ].join(' · ');
}

/**
 * Shows the line again and again: in place on a terminal, else as a line of its own every ten
 * seconds. Returns the function that ends it.
 */
export function showProgress(
  traffic: Traffic,
  stream: NodeJS.WriteStream = process.stderr,
): () => void {
  const show = () => {
    const seconds = Math.round((Date.now() - traffic.startedAt) / 1000);
    const line = `${String(seconds).padStart(4)} s  ${trafficLine(traffic)}`;
    // Erase to the end of the line: the new text may be shorter (ECMA-48, EL).
    stream.write(stream.isTTY ? `\r${line.slice(0, stream.columns - 1)}\x1b[K` : `${line}\n`);
  };
  const timer = setInterval(show, stream.isTTY ? 500 : 10_000);
  return () => {
    clearInterval(timer);
    if (stream.isTTY) stream.write('\n');
  };
}
