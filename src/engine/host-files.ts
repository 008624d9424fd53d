/**
 * What the engine needs of a host: a few small files in the folder of this migration. The engine
 * knows nothing else of hosts.
 */
export interface HostFiles {
  /** As the journal names it: "old". */
  readonly name: string;
  /** For messages: "OLD (192.0.2.1)". */
  readonly label: string;
  /** Undefined when the file does not exist. */
  read(name: string): Promise<Buffer | undefined>;
  /** Whole or not at all, and on disk when it returns. */
  write(name: string, content: string): Promise<void>;
  remove(name: string): Promise<void>;
  /**
   * Appends durably, if the file is `expectedBytes` long; else throws. Answers what has become of undo
   * records there since `heard`, the last line of an answer before; everything where there is no such line.
   */
  append(
    name: string,
    content: string,
    expectedBytes: number,
    heard: string,
  ): Promise<readonly string[]>;
  /**
   * Takes or renews the host's lock for `holder`. The number is at least `minimum` and larger than
   * any before. Expiry counts by the host's own clock. `force` takes it from whoever holds it, whose
   * number then counts no more. What of an older number still runs is ended; with `keepsPasses`, but for
   * a live pass.
   */
  takeLock(
    holder: string,
    seconds: number,
    minimum: number,
    how?: LockOptions,
  ): Promise<LockAnswer>;
  renewLock(number: number, seconds: number): Promise<void>;
  releaseLock(number: number): Promise<void>;
  /** From now on every change on this host is made under this number. */
  holdLock(number: number | undefined): void;
}

/** How a lock is taken; see `HostFiles.takeLock`. */
export interface LockOptions {
  readonly force?: boolean | undefined;
  readonly keepsPasses?: boolean | undefined;
}

/** The number under which the lock was taken, or who has it. */
export type LockAnswer = { readonly number: number } | { readonly heldBy: string };
