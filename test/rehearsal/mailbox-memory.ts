import type { ClientChange, Disorder, UidChange } from './evidence.ts';

/** A message as a server lists it. */
export interface Listed {
  readonly uid: number;
  readonly messageId: string;
  readonly flags: ReadonlySet<string>;
}

/** The program asked its memory for what it never had: a fault of the rehearsal itself. */
export class MemoryFault extends Error {
  override readonly name = 'MemoryFault';
}

interface KnownMessage {
  readonly messageId: string;
  /** Flags that a tagged OK has confirmed as set or taken away. */
  readonly flags: Map<string, boolean>;
  /** An EXPUNGE or MOVE went out whose answer never came. */
  doubtful: boolean;
}

interface KnownFolder {
  uidValidity: bigint;
  readonly messages: Map<number, KnownMessage>;
}

/**
 * What one mail program knows of its mailbox: the UIDs it has seen and the changes that the server
 * has confirmed. Every later listing is held against it; nothing counts as done without a tagged OK.
 */
export class MailboxMemory {
  readonly mailbox: string;
  readonly uidChanges: UidChange[] = [];
  readonly flagChanges: Disorder[] = [];
  readonly touched = new Set<string>();
  readonly #folders = new Map<string, KnownFolder>();
  readonly #changes = new Map<string, ClientChange>();

  constructor(mailbox: string) {
    this.mailbox = mailbox;
  }

  get changes(): readonly ClientChange[] {
    return [...this.#changes.values()];
  }

  get folders(): readonly string[] {
    return [...this.#folders.keys()];
  }

  /** UIDs in a folder that can be worked with: known for sure, and with a Message-ID. */
  uids(folder: string): readonly number[] {
    const messages = this.#folders.get(folder)?.messages ?? new Map<number, KnownMessage>();
    return [...messages].flatMap(([uid, { doubtful, messageId }]) =>
      doubtful || messageId === '' ? [] : [uid],
    );
  }

  highestUid(folder: string): number {
    return Math.max(0, ...(this.#folders.get(folder)?.messages.keys() ?? []));
  }

  messageId(folder: string, uid: number): string {
    return this.#known(folder, uid).messageId;
  }

  /** The folders that the server lists: none that was known may be missing. */
  lookAtFolders(listed: readonly string[]): void {
    for (const folder of this.folders) {
      if (listed.includes(folder)) continue;
      this.#differs(folder, 'folder', 'listed', 'not listed');
      this.#folders.delete(folder);
    }
  }

  /** UIDVALIDITY as a SELECT gives it. After a change nothing known of the folder holds any more. */
  lookAtValidity(folder: string, uidValidity: bigint): void {
    const known = this.#folders.get(folder);
    if (!known) {
      this.#folders.set(folder, { uidValidity, messages: new Map() });
    } else if (known.uidValidity !== uidValidity) {
      this.#differs(folder, 'UIDVALIDITY', String(known.uidValidity), String(uidValidity));
      known.uidValidity = uidValidity;
      known.messages.clear();
    }
  }

  /** All messages of a folder: holds them against what is known, then learns what is new. */
  lookAtMessages(folder: string, listed: readonly Listed[]): void {
    const there = new Map(listed.map((message) => [message.uid, message]));
    for (const [uid, known] of this.#messages(folder)) {
      const now = there.get(uid);
      if (now?.messageId === known.messageId) this.#compareFlags(known, now.flags);
      else this.#missed(folder, uid, known, now, listed);
    }
    this.learn(folder, listed);
  }

  /** Messages that are new to it. */
  learn(folder: string, listed: readonly Listed[]): void {
    const messages = this.#messages(folder);
    for (const { uid, messageId } of listed) {
      if (!messages.has(uid)) messages.set(uid, { messageId, flags: new Map(), doubtful: false });
    }
  }

  /** A message was fetched by its UID, and this is the Message-ID in it. */
  fetched(folder: string, uid: number, messageId: string): void {
    const known = this.#known(folder, uid);
    if (known.messageId === messageId) return;
    this.#differs(folder, `UID ${uid}`, known.messageId, messageId);
  }

  /** A STORE goes out: until its OK the flag may be either way. */
  storing(folder: string, uid: number, flag: string): void {
    const known = this.#known(folder, uid);
    this.touched.add(known.messageId);
    known.flags.delete(flag);
  }

  stored(folder: string, uid: number, flag: string, set: boolean): void {
    this.#known(folder, uid).flags.set(flag, set);
  }

  /** An EXPUNGE goes out. */
  expunging(folder: string, uid: number): void {
    const known = this.#known(folder, uid);
    known.doubtful = true;
    this.touched.add(known.messageId);
    this.#change(known.messageId).maybeRemoved += 1;
  }

  expunged(folder: string, uid: number): void {
    const change = this.#change(this.messageId(folder, uid));
    change.maybeRemoved -= 1;
    change.removed += 1;
    this.#messages(folder).delete(uid);
  }

  /** A MOVE goes out: a server that dies in it may leave both copies (RFC 6851 section 3.3). */
  moving(folder: string, uid: number): void {
    const known = this.#known(folder, uid);
    known.doubtful = true;
    this.touched.add(known.messageId);
    this.#change(known.messageId).maybeAdded += 1;
  }

  /** @param newUid as COPYUID says; undefined where the server does not */
  moved(folder: string, uid: number, target: string, newUid: number | undefined): void {
    const known = this.#known(folder, uid);
    this.#change(known.messageId).maybeAdded -= 1;
    this.#messages(folder).delete(uid);
    if (newUid === undefined) return;
    this.#messages(target).set(newUid, { ...known, doubtful: false });
  }

  /** An APPEND goes out. */
  appending(messageId: string): void {
    this.touched.add(messageId);
    this.#change(messageId).maybeAdded += 1;
  }

  /** @param uid as APPENDUID says; undefined where the server does not */
  appended(folder: string, messageId: string, uid: number | undefined): void {
    const change = this.#change(messageId);
    change.maybeAdded -= 1;
    change.added += 1;
    if (uid === undefined) return;
    const flags = new Map([['\\Seen', true]]);
    this.#messages(folder).set(uid, { messageId, flags, doubtful: false });
  }

  #missed(
    folder: string,
    uid: number,
    known: KnownMessage,
    now: Listed | undefined,
    listed: readonly Listed[],
  ): void {
    this.#messages(folder).delete(uid);
    if (!now && known.doubtful) return;
    const elsewhere = listed.find(({ messageId }) => messageId === known.messageId);
    const after = now?.messageId ?? (elsewhere ? `now UID ${elsewhere.uid}` : 'gone');
    this.#differs(folder, `UID ${uid}`, known.messageId, after);
  }

  #compareFlags(known: KnownMessage, now: ReadonlySet<string>): void {
    for (const [flag, set] of known.flags) {
      if (now.has(flag) === set) continue;
      this.flagChanges.push({
        mailbox: this.mailbox,
        messageId: known.messageId,
        before: set ? flag : `no ${flag}`,
        after: [...now].join(' '),
      });
      known.flags.delete(flag);
    }
  }

  #differs(folder: string, what: string, before: string, after: string): void {
    const { mailbox } = this;
    this.uidChanges.push({ mailbox, folder, what, before, after, seenBy: 'client' });
  }

  #messages(folder: string): Map<number, KnownMessage> {
    const known = this.#folders.get(folder);
    if (!known) throw new MemoryFault(`${this.mailbox}: ${folder} was never selected`);
    return known.messages;
  }

  #known(folder: string, uid: number): KnownMessage {
    const known = this.#messages(folder).get(uid);
    if (!known) throw new MemoryFault(`${this.mailbox}: ${folder} has no known UID ${uid}`);
    return known;
  }

  #change(messageId: string): ClientChange {
    const fresh = { added: 0, maybeAdded: 0, removed: 0, maybeRemoved: 0 };
    const change = this.#changes.get(messageId) ?? { mailbox: this.mailbox, messageId, ...fresh };
    this.#changes.set(messageId, change);
    return change;
  }
}
