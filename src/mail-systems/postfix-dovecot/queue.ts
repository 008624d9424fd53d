import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext, type QueueStatus } from '../mail-system.ts';
import { demandPostfix } from './postfix.ts';

/**
 * `stop`: the queue is copied once, and the source's messages are set aside in the same step, so that
 * neither a restart there nor a rollback sends them again. They are never run through cleanup(8)
 * again (as `postsuper -r` would), so an alias that was expanded is not expanded twice.
 */
export function setAsideQueue(context: MailContext): Step {
  const { source } = context;
  return {
    id: 'set-aside-queue',
    title: `Set the queue of ${called(source)} aside, to be copied`,
    done: async () => (await countFiles(source, await spool(source))) === 0,
    do: async () => {
      await source.edit('queue', ['freeze', 'queue', await spool(source)], {
        purpose: 'set the queue aside',
      });
      return `${await countFiles(source, `${source.folder}/queue`)} messages`;
    },
  };
}

/**
 * `stop`, taken back: the queue that came from NEW lies on OLD, whose Postfix is down, and becomes
 * its queue. Postfix names the files anew when it starts.
 */
export function returnQueue(context: MailContext): Step {
  const { target } = context;
  const copied = `${target.folder}/queue`;
  return {
    id: 'return-queue',
    title: `Give the queue that was copied to Postfix on ${called(target)}`,
    done: async () => (await countFiles(target, copied)) === 0,
    do: async () => {
      const count = await countFiles(target, copied);
      await target.edit('queue-release', [await spool(target)], { purpose: 'release the queue' });
      return `${count} messages`;
    },
  };
}

/** `stop`, on NEW: the copied messages become its queue. */
export function releaseQueue(context: MailContext): Step {
  const { new: target } = context;
  return {
    id: 'release-queue',
    title: 'Give the queue that was copied to Postfix on NEW',
    done: async () => (await countFiles(target, `${target.folder}/queue`)) === 0,
    do: async () => {
      const count = await countFiles(target, `${target.folder}/queue`);
      const directory = await spool(target);
      await target.edit('queue-release', [directory], { purpose: 'release the queue' });
      // The files have other inode numbers here, and their names must say so (postsuper(1) -s).
      await target.change(
        script('postsuper -s; postfix reload; postqueue -f', [], {
          purpose: 'name the queue files and flush the queue',
        }),
      );
      return `${count} messages`;
    },
  };
}

/** Messages in the queue, whether or not Postfix runs. */
export async function countQueue(host: MailHost): Promise<number> {
  return countFiles(host, await spool(host));
}

async function spool(host: MailHost): Promise<string> {
  return (await demandPostfix(host)).parameters.get('queue_directory') ?? '/var/spool/postfix';
}

async function countFiles(host: MailHost, directory: string): Promise<number> {
  const result = await host.read(
    script(
      `for queue in maildrop incoming active deferred hold; do
         if [ -d "$1/$queue" ]; then find "$1/$queue" -ignore_readdir_race -type f -printf x; fi
       done`,
      [directory],
      { purpose: 'count the queue files' },
    ),
  );
  return result.stdout.length;
}

/** postqueue(1) -j: one JSON object a line and message. Where Postfix is down the files count, whatever their age. */
export async function queueStatus(host: MailHost): Promise<QueueStatus> {
  const result = await host.read(
    script(
      'postfix status 2>/dev/null || exit 44; now=$(date +%s); printf "%s\\n" "$now"; postqueue -j',
      [],
      {
        allow: [0, 44],
        purpose: 'read the mail queue',
      },
    ),
  );
  if (result.code === 44) return { messages: await countQueue(host), oldestSeconds: 0 };
  const [now = '0', ...lines] = result.stdout.toString('utf8').trim().split('\n');
  const arrivals = lines
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { arrival_time: number }).arrival_time);
  return {
    messages: arrivals.length,
    oldestSeconds: arrivals.length === 0 ? 0 : Number(now) - Math.min(...arrivals),
  };
}
