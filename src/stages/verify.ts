import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { has } from '../hosts/marks.ts';
import type { ImapAccount } from '../mail-clients/imap.ts';
import { called } from '../mail-systems/mail-system.ts';
import { undoDifferences } from '../report/undo-records.ts';
import { withoutOld } from './dead.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** Nobody's domain (RFC 6761): a server that takes mail for it relays for everybody. */
const foreignRecipient = 'nobody@relay-check.invalid';

/** Evidence that NEW serves. Changes nothing. Every check says what it looked at. */
export async function verify(context: StageContext): Promise<Stage> {
  const dead = withoutOld(context, 'verify');
  const { startTls, mailbox, submission } = context.system.service;
  return {
    action: 'verify',
    steps: [
      ...dead,
      check('owner', 'NEW is the owner', () => owner(context)),
      ...(context.migration.cutover === 'dns'
        ? [check('dns', 'Every authoritative server points at NEW', () => pointsAtNew(context))]
        : []),
      check('smtp', `NEW takes mail for its own users${startTls ? ', with STARTTLS' : ''}`, () =>
        takesMail(context),
      ),
      // Only a stranger can tell, and the runner may be behind a network that lets no port 25 out.
      ...(dead.length > 0
        ? []
        : [check('relay', 'NEW refuses to relay', () => refusesRelaying(context))]),
      mailbox === 'imap'
        ? check('imap', 'The probe mailbox opens over IMAP', () => opensMailbox(context))
        : check('pop3', 'The probe mailbox opens over POP3', () => opensOverPop3(context)),
      ...(submission === undefined
        ? []
        : [
            check('submission', 'The probe mailbox may hand in mail', () =>
              mayHandIn(context, submission),
            ),
          ]),
      check('undo', 'What a way back would put in place is what was recorded', () =>
        undoData(context),
      ),
    ],
  };
}

function check(id: string, title: string, work: () => Promise<string>): Step {
  return always(id, title, work);
}

/** Whoever changed a record had root, and may have had a reason: a person must know, and judge. */
async function undoData(context: StageContext): Promise<string> {
  const hosts = context.dead === 'old' ? [context.new] : [context.old, context.new];
  const sums = await Promise.all(hosts.map(undoSums));
  const found = hosts.flatMap((host, index) =>
    undoDifferences(context.history(), host.role, sums[index] ?? new Map()),
  );
  for (const text of found) context.log.warning(`${text}. Look at it there before a rollback`);
  const count = sums.reduce((sum, { size }) => sum + size, 0);
  return found.length > 0 ? found.join('; ') : `${count} undo records, as the journal has them`;
}

/** SHA-256 of what each undo record holds, by "GROUP/NNNN-NAME". */
async function undoSums(host: MailHost): Promise<ReadonlyMap<string, string>> {
  const look = command([host.hostctl, 'undo-sums'], { purpose: 'look at the undo data' });
  const lines = (await host.read(look)).stdout.toString('utf8').split('\n').filter(Boolean);
  return new Map(lines.map((line) => line.split(' ') as [string, string]));
}

async function owner(context: StageContext): Promise<string> {
  const [released, taken] = await Promise.all([
    context.dead === 'old' || has(context.old, 'released'),
    has(context.new, 'owner'),
  ]);
  if (!released || !taken)
    throw new UserError(
      'NEW does not own the mailboxes yet: run activate first. Nothing else can be verified before',
    );
  return context.dead === 'old'
    ? 'NEW took service; OLD was declared dead'
    : 'OLD gave service away, NEW took it';
}

async function pointsAtNew(context: StageContext): Promise<string> {
  const wrong: string[] = [];
  let count = 0;
  for (const [index, zone] of context.migration.dns.entries()) {
    for (const record of zone.records) {
      count += 1;
      wrong.push(
        ...((await context.dns[index]?.lagging({
          name: record.name,
          type: record.type,
          ttl: zone.ttl,
          values: record.values,
        })) ?? []),
      );
    }
  }
  if (wrong.length > 0) throw new UserError(`DNS: ${wrong.join('; ')}. Run dns-cutover`);
  return `${count} RRsets`;
}

async function takesMail(context: StageContext): Promise<string> {
  const mailbox = context.migration.probe?.mailbox;
  const answer = await ask(context, mailbox ?? `postmaster@${context.migration.domains[0]}`);
  if (answer.recipient.code !== 250)
    throw new UserError(
      `${context.new.label}: port 25 answered ${answer.recipient.code} ${answer.recipient.lines.join(' ')}. Look at the mail log there`,
    );
  if (!answer.startTls && context.system.service.startTls)
    throw new UserError(`${context.new.label}: port 25 offers no STARTTLS. Look at smtpd_tls_*`);
  return `${answer.greeting}; ${answer.startTls ? 'STARTTLS' : 'no STARTTLS'}; recipient taken`;
}

async function refusesRelaying(context: StageContext): Promise<string> {
  const answer = await ask(context, foreignRecipient);
  if (answer.recipient.code < 400)
    throw new UserError(
      `${context.new.label}: it relays mail for strangers (${foreignRecipient} was accepted). Correct smtpd_relay_restrictions at once`,
    );
  return `${answer.recipient.code} for ${foreignRecipient}`;
}

/**
 * Through SSH, because hosted runners can't reach port 25, and from OLD, because a stranger is what
 * counts: NEW may trust its own address.
 */
async function ask(context: StageContext, recipient: string) {
  const { askRecipient } = await import('../mail-clients/smtp.ts');
  const from = context.dead === 'old' ? context.new : context.old;
  const tunnel = await from.tunnel(context.migration.new.address, 25);
  try {
    return await askRecipient(tunnel.port, 'postmaster@mail-cutover.invalid', recipient);
  } catch (error) {
    throw new UserError(
      `${context.new.label}: port 25 does not answer ${called(from)}. Look at Postfix there, and whether ${called(from)} may send to port 25`,
      { cause: error },
    );
  } finally {
    await tunnel.close();
  }
}

async function opensMailbox(context: StageContext): Promise<string> {
  const { countInbox } = await import('../mail-clients/imap.ts');
  return asProbe(
    context,
    { port: 993, fault: "can't log in over IMAP on port 993", log: 'Dovecot' },
    async (account) => {
      const messages = await countInbox(account);
      return `logged in over TLS, ${messages} messages in INBOX`;
    },
  );
}

/** No message is sent: `activate` did that, where nobody else could see it. */
async function mayHandIn(context: StageContext, port: number): Promise<string> {
  const clients = await import('../mail-clients/submission.ts');
  return asProbe(
    context,
    { port, fault: `can't log in to hand in mail on port ${port}`, log: 'mail' },
    async (account) => {
      await clients.mayHandIn(account);
      return 'logged in with STARTTLS';
    },
  );
}

/** Logs in to NEW's public address, through SSH. */
async function asProbe(
  context: StageContext,
  { port, fault, log }: { readonly port: number; readonly fault: string; readonly log: string },
  work: (account: ImapAccount) => Promise<string>,
): Promise<string> {
  const user = context.migration.probe?.mailbox;
  const password = context.inputs.probePassword;
  if (!user || !password) return 'not looked at: no probe mailbox, or no probe-password';
  const serverName = context.migration.dns[0]?.records[0]?.name ?? context.migration.new.address;
  const tunnel = await context.new.tunnel(context.migration.new.address, port);
  try {
    return await work({ port: tunnel.port, serverName, user, password });
  } catch (error) {
    throw new UserError(
      `${context.new.label}: ${user} ${fault}. Check probe-password, then the ${log} log`,
      { cause: error },
    );
  } finally {
    await tunnel.close();
  }
}

/** Through the tunnel, so the password travels inside SSH. */
async function opensOverPop3(context: StageContext): Promise<string> {
  const mailbox = context.migration.probe?.mailbox;
  const password = context.inputs.probePassword;
  if (!mailbox || !password) return 'not looked at: no probe mailbox, or no probe-password';
  const { countMessages } = await import('../mail-clients/pop3.ts');
  const tunnel = await context.new.tunnel('127.0.0.1', 110);
  try {
    const messages = await countMessages({ port: tunnel.port, user: mailbox, password });
    return `logged in, ${messages} messages`;
  } catch (error) {
    throw new UserError(
      `${context.new.label}: ${mailbox} can't log in over POP3 on port 110. Check probe-password, then the checkpassword program there`,
      { cause: error },
    );
  } finally {
    await tunnel.close();
  }
}
