import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { ceasing, dismissing, renewal } from './admission.ts';
import { type JoinOptions, type Joint, join, moduleOf } from './joining.ts';
import { folderOf, keepingFolder } from './pass-folder.ts';

/**
 * The key that joins source and target for one pass. It is made in memory-backed storage by the host that
 * connects, which is the source where it can. There it may do one thing: change the listed trees of the
 * target through our own program or rsync's own server, from the addresses of its host, until its lease
 * ends (admission.ts).
 */
export interface PassKey extends Omit<Joint, 'close'> {
  /** The target as rsync(1) takes it. */
  readonly destination: string;
  /** Of the key and what belongs to it, on both hosts; the mirror program and its items lie there too. */
  readonly folder: string;
  /** rsync module name of each tree. */
  module(path: string): string;
  /** Puts the end of the lease off, to a full lease from now. */
  renew(): Promise<void>;
  /** The same, if a good part of the lease is over. */
  renewIfDue(): Promise<void>;
  remove(): Promise<void>;
}

const dueSeconds = 600;

/** Joins source and target for one pass. Whoever has the key removes it. */
export async function createPassKey(options: JoinOptions): Promise<PassKey> {
  const { source, target, migration, directories } = options;
  const { close, ...joint } = await join(options);
  let renewedAt = performance.now();
  const renew = async () => {
    await renewPassKey(source, target, migration);
    renewedAt = performance.now();
  };
  return {
    ...joint,
    destination: joint.host.includes(':') ? `[${joint.host}]` : joint.host,
    folder: folderOf(migration),
    module: (path) => moduleOf(path, directories),
    renew,
    renewIfDue: async () => {
      if (performance.now() - renewedAt > dueSeconds * 1000) await renew();
    },
    remove: async () => {
      await removePassKey(source, target, migration);
      await close();
    },
  };
}

/** For the key of a pass that is under way, whoever made it. */
export async function renewPassKey(source: Host, target: Host, migration: string): Promise<void> {
  const command = renewal(folderOf(migration), migration);
  await Promise.all([source, target].map((host) => host.change(command)));
}

/**
 * Removes the key of a pass and what belongs to it, on both hosts. Safe to call when there is nothing.
 * A connection that stands goes on.
 */
export async function removePassKey(source: Host, target: Host, migration: string): Promise<void> {
  await Promise.all(
    [source, target].map((host) =>
      host.change(
        script(
          `${dismissing}\n${ceasing}\n${keepingFolder}\ndismiss "$2"\ncease "$1"\ndrop_folder "$1"`,
          [folderOf(migration), migration],
          { purpose: 'dismiss the key of this pass' },
        ),
      ),
    ),
  );
}
