import type { Step } from '../../engine/step.ts';
import { askedOnce } from '../../hosts/asked-once.ts';
import { script } from '../../hosts/command.ts';
import { betweenQueues } from '../../hosts/hostctl/queue.ts';
import type { Edit, MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext, type QueueStatus } from '../mail-system.ts';
import { demandPostfix } from './postfix.ts';
import { untilPostfixIsDown } from './waiting.ts';

/**
 * `stop`: the queue is copied once, and the source's messages are set aside in the same step, so that
 * neither a restart there nor a rollback sends them again. They are never run through cleanup(8)
 * again (as `postsuper -r` would), so an alias that was expanded is not expanded twice.
 */
export function setAsideQueue(context: MailContext): Step {
  const { source } = context;
  const where = askedOnce(() => spool(source));
  return {
    id: 'set-aside-queue',
    title: `Set the queue of ${called(source)} aside, to be copied`,
    done: async () => (await left(source, await where(), `${source.folder}/queue`)) === 0,
    do: async () => {
      await source.edit('queue', ['freeze', 'queue', await where()], {
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
  const where = askedOnce(() => spool(target));
  return {
    id: 'return-queue',
    title: `Give the queue that was copied to Postfix on ${called(target)}`,
    done: async () => isMoved(target, await where()),
    do: async () => moveQueue(target, await where()),
  };
}

/**
 * `stop`, on NEW before it opens: the copied messages become its queue. Its Postfix is stopped for that
 * (no client can be in a session yet): the files have other inode numbers here, and their names must
 * say so, which only Postfix's start does safely (postsuper(1) -s).
 */
export function releaseQueue(context: MailContext): Step {
  const { new: target } = context;
  const where = askedOnce(() => spool(target));
  return {
    id: 'release-queue',
    title: 'Give the queue that was copied to Postfix on NEW',
    // Whoever needs it is told of a failure.
    ahead: () => where().catch(() => undefined),
    done: async () => isMoved(target, await where()),
    do: async () => {
      await target.edits([opening()], { purpose: 'note the opening' });
      return moveQueue(target, await where());
    },
  };
}

/** Puts the queue that was copied into that of Postfix, which is down then. */
export async function moveQueue(host: MailHost, directory: string): Promise<string> {
  await untilPostfixIsDown(
    host,
    `systemctl stop postfix.service
     # The unit that is behind it up to Debian 12.
     systemctl stop postfix@-.service 2>/dev/null || :`,
  );
  const count = await left(host, `${host.folder}/queue`, directory);
  await host.edit('queue-release', [directory], { purpose: 'release the queue' });
  return `${count} messages`;
}

async function isMoved(host: MailHost, directory: string): Promise<boolean> {
  return (await left(host, `${host.folder}/queue`, directory)) === 0;
}

/** Notes it. From here on the host may hold mail that the other has not: rollback must bring it back. */
export function opening(): Edit {
  return { words: ['put', 'opened'], stdin: new Date().toISOString() };
}

/** Messages in the queue, whether or not Postfix runs. */
export async function countQueue(host: MailHost): Promise<number> {
  return countFiles(host, await spool(host));
}

export async function spool(host: MailHost): Promise<string> {
  return (await demandPostfix(host)).parameters.get('queue_directory') ?? '/var/spool/postfix';
}

/** Messages in a queue, with those that lie between two file systems since a move was cut off. */
async function countFiles(host: MailHost, directory: string): Promise<number> {
  return left(host, directory, directory);
}

/**
 * What is still to be moved: the messages in `from`, and those that lie in `to` half-way. A queue file is whole
 * once it is executable, and only then acknowledged (Postfix's mail_queue.h); what a crash leaves of others,
 * Postfix removes after a day.
 */
async function left(host: MailHost, from: string, to: string): Promise<number> {
  const result = await host.read(
    script(
      `for queue in maildrop incoming active deferred hold; do
         if [ -d "$1/$queue" ]; then find "$1/$queue" -ignore_readdir_race -type f -perm -u+x -printf x; fi
       done
       shift
       for folder; do
         if [ -d "$folder/${betweenQueues}" ]; then find "$folder/${betweenQueues}" -type f -name '*%*' -printf x; fi
       done`,
      [from, ...new Set([from, to])],
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
