import { type Side, sideOf } from './ledger.ts';

/** When a mail program was last served, by whom, and for how long it was not. */
export class Presence {
  #last: number | undefined;
  #side: Side | undefined;
  #longest = 0;
  #connections = 0;

  /** The server at this address has just answered a command with OK. */
  served(address: string, now = Date.now()): void {
    if (this.#last !== undefined) this.#longest = Math.max(this.#longest, now - this.#last);
    this.#last = now;
    this.#side = sideOf(address);
  }

  connected(): void {
    this.#connections += 1;
  }

  /** The mail program is closed on purpose: what follows is no absence of the server. */
  rest(): void {
    this.#last = undefined;
  }

  /**
   * Longest time between one OK and the next. The move from OLD to NEW lies in one such gap, also
   * where the address stays and another host answers, so it is never shorter than the time away.
   */
  get awaySeconds(): number {
    return this.#longest / 1000;
  }

  /** Who served it last. */
  get side(): Side | undefined {
    return this.#side;
  }

  get connections(): number {
    return this.#connections;
  }
}
