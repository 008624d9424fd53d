import { randomBytes, randomUUID } from 'node:crypto';
import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import type { MailContext } from '../mail-system.ts';
import { type Closing, closedForProbe } from '../postfix-dovecot/activate.ts';
import { startedFirst } from './units.ts';

/** Listeners on NEW's loopback, until it opens. */
const ports = { smtp: 10127, submission: 10128, imap: 10129 } as const;
export const probePorts: readonly number[] = Object.values(ports);

const arrivalSeconds = 60;

/** Of Postfix the same services under other names, so that the probe meets what everybody will meet. */
export const closedRelay: Closing = {
  before: startedFirst,
  // The bar on new accounts, under whose name one may be set soon (`accountsAsOnOld`).
  barred: ['nocreate'],
  dovecot: `protocols = imap lmtp
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = 0
  }
  inet_listener mail-cutover {
    address = 127.0.0.1
    port = ${ports.imap}
    ssl = yes
  }
}`,
  listeners: ({ services }) => {
    const listeners = new Map<string, string>();
    for (const [name, port] of [
      ['smtp', ports.smtp],
      ['submission', ports.submission],
    ] as const) {
      const entry = services.get(`${name}/inet`);
      const own = `127.0.0.1:${port}`;
      if (entry !== undefined) listeners.set(own, entry.replace(/^\S+/, own));
    }
    return listeners;
  },
};

/**
 * What a user does, before users can: log in, hand in a message, read it. So accounts, filter, signing,
 * delivery and certificate have been used once when NEW opens.
 */
export function probeAsUser(context: MailContext): readonly Step[] {
  const { new: target, migration } = context;
  const user = migration.probe?.mailbox;
  if (user === undefined) return [];
  return [
    {
      id: 'probe-as-user',
      title: `Ask port 25 on NEW; hand in a message as ${user}, and read it over IMAP`,
      done: async () => !(await closedForProbe(target)),
      do: () => handInAndRead(context, user),
    },
  ];
}

async function handInAndRead(context: MailContext, user: string): Promise<string> {
  const { new: target, runner } = context;
  await ask(context, user);
  const password = runner.probePassword;
  if (password === undefined) return 'port 25 takes its mail; no login: there is no probe-password';
  const [{ handIn }, { takeFromInbox }] = await Promise.all([
    import('../../mail-clients/submission.ts'),
    import('../../mail-clients/imap.ts'),
  ]);
  const serverName = context.migration.domains[0] ?? target.address;
  const as = <T>(port: number, what: string, work: (account: Account) => Promise<T>): Promise<T> =>
    through(context, port, `${user} can't ${what} (is probe-password right?)`, (local) =>
      work({ port: local, serverName, user, password }),
    );
  const began = performance.now();
  const id = `<${randomUUID()}@mail-cutover.probe>`;
  await as(ports.submission, 'hand in mail', (account) => handIn(account, encrypted(user, id)));
  const came = await as(ports.imap, 'log in over IMAP', (account) =>
    takeFromInbox(account, id, arrivalSeconds),
  );
  if (!came)
    throw new UserError(
      `${target.label}: what ${user} handed in did not arrive within ${arrivalSeconds} s. NEW is still closed. Look at the mail log on NEW, then run activate again, or rollback`,
    );
  return `handed in, filtered, delivered and read in ${Math.round(performance.now() - began)} ms`;
}

interface Account {
  readonly port: number;
  readonly serverName: string;
  readonly user: string;
  readonly password: string;
}

/** Would port 25 take mail for the user, its filter included? No message follows: it would lack a signature. */
async function ask(context: MailContext, user: string): Promise<void> {
  const { askRecipient } = await import('../../mail-clients/smtp.ts');
  const { recipient } = await through(context, ports.smtp, 'port 25 does not answer', (port) =>
    askRecipient(port, 'postmaster@mail-cutover.invalid', user),
  );
  if (recipient.code !== 250)
    throw new UserError(
      `${context.new.label}: port 25 answers ${recipient.code} ${recipient.lines.join(' ')} for ${user}. NEW is still closed. Look at the mail log on NEW, then run activate again, or rollback`,
    );
}

/** Through SSH to the host's own loopback. */
async function through<T>(
  { new: target }: MailContext,
  port: number,
  fault: string,
  work: (localPort: number) => Promise<T>,
): Promise<T> {
  const tunnel = await target.tunnel('127.0.0.1', port);
  try {
    return await work(tunnel.port);
  } catch (error) {
    throw new UserError(
      `${target.label}: ${fault}. NEW is still closed. Look at the mail log on NEW, then run activate again, or rollback`,
      { cause: error },
    );
  } finally {
    await tunnel.close();
  }
}

/**
 * A relay takes only what is encrypted, and looks at its shape: RFC 3156, with packets of RFC 9580 that
 * end with encrypted data (openpgp.rs and message.rs of chatmail/filtermail). There is nothing to decrypt.
 */
export function encrypted(user: string, id: string): string {
  const body = Buffer.concat([Buffer.from([1]), randomBytes(39)]);
  // Packet 18 in the new format, with a length of one octet; 42 octets need no padding.
  const packet = Buffer.concat([Buffer.from([0xc0 | 18, body.length]), body]);
  const boundary = randomUUID();
  return [
    `From: <${user}>`,
    `To: <${user}>`,
    'Subject: [...]',
    `Message-ID: ${id}`,
    `Date: ${new Date().toUTCString()}`,
    'MIME-Version: 1.0',
    `Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: application/pgp-encrypted',
    '',
    'Version: 1',
    '',
    `--${boundary}`,
    'Content-Type: application/octet-stream; name="encrypted.asc"',
    '',
    '-----BEGIN PGP MESSAGE-----',
    '',
    packet.toString('base64'),
    '-----END PGP MESSAGE-----',
    '',
    `--${boundary}--`,
    '',
  ].join('\r\n');
}
