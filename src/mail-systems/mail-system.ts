import type { FreezeMode, Migration } from '../config/schema.ts';
import type { Log } from '../engine/runner.ts';
import type { Step } from '../engine/step.ts';
import type { MailHost } from '../hosts/mail-host.ts';

/** Something that `plan` found: what is wrong, and its cure. */
export interface Finding {
  /** `blocks`: no stage may start with it. `tells`: a figure, with nothing to cure. */
  readonly severity: 'blocks' | 'warns' | 'tells';
  readonly text: string;
  readonly cure: string;
}

/** A finding with which no stage may start. */
export function blocks(text: string, cure: string): Finding {
  return { severity: 'blocks', text, cure };
}

/** A finding that a person should know of, and may pass over. */
export function warns(text: string, cure: string): Finding {
  return { severity: 'warns', text, cure };
}

/** A figure, with nothing to cure. */
export function tells(text: string): Finding {
  return { severity: 'tells', text, cure: '' };
}

/** What holds mail, and what else must come along. */
export interface Contents {
  /** Trees that hold mailboxes. */
  readonly stores: readonly string[];
  /** Files and folders that mail needs: password files, keys, aliases. */
  readonly carried: readonly string[];
  /**
   * Names of files (find(1), -name) that may change in the freeze and need not be equal after it: counts that a
   * service keeps which can't be closed. Empty where nothing may write.
   */
  readonly bookkeeping: readonly string[];
}

/** What can change a mailbox; freeze, fence and the proof of stillness all go by it. */
export interface Writers {
  /** systemd units that serve or deliver mail. */
  readonly units: readonly string[];
  /** TCP ports by which clients change mailboxes. */
  readonly ports: readonly number[];
}

/** What the runner itself has, for a mail system whose own tool works from there. */
export interface ControlMachine {
  /** The user's checkout of that tool. */
  readonly checkout: string | undefined;
  /** Private keys, by host. */
  readonly sshKeys: { readonly old: string; readonly new: string };
  readonly sshPassphrase: string | undefined;
  /** Of the probe mailbox. */
  readonly probePassword: string | undefined;
}

/** What a mail system gets to work with. */
export interface MailContext {
  readonly migration: Migration;
  readonly runner: ControlMachine;
  readonly old: MailHost;
  readonly new: MailHost;
  /** The host that service leaves: OLD, and NEW when it is taken back. */
  readonly source: MailHost;
  /** The host that takes it. */
  readonly target: MailHost;
  readonly log: Log;
  /** The host that was declared dead: nothing can be asked of it. */
  readonly dead?: 'old' | 'new' | undefined;
}

/** The same with source and target exchanged: what rollback works with. */
export function turned<C extends MailContext>(context: C): C {
  return { ...context, source: context.target, target: context.source };
}

/** The group of undo records on the host that is frozen; hostctl's `thaw` takes it back. */
export const freezeGroup = 'freeze';

/** The group of undo records by which `finish` closes OLD for good; kept after it. */
export const finishedGroup = 'finished';

/** How titles and messages call a host. */
export function called(host: MailHost): string {
  return host.role.toUpperCase();
}

/** The stages that a mail system has a part in. */
export type MailStage =
  | 'prepare'
  | 'fence'
  | 'door'
  | 'freeze'
  | 'queue'
  | 'activate'
  | 'return-queue'
  | 'forward'
  /** `activate`, when NEW serves: what is left of that which kept it from serving, and is in nobody's way. */
  | 'unfence'
  | 'end-forward'
  | 'late'
  | 'drain'
  | 'finish'
  /** `rollback`, when OLD serves again: what it was still accepting for NEW. Asks nothing of NEW. */
  | 'take-back-late'
  | 'after-rollback';

/** How much waits in a queue. */
export interface QueueStatus {
  /** Messages in the queue of the host, any destination. */
  readonly messages: number;
  /** Age of the oldest, in seconds. */
  readonly oldestSeconds: number;
}

/** One kind of mail server. A new one is one folder that implements this. */
export interface MailSystem {
  readonly name: string;
  readonly freezeModes: readonly FreezeMode[];
  /** What `verify` may ask of its ports. `submission`: the port at which every user can hand in mail, by STARTTLS. */
  readonly service: {
    readonly startTls: boolean;
    readonly mailbox: 'imap' | 'pop3';
    readonly submission?: number;
  };
  /** After how many days servers that send to it give up. */
  readonly sendersGiveUpDays: number;
  /**
   * What can't be moved at all, or moved to, by name. Asked first; where there is any, nothing else
   * is looked at, so it must not rely on tools that such a host may lack.
   */
  refusals(context: MailContext): Promise<readonly Finding[]>;
  /** Everything that can be wrong before anything is touched. `fresh`: no stage has run yet. */
  checks(context: MailContext, fresh: boolean): Promise<readonly Finding[]>;
  contents(context: MailContext): Promise<Contents>;
  writers(host: MailHost): Promise<Writers>;
  /**
   * Names of files (find(1), -name) that the target's programs can't read, because the source's are of
   * another version; they stay behind on the way back. Throws where mail would be lost without them.
   */
  unreadable?(context: MailContext): Promise<readonly string[]>;
  /** A stable text of the configuration that a reviewer approves; changes when it changes. */
  fingerprint(host: MailHost, context: MailContext): Promise<string>;
  steps(stage: MailStage, context: MailContext): Promise<readonly Step[]>;
  /**
   * Brings accounts of the host's own system that were made or changed on the source to the target, on the way
   * back: `early`, while the source serves, and once more in its freeze. Of systems whose users are such.
   */
  accountsBack?(context: MailContext, when: 'early' | 'frozen'): readonly Step[];
  /** Carries ports of the source on to the target for late clients; of systems that can. */
  carry?(context: MailContext): readonly Step[];
  /** Mail in the queue of `host` that belongs to this migration's domains. */
  queue(host: MailHost, context: MailContext): Promise<QueueStatus>;
  /** Tries everything in the queue of `host` at once. */
  flush(host: MailHost): Promise<void>;
  /** What `finish` takes away besides, one line each. */
  removes(context: MailContext): readonly string[];
  /** Deletes the mail in the stores, for good. Only `finish` asks for it, when told to in words. */
  erase(host: MailHost, stores: readonly string[]): Promise<string>;
}
