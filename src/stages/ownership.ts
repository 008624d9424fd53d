import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { command } from '../hosts/command.ts';
import { has } from '../hosts/marks.ts';
import { called } from '../mail-systems/mail-system.ts';
import type { StageContext } from './stage.ts';

/**
 * The one commit point of a migration, in both directions: service leaves the source, durably,
 * before the target takes it. Until `release` nothing is lost by going back; after it the target is
 * the owner, whoever dies.
 */
export function handOver(context: StageContext): readonly Step[] {
  const { source, target } = context;
  return [
    {
      id: 'release',
      title: `${called(source)} gives service away`,
      done: () => has(source, 'released'),
      // Under hostctl's exclusive lock, so that it and the thaw of the freeze limit exclude each other.
      do: async () => `released at ${await source.release()}`,
    },
    {
      id: 'take',
      title: `${called(target)} takes service`,
      done: () => has(target, 'owner'),
      do: async () => {
        if (!(await has(source, 'released')))
          throw new UserError(
            `${source.label}: it has not given service away. Run this stage again`,
          );
        return `taken at ${await target.take()}`;
      },
    },
  ];
}

/** Throws if another run has taken the lock over: for changes that are made elsewhere than on the hosts. */
export async function confirmLock({ old, new: fresh, dead }: StageContext): Promise<void> {
  const look = command(['true'], { purpose: 'look whether this run still has the lock' });
  const hosts = [old, fresh].filter(({ role }) => role !== dead);
  await Promise.all(hosts.map((host) => host.change(look)));
}
