import { ImapFlow } from 'imapflow';

export interface ImapAccount {
  /** Where to connect: a tunnel's local port. */
  readonly port: number;
  /** The name that the certificate should carry (RFC 9525). */
  readonly serverName: string;
  readonly user: string;
  readonly password: string;
}

/** Logs in over implicit TLS (RFC 8314) and looks into INBOX. Returns how many messages it holds. */
export async function countInbox(account: ImapAccount): Promise<number> {
  const client = new ImapFlow({
    host: '127.0.0.1',
    port: account.port,
    secure: true,
    servername: account.serverName,
    // The certificate is a check of its own; here only the mailbox matters.
    tls: { rejectUnauthorized: false },
    auth: { user: account.user, pass: account.password },
    logger: false,
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const status = await client.status('INBOX', { messages: true });
    return status.messages ?? 0;
  } finally {
    await client.logout();
  }
}
