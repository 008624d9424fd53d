import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { command, script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
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

export async function has(host: MailHost, mark: string): Promise<boolean> {
  const result = await host.read(
    script('[ -e "$1" ]', [`${host.folder}/${mark}`], {
      allow: [0, 1],
      purpose: `look for ${mark}`,
    }),
  );
  return result.code === 0;
}

/** Throws if another run has taken the lock over: for changes that are made elsewhere than on the hosts. */
export async function confirmLock({ old, new: fresh, dead }: StageContext): Promise<void> {
  const look = command(['true'], { purpose: 'look whether this run still has the lock' });
  const hosts = [old, fresh].filter(({ role }) => role !== dead);
  await Promise.all(hosts.map((host) => host.change(look)));
}
