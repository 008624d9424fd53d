import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import type { StageContext } from './stage.ts';

/**
 * The one commit point of a migration: service leaves OLD, durably, before NEW takes it. Until
 * `release` nothing is lost by going back; after it NEW is the owner, whoever dies.
 */
export function handOver(context: StageContext): readonly Step[] {
  const { old, new: target } = context;
  return [
    {
      id: 'release',
      title: 'OLD gives service away',
      done: () => has(old, 'released'),
      do: async () => `released at ${await release(old)}`,
    },
    {
      id: 'take',
      title: 'NEW takes service',
      done: () => has(target, 'owner'),
      do: async () => {
        if (!(await has(old, 'released')))
          throw new UserError(`${old.label}: it has not given service away. Run activate again`);
        await target.edit('put', ['owner'], { stdin: new Date().toISOString() });
        return undefined;
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

/** Under hostctl's exclusive lock, so that it and the thaw of the freeze limit exclude each other. */
async function release(old: MailHost): Promise<string> {
  return old.release();
}
