import type { Host } from '../hosts/host.ts';
import { endDetached } from './detached.ts';
import { endHeld } from './held.ts';
import { removePassKey } from './pass-key.ts';

/**
 * Ends whatever passes have left: one that runs, a connection that is held open, a key. Safe to call
 * when there is nothing.
 */
export async function endPasses(source: Host, target: Host, migration: string): Promise<void> {
  await Promise.all([
    removePassKey(source, target, migration),
    endHeld(source, migration),
    endDetached(source, migration),
  ]);
}
