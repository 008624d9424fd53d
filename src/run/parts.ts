import { type Inputs, wantsErasure } from '../actions/inputs.ts';
import type { Migration } from '../config/schema.ts';
import type { DnsProvider } from '../dns/provider.ts';
import type { HostFiles } from '../engine/host-files.ts';
import type { Entry } from '../engine/journal.ts';
import { asSeen, type State, stateOf } from '../engine/states.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { has } from '../hosts/marks.ts';
import type { MailSystem } from '../mail-systems/mail-system.ts';
import type { StageContext } from '../stages/stage.ts';
import { log } from './log.ts';

/** The parts that every stage is made of. */
export interface Parts {
  readonly migration: Migration;
  readonly inputs: Inputs;
  readonly old: MailHost;
  readonly new: MailHost;
  /** Of both hosts, or of the one that is not declared dead. */
  readonly files: readonly HostFiles[];
  readonly system: MailSystem;
  readonly dns: readonly DnsProvider[];
}

/** The hosts that were not declared dead. */
export function alive({ old, new: target, inputs }: Parts): readonly MailHost[] {
  return [old, target].filter(({ role }) => role !== inputs.declareDead);
}

/**
 * The journal's state, corrected by what the hosts say: OLD may have thawed by its limit, and NEW have
 * been opened by a stage that did not end well.
 */
export async function observed(
  parts: Parts,
  entries: readonly Entry[] | Promise<readonly Entry[]>,
): Promise<State> {
  // All at once: in the freeze every trip to the hosts is downtime.
  const [known, seen] = await Promise.all([entries, lookAtHosts(parts)]);
  return asSeen(stateOf(known), seen);
}

/** What the journal may not know. */
export interface Seen {
  readonly oldIsFrozen: boolean;
  readonly newOwns: boolean;
}

/** What the hosts say; see `observed`. */
export async function lookAtHosts(parts: Parts): Promise<Seen> {
  const { declareDead: dead } = parts.inputs;
  const [oldIsFrozen, newOwns] = await Promise.all([
    dead === 'old' ? true : has(parts.old, 'frozen'),
    dead === 'new' ? false : has(parts.new, 'owner'),
  ]);
  return { oldIsFrozen, newOwns };
}

/** What a rollback took back no longer counts. */
function sinceRollback(entries: readonly Entry[]): readonly Entry[] {
  const last = entries.findLastIndex(
    (entry) => entry.kind === 'stage-end' && entry.stage === 'rollback' && entry.ok === true,
  );
  return entries.slice(last + 1);
}

/** What a stage gets of a run. `note` writes into the journal; where there is no lock yet, nowhere. */
export function contextOf(
  parts: Parts,
  state: State,
  history: StageContext['history'],
  note: StageContext['note'],
): StageContext {
  return {
    ...parts,
    source: parts.old,
    target: parts.new,
    runner: {
      checkout: parts.inputs.cmdeploy,
      sshKeys: parts.inputs.sshKeys,
      sshPassphrase: parts.inputs.sshPassphrase,
      probePassword: parts.inputs.probePassword,
    },
    erase: wantsErasure(parts.inputs, parts.migration.name),
    state,
    history,
    entries: () => sinceRollback(history()),
    dead: parts.inputs.declareDead,
    note,
    log,
  };
}
