/**
 * The smallest unit of a stage. `done` looks at the hosts, never at a memory of an earlier run, so
 * that a stage can be repeated by any runner; `do` may be entered again after it was cut off at any
 * point.
 */
export interface Step {
  /** Stable, kebab-case, unique in its stage. */
  readonly id: string;
  /** Imperative, for people: "Close IMAP on OLD". */
  readonly title: string;
  /**
   * Asks the hosts early, while the step before is at work, what this one will want to know and no step
   * before it changes. Not called in a dry run, nor for a first step.
   */
  ahead?(): void;
  /** Whether the hosts are already as `do` would leave them. */
  done(): Promise<boolean>;
  /** Makes it so. Returns a short line of evidence for the record, where there is something to say. */
  do(): Promise<string | undefined>;
  /** Takes it back; safe to call when `do` never ran, or ran in part. */
  undo?(): Promise<void>;
}
