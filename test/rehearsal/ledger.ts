import { network } from '../lab/world.ts';
import type { OutgoingMessage } from './messages.ts';

export type Side = 'old' | 'new';
export type Way = 'smtp' | 'submission';

/** What became of one message for one recipient, as its sender knows it. Times in ms since 1970. */
export interface Delivery {
  readonly messageId: string;
  readonly recipient: string;
  readonly via: Way;
  readonly createdAt: number;
  /** Folder in which it must end, where that is not INBOX. */
  readonly folder: string | undefined;
  state: 'queued' | 'accepted' | 'refused';
  /** Set when a server answered the final dot with 250. */
  acceptedAt?: number;
  /** Address of the server that accepted or refused. */
  server?: string;
  /** Last reply, or what happened to the connection. */
  reply?: string;
  attempts: number;
  /**
   * Times that the connection died after the final dot without a reply. The server may have taken
   * the message each time, so each allows one more copy (RFC 1047).
   */
  lostReplies: number;
}

/** The senders' book: every (message, recipient) handed over, and what the servers answered. */
export class Ledger {
  readonly #entries = new Map<string, Delivery>();

  /** Notes a message before its first attempt. */
  open(message: OutgoingMessage, via: Way, folder?: string): void {
    for (const recipient of message.recipients) {
      this.#entries.set(key(message.messageId, recipient), {
        messageId: message.messageId,
        recipient,
        via,
        createdAt: Date.now(),
        folder,
        state: 'queued',
        attempts: 0,
        lostReplies: 0,
      });
    }
  }

  accepted(messageId: string, recipient: string, server: string, reply: string): void {
    const entry = this.#entry(messageId, recipient);
    Object.assign(entry, { state: 'accepted', acceptedAt: Date.now(), server, reply });
    entry.attempts += 1;
  }

  /** Refused for good: a 5xx, or no such name. */
  refused(messageId: string, recipient: string, server: string | undefined, reply: string): void {
    const entry = this.#entry(messageId, recipient);
    Object.assign(entry, { state: 'refused', reply }, server === undefined ? {} : { server });
    entry.attempts += 1;
  }

  /** To be tried again. */
  deferred(messageId: string, recipient: string, reason: string): void {
    const entry = this.#entry(messageId, recipient);
    entry.attempts += 1;
    entry.reply = reason;
  }

  /** The reply to the final dot never came. To be tried again. */
  replyLost(messageId: string, recipient: string, reason: string): void {
    this.#entry(messageId, recipient).lostReplies += 1;
    this.deferred(messageId, recipient, reason);
  }

  get deliveries(): readonly Delivery[] {
    return [...this.#entries.values()];
  }

  /** Accepted by a side between two times (ms since 1970); for what a frozen OLD took and held. */
  acceptedBy(side: Side, since = 0, until = Number.POSITIVE_INFINITY): readonly Delivery[] {
    return this.deliveries.filter(
      ({ acceptedAt, server }) =>
        acceptedAt !== undefined &&
        acceptedAt >= since &&
        acceptedAt < until &&
        server !== undefined &&
        sideOf(server) === side,
    );
  }

  /** Deliveries by SMTP that NEW accepted: the senders reach it only by asking the name service. */
  get reachedNewByDns(): number {
    return this.acceptedBy('new').filter(({ via }) => via === 'smtp').length;
  }

  #entry(messageId: string, recipient: string): Delivery {
    const entry = this.#entries.get(key(messageId, recipient));
    if (!entry) throw new Error(`${messageId} to ${recipient} was never handed over`);
    return entry;
  }
}

/** Which host of the lab an address belongs to. */
export function sideOf(address: string): Side | undefined {
  if (address === network.old.v4 || address === network.old.v6) return 'old';
  if (address === network.new.v4 || address === network.new.v6) return 'new';
  return undefined;
}

function key(messageId: string, recipient: string): string {
  return `${messageId}\n${recipient}`;
}
