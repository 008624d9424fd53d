import { type Reply, SmtpConnection, SmtpGone } from './smtp-client.ts';

/** What one attempt at one server made of one recipient. */
export type Verdict =
  | { readonly kind: 'accepted' | 'refused' | 'deferred'; readonly reply: string }
  | { readonly kind: 'reply-lost'; readonly reply: string };

export interface Envelope {
  readonly from: string;
  readonly recipients: readonly string[];
  /** Makes the message; called only when the server has said 354. */
  readonly message: () => Buffer;
}

export interface Login {
  readonly user: string;
  readonly password: string;
}

export interface SessionOptions {
  readonly address: string;
  readonly port: number;
  readonly timeout: number;
  readonly heloName: string;
  readonly serverName: string;
  /** Submission: TLS is then a must, and AUTH PLAIN follows it (RFC 6409, RFC 4954). */
  readonly login?: Login;
  /** Leave out STARTTLS; for probes, which send no mail. */
  readonly plain?: boolean;
}

/** The server turned the session away before any recipient was named; another server may not. */
export class SessionRefused extends Error {
  override readonly name = 'SessionRefused';
}

/**
 * One SMTP transaction with one server. Throws SmtpGone or SessionRefused when no recipient was
 * decided, so that the caller can go on to the next address; else there is a verdict for each.
 */
export async function transact(
  options: SessionOptions,
  envelope: Envelope,
): Promise<Map<string, Verdict>> {
  const smtp = await openSession(options);
  try {
    return await deliver(smtp, envelope);
  } finally {
    await smtp.quit();
  }
}

/** Greeting, EHLO, STARTTLS where offered, and AUTH where asked. */
export async function openSession(options: SessionOptions): Promise<SmtpConnection> {
  const { smtp, greeting } = await SmtpConnection.open(options);
  try {
    expectReply(greeting, 220);
    const hello = await smtp.command(`EHLO ${options.heloName}`);
    expectReply(hello, 250);
    if (offers(hello, 'STARTTLS') && !options.plain) {
      expectReply(await smtp.command('STARTTLS'), 220);
      await smtp.upgrade(options.serverName);
      expectReply(await smtp.command(`EHLO ${options.heloName}`), 250);
    } else if (options.login) {
      throw new SessionRefused('no STARTTLS on the submission port');
    }
    if (options.login) await authenticate(smtp, options.login);
    return smtp;
  } catch (error) {
    smtp.close();
    throw error;
  }
}

async function authenticate(smtp: SmtpConnection, { user, password }: Login): Promise<void> {
  const secret = Buffer.from(`\0${user}\0${password}`).toString('base64');
  expectReply(await smtp.command(`AUTH PLAIN ${secret}`), 235);
}

async function deliver(smtp: SmtpConnection, envelope: Envelope): Promise<Map<string, Verdict>> {
  const verdicts = new Map<string, Verdict>();
  const decideAll = (recipients: readonly string[], verdict: Verdict) => {
    for (const recipient of recipients) verdicts.set(recipient, verdict);
  };
  const mail = await smtp.command(`MAIL FROM:<${envelope.from}>`);
  if (mail.code !== 250) {
    decideAll(envelope.recipients, verdictOf(mail));
    return verdicts;
  }
  const willing: string[] = [];
  // A drop from here on keeps what was already decided by a 5xx; the rest is tried again.
  let dotSent = false;
  try {
    for (const recipient of envelope.recipients) {
      const reply = await smtp.command(`RCPT TO:<${recipient}>`);
      if (reply.code === 250 || reply.code === 251) willing.push(recipient);
      else verdicts.set(recipient, verdictOf(reply));
    }
    if (willing.length === 0) return verdicts;
    const data = await smtp.command('DATA');
    if (data.code !== 354) {
      decideAll(willing, verdictOf(data));
      return verdicts;
    }
    const end = await smtp.body(envelope.message(), () => {
      dotSent = true;
    });
    decideAll(willing, verdictOf(end));
  } catch (error) {
    if (!(error instanceof SmtpGone)) throw error;
    const open = envelope.recipients.filter((recipient) => !verdicts.has(recipient));
    decideAll(open, { kind: dotSent ? 'reply-lost' : 'deferred', reply: error.message });
  }
  return verdicts;
}

/** Only 250 is an acknowledgement; 5xx is for good; whatever else is for later. */
function verdictOf(reply: Reply): Verdict {
  const text = `${reply.code} ${reply.text.replaceAll('\n', ' ')}`;
  if (reply.code === 250) return { kind: 'accepted', reply: text };
  return { kind: reply.code >= 500 ? 'refused' : 'deferred', reply: text };
}

function offers(hello: Reply, keyword: string): boolean {
  return hello.text.split('\n').some((line) => line.toUpperCase().split(' ')[0] === keyword);
}

function expectReply(reply: Reply, code: number): void {
  if (reply.code !== code) throw new SessionRefused(`${reply.code} ${reply.text}`);
}
