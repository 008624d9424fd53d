import { aliases, outside, special } from '../lab/world.ts';
import { overlap } from './expansion.ts';
import { newMessageId, type OutgoingMessage } from './messages.ts';
import { orchard, type Population } from './population.ts';
import type { Random } from './random.ts';

/** A message with the folder in which it must end, where that is not INBOX. */
export interface Drawn {
  readonly message: OutgoingMessage;
  readonly folder: string | undefined;
}

export interface MixtureOptions {
  /** Plain mailboxes of the population. At least 10. */
  readonly mailboxes: number;
  /** Default: the lab's virtual users. */
  readonly population?: Population;
  readonly random: Random;
  /** Milliseconds from one big message to the next. Default 10000. */
  readonly bigEvery?: number;
  /** Bytes of body of a big message. Default 10.5 MiB. */
  readonly bigSize?: number;
}

/** Of the domain whose mail server is the sink, so that bounces come back to where they are counted. */
export const from = `post@${outside.domain}`;

/** Folder into which the sieve script files what has `sieveSubject`. */
export const sieveFolder = 'Filed';
const sieveSubject = 'please file me';

type Draw = () => { recipients: readonly string[]; subject?: string; folder?: string };

/**
 * The stream of messages from outside: in each round of twenty every kind of recipient comes in a
 * fixed share, and the aliases take turns, so that even a short run has them all.
 */
export class Mixture {
  readonly #options: MixtureOptions;
  readonly #users: readonly string[];
  readonly #hasRoles: boolean;
  readonly #round: readonly Draw[];
  #count = 0;
  #aliasTurn = 0;
  #lastBig = 0;

  constructor(options: MixtureOptions) {
    this.#options = options;
    const { mailboxes, random, population = orchard } = options;
    this.#users = Array.from({ length: mailboxes }, (_, index) => population.user(index + 1));
    this.#hasRoles = population.hasRoles;
    const single: Draw = () => ({ recipients: [random.pick(this.#users)] });
    const several: Draw = () => ({ recipients: this.#several() });
    const alias: Draw = () => ({ recipients: [this.#nextAlias()] });
    const sieve: Draw = () => ({
      recipients: [special.sieve],
      subject: sieveSubject,
      folder: sieveFolder,
    });
    const full: Draw = () => ({ recipients: [special.full] });
    const local: Draw = () => ({ recipients: [random.pick(special.localUsers)] });
    const attic: Draw = () => ({ recipients: [random.pick(special.atticUsers)] });
    if (!population.hasRoles) {
      this.#round = [single, several, single, single];
      return;
    }
    this.#round = [
      [single, several, alias, single, sieve],
      [single, several, alias, local, single],
      [single, several, alias, attic, full],
      [single, several, alias, single, single],
    ].flat();
  }

  next(): Drawn {
    const draw = this.#round[this.#count % this.#round.length];
    if (!draw) throw new Error('the round is empty');
    this.#count += 1;
    const { recipients, subject, folder } = draw();
    const size = this.#size(recipients);
    const message = {
      messageId: newMessageId(outside.domain),
      from,
      recipients,
      subject: subject ?? `rehearsal ${this.#count}`,
      size,
    };
    return { message, folder };
  }

  #size(recipients: readonly string[]): number {
    const { random, bigEvery = 10_000, bigSize = 10.5 * 1024 * 1024 } = this.#options;
    const single = recipients.length === 1 && this.#users.includes(recipients[0] ?? '');
    if (single && Date.now() - this.#lastBig >= bigEvery) {
      this.#lastBig = Date.now();
      return bigSize;
    }
    return random.between(1024, 8192);
  }

  #nextAlias(): string {
    const names = Object.keys(aliases);
    const name = names[this.#aliasTurn % names.length];
    this.#aliasTurn += 1;
    if (!name) throw new Error('the lab has no alias');
    return name;
  }

  /** Two to five whose mailboxes do not overlap; now and then the full one and an alias among them. */
  #several(): readonly string[] {
    const { random } = this.#options;
    const wanted = random.between(2, 5);
    const chosen: string[] = [];
    const extra = this.#hasRoles ? random.next() : 1;
    if (extra < 0.1) chosen.push(special.full);
    else if (extra < 0.3) chosen.push(random.pick(Object.keys(aliases)));
    while (chosen.length < wanted) {
      const candidate = random.pick(this.#users);
      if (!overlap([...chosen, candidate])) chosen.push(candidate);
    }
    return chosen;
  }
}
