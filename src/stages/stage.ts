import type { Inputs } from '../actions/inputs.ts';
import type { Migration } from '../config/schema.ts';
import type { DnsProvider } from '../dns/provider.ts';
import type { Entry, EntryData } from '../engine/journal.ts';
import type { Log } from '../engine/runner.ts';
import type { StageAction, State } from '../engine/states.ts';
import type { Step } from '../engine/step.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import type { ControlMachine, MailSystem } from '../mail-systems/mail-system.ts';

/** What a stage gets to work with; built in `main.ts` and nowhere else. */
export interface StageContext {
  readonly migration: Migration;
  readonly inputs: Inputs;
  readonly runner: ControlMachine;
  readonly old: MailHost;
  readonly new: MailHost;
  /** The host that service leaves, and the one that takes it; `rollback` exchanges them. */
  readonly source: MailHost;
  readonly target: MailHost;
  readonly system: MailSystem;
  /** One provider a zone of the migration file, in its order. */
  readonly dns: readonly DnsProvider[];
  readonly state: State;
  /** The host that was declared dead: nothing can be asked of it. */
  readonly dead: 'old' | 'new' | undefined;
  /** Told in words to delete the mail on OLD (`finish`). */
  readonly erase: boolean;
  /** The whole journal, with attempts that were taken back. */
  readonly history: () => readonly Entry[];
  /** The journal of this attempt so far. */
  readonly entries: () => readonly Entry[];
  readonly log: Log;
  /** Puts a fact on record. In a dry run nothing is recorded. */
  note(entry: Omit<EntryData, 'kind' | 'stage'>): Promise<void>;
}

/** One stage: what it is called in the table of states, and its steps in their order. */
export interface Stage {
  readonly action: StageAction;
  readonly steps: readonly Step[];
  /** Runs when a step has failed, before the stage ends: leaves nothing half done. */
  readonly onFailure?: () => Promise<void>;
}
