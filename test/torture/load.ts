import { virtualUser } from '../lab/world.ts';
import type { ClientEvidence } from '../rehearsal/evidence.ts';
import { ImapClients } from '../rehearsal/imap-clients.ts';
import { Ledger } from '../rehearsal/ledger.ts';
import { Mixture } from '../rehearsal/mixture.ts';
import { Pacer } from '../rehearsal/pacer.ts';
import { Random } from '../rehearsal/random.ts';
import { LabResolver } from '../rehearsal/resolver.ts';
import { Sender } from '../rehearsal/sender.ts';
import { Sink } from '../rehearsal/sink.ts';
import { Submitters } from '../rehearsal/submitters.ts';

/** Plain mailboxes of the small world. */
export const mailboxes = 10;

/** The light mail load of one run: mail from outside, submissions, a few mail programs. */
export class Load {
  readonly ledger = new Ledger();
  readonly sink: Sink;
  readonly #sender: Sender;
  readonly #submitters: Submitters;
  readonly #clients: ImapClients;
  readonly #pacer = new Pacer();
  readonly #mixture: Mixture;

  private constructor(sink: Sink, seed: number) {
    const resolver = new LabResolver();
    const { ledger } = this;
    this.sink = sink;
    this.#sender = new Sender({
      ...{ ledger, resolver, heloName: 'mx.elsewhere.example' },
      ...{ backoff: 500, timeout: 8000, concurrency: 10 },
    });
    this.#submitters = new Submitters({
      ...{ ledger, resolver, mailboxes, backoff: 500 },
      ...{ random: new Random(seed + 1), rate: 0.2 },
    });
    this.#clients = new ImapClients({ resolver, mailboxes, seed: seed + 2, count: 3, pace: 2000 });
    this.#mixture = new Mixture({
      ...{ mailboxes, random: new Random(seed + 3), bigEvery: 600_000 },
    });
  }

  /** `served`: somebody serves mailboxes now, so the mail programs get in at once. */
  static async start(seed: number, served = true): Promise<Load> {
    const load = new Load(await Sink.start(), seed);
    try {
      await load.#clients.start(served);
    } catch (error) {
      await load.sink.close();
      throw error;
    }
    load.#submitters.start();
    load.#pacer.start(0.6, () => {
      const { message, folder } = load.#mixture.next();
      load.#sender.submit(message, folder);
    });
    return load;
  }

  /** No new mail, and the mail programs end their work. */
  async stop(): Promise<void> {
    this.#pacer.stop();
    this.#submitters.stop();
    await this.#clients.stop();
  }

  /** Whether every sender has got rid of what it had, within so many seconds. */
  async drained(seconds: number): Promise<boolean> {
    const drained = await Promise.all([
      this.#sender.drained(seconds),
      this.#submitters.drained(seconds),
    ]);
    return drained.every(Boolean);
  }

  /** Each mail program comes once more and holds all that it sees against its memory. */
  async lastLook(): Promise<void> {
    await this.#clients.lastLook(60);
  }

  get evidence(): ClientEvidence {
    return this.#clients.evidence;
  }

  async close(): Promise<void> {
    this.#pacer.stop();
    this.#sender.stop();
    this.#submitters.abandon();
    await this.#clients.stop().catch(() => undefined);
    await this.sink.close();
  }
}

/** Addresses whose mail lies where `labPlaces` looks. */
export const firstUser = virtualUser(1);
