import type { MailResolver } from './resolver.ts';
import { SmtpGone } from './smtp-client.ts';
import { openSession, SessionRefused } from './transaction.ts';

export interface ProberOptions {
  readonly resolver: MailResolver;
  readonly host: string;
  /** Sender and recipient that are named and then taken back by RSET. */
  readonly from: string;
  readonly recipient: string;
  readonly heloName: string;
  readonly port?: number;
  /** Whether the server takes mail without TLS, which is the quicker question. Default: true. */
  readonly takesPlain?: boolean;
}

export interface Outage {
  /** ms since 1970; from the first probe without an answer to the next with one. */
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

const interval = 200;

/**
 * Asks port 25 five times a second, at the addresses the name has at that moment, whether it would
 * take a message now. The time between the start of a probe that failed at every address and the
 * start of the next that did not is an outage; so the figure errs on the high side by up to 0.2 s each.
 */
export class SmtpProber {
  readonly #options: ProberOptions;
  readonly #outages: Outage[] = [];
  #open: { from: number; reason: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #probes = 0;

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#loop();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#close(Date.now());
  }

  get probes(): number {
    return this.#probes;
  }

  /** Why the last probe failed; undefined while port 25 answers. */
  get failing(): string | undefined {
    return this.#open?.reason;
  }

  get outages(): readonly Outage[] {
    const now = Date.now();
    return this.#open ? [...this.#outages, { ...this.#open, to: now }] : [...this.#outages];
  }

  /** Sum of all outages. */
  get refusedSeconds(): number {
    return this.outages.reduce((sum, { from, to }) => sum + (to - from), 0) / 1000;
  }

  async #loop(): Promise<void> {
    const started = Date.now();
    const failure = await this.#probe();
    if (this.#stopped) return;
    this.#probes += 1;
    if (failure === undefined) this.#close(started);
    else this.#open ??= { from: started, reason: failure };
    const wait = Math.max(0, started + interval - Date.now());
    this.#timer = setTimeout(() => void this.#loop(), wait);
  }

  #close(now: number): void {
    if (this.#open) this.#outages.push({ ...this.#open, to: now });
    this.#open = undefined;
  }

  async #probe(): Promise<string | undefined> {
    const reasons: string[] = [];
    try {
      for (const address of await this.#options.resolver.addresses(this.#options.host)) {
        const failure = await this.#ask(address);
        if (failure === undefined) return undefined;
        reasons.push(failure);
      }
    } catch (error) {
      reasons.push(`name service: ${(error as Error).message}`);
    }
    return reasons.join('; ');
  }

  async #ask(address: string): Promise<string | undefined> {
    const { host, heloName, from, recipient, port = 25, takesPlain = true } = this.#options;
    try {
      const smtp = await openSession({
        address,
        port,
        timeout: 5000,
        heloName,
        serverName: host,
        plain: takesPlain,
      });
      try {
        for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${recipient}>`, 'RSET']) {
          const reply = await smtp.command(line);
          if (reply.code !== 250) return `${address}: ${line}: ${reply.code} ${reply.text}`;
        }
        return undefined;
      } finally {
        await smtp.quit();
      }
    } catch (error) {
      if (!(error instanceof SmtpGone || error instanceof SessionRefused)) throw error;
      return `${address}: ${error.message}`;
    }
  }
}
