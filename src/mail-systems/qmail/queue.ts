import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { QueueStatus } from '../mail-system.ts';
import { pathOf } from './control.ts';
import { namesOf } from './names.ts';

/** A message as qmail-qread(8) lists it. */
export interface Queued {
  readonly id: string;
  /** Seconds since 1970. */
  readonly born: number;
  /** Those that are not done yet. */
  readonly recipients: readonly {
    readonly channel: 'local' | 'remote';
    readonly address: string;
  }[];
}

export interface Queue {
  readonly messages: readonly Queued[];
  /** Not looked at by qmail-send(8) yet: nobody knows whether they are local. */
  readonly todo: number;
  /** The host's clock, in seconds. */
  readonly now: number;
}

export async function readQueue(host: MailHost, migration: Migration): Promise<Queue> {
  const result = await host.read(
    script(
      `date +%s
       find "$1/queue/todo" -type f -printf x 2>/dev/null || :
       printf '\\n'
       [ ! -x "$1/bin/qmail-qread" ] || "$1/bin/qmail-qread"`,
      [pathOf(migration)],
      { purpose: 'read the mail queue' },
    ),
  );
  const [now = '0', todo = '', ...rest] = result.stdout.toString('utf8').split('\n');
  return { now: Number(now), todo: todo.length, messages: parseQread(rest) };
}

/** `21 Nov 2026 23:28:09 GMT  #1199  305  <sender>`, then `\tremote\taddress`, or `  done\tremote\taddress`. */
export function parseQread(lines: readonly string[]): readonly Queued[] {
  const messages: { id: string; born: number; recipients: Queued['recipients'][number][] }[] = [];
  for (const line of lines) {
    const [, date, id = ''] = /^(\d.*? GMT) +#(\d+) /.exec(line) ?? [];
    if (date !== undefined) {
      messages.push({ id, born: Date.parse(date) / 1000, recipients: [] });
      continue;
    }
    const [, channel, address = ''] = /^\s+(local|remote)\t(.*)$/.exec(line) ?? [];
    if (channel !== undefined)
      messages.at(-1)?.recipients.push({ channel: channel as 'local' | 'remote', address });
  }
  return messages;
}

/** What waits for one of the names: local, or remote to it; what is not looked at yet counts too. */
export function waitingFor(queue: Queue, names: readonly string[]): readonly Queued[] {
  return queue.messages.filter(({ recipients }) =>
    recipients.some(({ channel, address }) => channel === 'local' || isOf(address, names)),
  );
}

function isOf(address: string, names: readonly string[]): boolean {
  const domain = address.slice(address.lastIndexOf('@') + 1).toLowerCase();
  return names.some((name) => (name.startsWith('.') ? domain.endsWith(name) : domain === name));
}

export async function queueStatus(host: MailHost, migration: Migration): Promise<QueueStatus> {
  const [queue, names] = await Promise.all([readQueue(host, migration), namesOf(host, migration)]);
  const waiting = waitingFor(queue, names);
  const born = waiting.map((message) => message.born);
  return {
    messages: waiting.length + queue.todo,
    oldestSeconds: born.length === 0 ? 0 : Math.max(0, queue.now - Math.min(...born)),
  };
}
