import { outside, password } from '../lab/world.ts';
import type { Ledger } from './ledger.ts';
import { newMessageId, type OutgoingMessage, render } from './messages.ts';
import { Pacer } from './pacer.ts';
import { orchard, type Population } from './population.ts';
import type { Random } from './random.ts';
import { type MailResolver, NoSuchName } from './resolver.ts';
import { RetryQueue } from './retry-queue.ts';
import { record } from './sender.ts';
import { SmtpGone } from './smtp-client.ts';
import { SessionRefused, transact } from './transaction.ts';

export interface SubmittersOptions {
  readonly ledger: Ledger;
  readonly resolver: MailResolver;
  readonly random: Random;
  /** Plain mailboxes that submit and are written to. */
  readonly mailboxes: number;
  /** Default: the lab's virtual users. */
  readonly population?: Population;
  /** Messages a second, all users together. */
  readonly rate: number;
  readonly port?: number;
  /** Milliseconds before a mail program tries again. Default 1000. */
  readonly backoff?: number;
}

/**
 * Users who send mail through their own server: port 587, STARTTLS, AUTH. Every second message goes
 * to the friend outside, the others to another user. A mail program that finds its server away
 * keeps the message in its outbox and tries again.
 */
export class Submitters {
  readonly #options: SubmittersOptions;
  readonly #outbox: RetryQueue<OutgoingMessage>;
  readonly #pacer = new Pacer();
  readonly #population: Population;
  #count = 0;

  constructor(options: SubmittersOptions) {
    this.#options = options;
    this.#population = options.population ?? orchard;
    this.#outbox = new RetryQueue<OutgoingMessage>({
      concurrency: 5,
      backoff: options.backoff ?? 1000,
      work: (message) => this.#attempt(message),
    });
  }

  start(): void {
    this.#pacer.start(this.#options.rate, () => this.#write());
  }

  /** No new mail; what is in the outboxes is still sent. */
  stop(): void {
    this.#pacer.stop();
  }

  /** Gives up what is still in the outboxes. */
  abandon(): void {
    this.stop();
    this.#outbox.stop();
  }

  get queued(): number {
    return this.#outbox.size;
  }

  drained(seconds: number): Promise<boolean> {
    return this.#outbox.drained(seconds);
  }

  #write(): void {
    const { random, mailboxes, ledger } = this.#options;
    this.#count += 1;
    const author = this.#population.user(random.between(1, mailboxes));
    const recipient =
      this.#count % 2 === 0
        ? this.#population.user(random.between(1, mailboxes))
        : `friend@${outside.domain}`;
    const message = {
      messageId: newMessageId(author.slice(author.indexOf('@') + 1)),
      from: author,
      recipients: [recipient],
      subject: `submitted ${this.#count}`,
      size: random.between(1024, 8192),
    };
    ledger.open(message, 'submission');
    this.#outbox.add(message);
  }

  async #attempt(message: OutgoingMessage): Promise<OutgoingMessage | undefined> {
    const { ledger } = this.#options;
    const [recipient = ''] = message.recipients;
    const outcome = await this.#offer(message);
    if (typeof outcome === 'string') {
      ledger.deferred(message.messageId, recipient, outcome);
      return message;
    }
    record(ledger, message.messageId, recipient, outcome.server, outcome.verdict);
    const { kind } = outcome.verdict;
    return kind === 'accepted' || kind === 'refused' ? undefined : message;
  }

  async #offer(message: OutgoingMessage) {
    const reasons: string[] = [];
    try {
      for (const address of await this.#options.resolver.addresses(this.#population.host)) {
        try {
          const verdicts = await transact(
            {
              address,
              port: this.#options.port ?? 587,
              timeout: 20_000,
              heloName: 'laptop.example',
              serverName: this.#population.host,
              login: { user: message.from, password },
            },
            {
              from: message.from,
              recipients: message.recipients,
              message: () => render(message),
            },
          );
          const [verdict] = verdicts.values();
          if (verdict) return { server: address, verdict };
        } catch (error) {
          if (!(error instanceof SmtpGone || error instanceof SessionRefused)) throw error;
          reasons.push(`${address}: ${error.message}`);
        }
      }
    } catch (error) {
      const passing = error instanceof NoSuchName || (error as NodeJS.ErrnoException).code;
      if (!passing) throw error;
      reasons.push(`name service: ${(error as Error).message}`);
    }
    return reasons.join('; ');
  }
}
