import type { Ledger } from './ledger.ts';
import { type OutgoingMessage, render } from './messages.ts';
import { type MailResolver, NoSuchName } from './resolver.ts';
import { RetryQueue } from './retry-queue.ts';
import { SmtpGone } from './smtp-client.ts';
import { SessionRefused, transact, type Verdict } from './transaction.ts';

export interface SenderOptions {
  readonly ledger: Ledger;
  readonly resolver: MailResolver;
  readonly heloName: string;
  /** Connections at one time. Default 20. */
  readonly concurrency?: number;
  /** Milliseconds before a deferred recipient is tried again. Default 1000. */
  readonly backoff?: number;
  /** TCP port; 25 but in tests. */
  readonly port?: number;
  /** Milliseconds of silence after which a connection is dead. Default 20000. */
  readonly timeout?: number;
}

interface Job {
  readonly message: OutgoingMessage;
  readonly domain: string;
  readonly recipients: readonly string[];
}

/**
 * A sending mail server, as the outside world has them: a queue of its own, MX and addresses asked
 * for each attempt, IPv6 before IPv4, the next address when one does not serve, opportunistic TLS,
 * one transaction for all recipients of a domain, and every recipient's own reply honoured.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #queue: RetryQueue<Job>;
  /** Attempts that an address did not serve, by address. */
  readonly unreachable = new Map<string, number>();

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#queue = new RetryQueue<Job>({
      concurrency: options.concurrency ?? 20,
      backoff: options.backoff ?? 1000,
      work: (job) => this.#attempt(job),
    });
  }

  /** Puts a message into the queue; the ledger has it from now on. */
  submit(message: OutgoingMessage, folder?: string): void {
    this.#options.ledger.open(message, 'smtp', folder);
    const domains = Map.groupBy(message.recipients, domainOf);
    for (const [domain, recipients] of domains) this.#queue.add({ message, domain, recipients });
  }

  /** Transactions that wait or are under way. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Resolves to true when the queue is empty, to false after so many seconds. */
  drained(seconds: number): Promise<boolean> {
    return this.#queue.drained(seconds);
  }

  /** Ends all attempts; what is queued stays as it is in the ledger. */
  stop(): void {
    this.#queue.stop();
  }

  async #attempt(job: Job): Promise<Job | undefined> {
    const { ledger } = this.#options;
    const { messageId } = job.message;
    const outcome = await this.#offer(job);
    if (outcome.kind !== 'decided') {
      for (const recipient of job.recipients) {
        if (outcome.kind === 'refused')
          ledger.refused(messageId, recipient, undefined, outcome.reason);
        else ledger.deferred(messageId, recipient, outcome.reason);
      }
      return outcome.kind === 'refused' ? undefined : job;
    }
    for (const [recipient, verdict] of outcome.verdicts) {
      record(ledger, messageId, recipient, outcome.server, verdict);
    }
    const open = job.recipients.filter((recipient) => {
      const kind = outcome.verdicts.get(recipient)?.kind;
      return kind !== 'accepted' && kind !== 'refused';
    });
    return open.length > 0 ? { ...job, recipients: open } : undefined;
  }

  /** Goes through the servers of the domain until one takes part in a transaction. */
  async #offer(job: Job): Promise<Offer> {
    const reasons: string[] = [];
    try {
      for (const host of await this.#options.resolver.mailHosts(job.domain)) {
        for (const server of await this.#options.resolver.addresses(host)) {
          const outcome = await this.#tryServer(server, host, job);
          if (typeof outcome !== 'string') return { kind: 'decided', server, verdicts: outcome };
          reasons.push(outcome);
        }
      }
    } catch (error) {
      // A real server bounces what has no address; any other DNS failure passes.
      const reason = `name service: ${(error as Error).message}`;
      return { kind: error instanceof NoSuchName ? 'refused' : 'deferred', reason };
    }
    return { kind: 'deferred', reason: reasons.join('; ') };
  }

  async #tryServer(
    server: string,
    serverName: string,
    job: Job,
  ): Promise<Map<string, Verdict> | string> {
    const { heloName, port = 25, timeout = 20_000 } = this.#options;
    try {
      return await transact(
        { address: server, port, timeout, heloName, serverName },
        {
          from: job.message.from,
          recipients: job.recipients,
          message: () => render(job.message),
        },
      );
    } catch (error) {
      if (!(error instanceof SmtpGone || error instanceof SessionRefused)) throw error;
      this.unreachable.set(server, (this.unreachable.get(server) ?? 0) + 1);
      return `${server}: ${error.message}`;
    }
  }
}

type Offer =
  | {
      readonly kind: 'decided';
      readonly server: string;
      readonly verdicts: Map<string, Verdict>;
    }
  | { readonly kind: 'refused' | 'deferred'; readonly reason: string };

/** Writes one recipient's verdict into the ledger. */
export function record(
  ledger: Ledger,
  messageId: string,
  recipient: string,
  server: string,
  verdict: Verdict,
): void {
  switch (verdict.kind) {
    case 'accepted':
      ledger.accepted(messageId, recipient, server, verdict.reply);
      break;
    case 'refused':
      ledger.refused(messageId, recipient, server, verdict.reply);
      break;
    case 'deferred':
      ledger.deferred(messageId, recipient, verdict.reply);
      break;
    case 'reply-lost':
      ledger.replyLost(messageId, recipient, verdict.reply);
      break;
  }
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}
