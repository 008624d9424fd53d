import { outside } from '../lab/world.ts';
import { ImapClients } from './imap-clients.ts';
import { Ledger } from './ledger.ts';
import { from, Mixture } from './mixture.ts';
import { Pacer } from './pacer.ts';
import { orchard, type Population } from './population.ts';
import { Random } from './random.ts';
import { LabResolver, type MailResolver } from './resolver.ts';
import { Sender } from './sender.ts';
import { Sink } from './sink.ts';
import { SmtpProber } from './smtp-prober.ts';
import { Submitters } from './submitters.ts';

export interface TrafficOptions {
  /** Plain mailboxes that exist. At least 10. */
  readonly mailboxes: number;
  /** Default: the lab's virtual users, with everybody who has a role. */
  readonly population?: Population;
  /** Messages a second from outside. */
  readonly rate: number;
  /** Messages a second that users submit. Default: a fifth of `rate`. */
  readonly submissionRate?: number;
  /** Mail programs. Default 10. */
  readonly imapClients?: number;
  /** Milliseconds before a sender tries again. Default 1000. */
  readonly backoff?: number;
  /** Milliseconds from one message over 10 MB to the next. Default 10000. */
  readonly bigEvery?: number;
  /** For the same choices again. Default: of the clock. */
  readonly seed?: number;
  readonly resolver?: MailResolver;
  readonly log?: (line: string) => void;
}

/**
 * All the mail of a rehearsal while it runs:
 *
 *     const traffic = await startTraffic({ mailboxes: 300, rate: 10 });
 *     …the migration…
 *     await traffic.stop();             // nothing new; mail programs closed
 *     await traffic.drainQueue(120);    // what waits in the senders' queues goes out
 *     const account = await settledAccount({ …, traffic }, 120);
 *     await traffic.close();            // prober and sink
 */
export class Traffic {
  readonly ledger = new Ledger();
  readonly sender: Sender;
  readonly submitters: Submitters;
  readonly clients: ImapClients;
  readonly prober: SmtpProber;
  readonly sink: Sink;
  readonly startedAt = Date.now();
  /** Where its chance starts from. */
  readonly seed: number;
  readonly #mixture: Mixture;
  readonly #pacer = new Pacer();

  constructor(options: TrafficOptions, sink: Sink) {
    const { mailboxes, rate, seed = Date.now(), backoff = 1000, population = orchard } = options;
    const resolver = options.resolver ?? new LabResolver();
    const { ledger } = this;
    const { hasMailPrograms = true } = population;
    const heloName = outside.mx;
    options.log?.(`traffic: chance starts from ${seed}`);
    this.seed = seed;
    this.sink = sink;
    this.sender = new Sender({ ledger, resolver, heloName, backoff });
    this.submitters = new Submitters({
      ...{ ledger, resolver, mailboxes, population, backoff },
      random: new Random(seed + 1),
      rate: hasMailPrograms ? (options.submissionRate ?? rate / 5) : 0,
    });
    this.clients = new ImapClients({
      ...{ resolver, mailboxes, population, seed: seed + 1000 },
      count: hasMailPrograms ? (options.imapClients ?? 10) : 0,
    });
    const { host, takesPlain } = population;
    const recipient = population.user(1);
    this.prober = new SmtpProber({ resolver, host, from, recipient, heloName, takesPlain });
    this.#mixture = new Mixture({
      ...{ mailboxes, population, random: new Random(seed) },
      ...(options.bigEvery === undefined ? {} : { bigEvery: options.bigEvery }),
    });
  }

  /** Mail programs first, so that they know their mailboxes; then the mail. */
  async start(rate: number): Promise<void> {
    await this.clients.start();
    this.prober.start();
    this.submitters.start();
    this.#pacer.start(rate, () => {
      const { message, folder } = this.#mixture.next();
      this.sender.submit(message, folder);
    });
  }

  /** No new mail, and the mail programs end their work. Queues and outboxes go on. */
  async stop(): Promise<void> {
    this.#pacer.stop();
    this.submitters.stop();
    await this.clients.stop();
  }

  /** Waits until all that was handed over is accepted or refused. False when time was up first. */
  async drainQueue(seconds: number): Promise<boolean> {
    const drained = await Promise.all([
      this.sender.drained(seconds),
      this.submitters.drained(seconds),
    ]);
    return drained.every(Boolean);
  }

  /** Ends everything, also what still waits in a queue. */
  async close(): Promise<void> {
    await this.stop();
    this.sender.stop();
    this.submitters.abandon();
    this.prober.stop();
    await this.sink.close();
  }
}

/** Starts the sink, and then all traffic. */
export async function startTraffic(options: TrafficOptions): Promise<Traffic> {
  const sink = await Sink.start();
  const traffic = new Traffic(options, sink);
  try {
    await traffic.start(options.rate);
    return traffic;
  } catch (error) {
    await traffic.close().catch(() => undefined);
    throw error;
  }
}
