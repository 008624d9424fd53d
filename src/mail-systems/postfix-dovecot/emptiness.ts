import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding } from '../mail-system.ts';
import { countQueue } from './queue.ts';

/** TCP ports of mail, and who may be found listening there before the move. */
const mailPorts = [24, 25, 110, 143, 465, 587, 993, 995, 4190];
const ourListeners = ['master', 'dovecot', 'smtpd', 'systemd'];

/** NEW must have no mail, no queue and no mail service of its own: two servers are not merged. */
export async function emptiness(
  target: MailHost,
  options: {
    readonly stores: readonly string[];
    /** Ports of the doors for late mail, which must be free. */
    readonly doorPorts: readonly number[];
  },
): Promise<Finding[]> {
  const [mail, queued, listeners] = await Promise.all([
    firstMail(target, options.stores),
    countQueue(target),
    foreignListeners(target, options.doorPorts),
  ]);
  return [
    ...mail.map((path) =>
      blocks(
        `${target.label}: it holds mail already (${printable(path)})`,
        'move that mail away: NEW must be empty, since two servers are not merged',
      ),
    ),
    ...(queued === 0
      ? []
      : [
          blocks(
            `${target.label}: ${queued === 1 ? '1 message is' : `${queued} messages are`} in its queue`,
            'deliver or delete them (`postqueue -p`), then plan again',
          ),
        ]),
    ...listeners.map(({ port, program }) =>
      blocks(
        `${target.label}: ${program} listens on port ${port} and is not part of this mail system`,
        options.doorPorts.includes(port)
          ? 'stop it, or set late-mail.port so that it and the next port are free'
          : 'stop it, or move it to another port',
      ),
    ),
  ];
}

/** The first message of each store, by the names that Maildir and Dovecot's own formats give. */
async function firstMail(target: MailHost, stores: readonly string[]): Promise<readonly string[]> {
  const result = await target.read(
    script(
      `for store; do
         if [ -d "$store" ]; then
           find "$store" -ignore_readdir_race -type f \\( -path '*/cur/*' -o -path '*/new/*' -o -path '*/dbox-Mails/u.*' \\
             -o -path '*/storage/m.[0-9]*' \\) -print0 -quit
         fi
       done`,
      stores,
      { timeout: 3600, purpose: 'look for mail on NEW' },
    ),
  );
  return result.stdout
    .toString('latin1')
    .split('\0')
    .slice(0, -1)
    .map((path) => printable(Buffer.from(path, 'latin1')));
}

interface Listener {
  readonly port: number;
  readonly program: string;
}

async function foreignListeners(
  target: MailHost,
  doorPorts: readonly number[],
): Promise<readonly Listener[]> {
  const result = await target.read(command(['ss', '-Hltnp'], { purpose: 'list the listeners' }));
  const foreign = new Map<string, Listener>();
  for (const line of result.stdout.toString('utf8').split('\n')) {
    const port = Number(/:(\d+)\s+\S+\s/.exec(line)?.[1]);
    const program = /users:\(\("([^"]+)"/.exec(line)?.[1] ?? 'a program without a name';
    const isForeign = mailPorts.includes(port) && !ourListeners.includes(program);
    if (isForeign || doorPorts.includes(port)) foreign.set(`${port} ${program}`, { port, program });
  }
  return [...foreign.values()];
}
