import type { ClientEvidence } from './evidence.ts';
import { ImapClient } from './imap-client.ts';
import { orchard, type Population } from './population.ts';
import { Random } from './random.ts';
import type { MailResolver } from './resolver.ts';

export interface ImapClientsOptions {
  readonly resolver: MailResolver;
  /** How many. Default 10. */
  readonly count?: number;
  /** Plain mailboxes that there are; the clients take the last of them. */
  readonly mailboxes: number;
  /** Default: the lab's virtual users. */
  readonly population?: Population;
  readonly seed: number;
  /** Milliseconds from one action to the next. Default 700. */
  readonly pace?: number;
}

export interface Away {
  /** Seconds, over all clients. */
  readonly max: number;
  readonly median: number;
}

/** Mail programs at work side by side, each alone on its mailbox; every second one on port 993. */
export class ImapClients {
  readonly #clients: readonly ImapClient[];

  constructor(options: ImapClientsOptions) {
    const { population = orchard } = options;
    const count = Math.min(options.count ?? 10, options.mailboxes);
    this.#clients = Array.from(
      { length: count },
      (_, index) =>
        new ImapClient({
          host: population.host,
          mailbox: population.user(options.mailboxes - index),
          resolver: options.resolver,
          random: new Random(options.seed + index),
          tls: index % 2 === 0,
          pace: options.pace ?? 700,
        }),
    );
  }

  async start(served = true): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.start(served)));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()));
  }

  async lastLook(seconds: number): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.lastLook(seconds)));
  }

  get count(): number {
    return this.#clients.length;
  }

  get connected(): number {
    return this.#clients.filter(({ connected }) => connected).length;
  }

  /** Clients that NEW has served last, by its own address. */
  get onNew(): number {
    return this.#clients.filter(({ presence }) => presence.side === 'new').length;
  }

  get away(): Away {
    const gaps = this.#clients.map(({ presence }) => presence.awaySeconds).sort((a, b) => a - b);
    return { max: gaps.at(-1) ?? 0, median: gaps[Math.floor(gaps.length / 2)] ?? 0 };
  }

  get evidence(): ClientEvidence {
    const memories = this.#clients.map(({ memory }) => memory);
    return {
      changes: memories.flatMap(({ changes }) => changes),
      touched: memories.flatMap(({ mailbox, touched }) =>
        [...touched].map((messageId) => ({ mailbox, messageId })),
      ),
      uidChanges: memories.flatMap(({ uidChanges }) => uidChanges),
      flagChanges: memories.flatMap(({ flagChanges }) => flagChanges),
    };
  }
}
