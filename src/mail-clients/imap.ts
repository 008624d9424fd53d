import { setTimeout as sleep } from 'node:timers/promises';
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
export function countInbox(account: ImapAccount): Promise<number> {
  return loggedIn(account, async (client) => {
    const status = await client.status('INBOX', { messages: true });
    return status.messages ?? 0;
  });
}

/** Waits for a message in INBOX, and removes it. Returns whether it came within so many seconds. */
export function takeFromInbox(
  account: ImapAccount,
  messageId: string,
  seconds: number,
): Promise<boolean> {
  return loggedIn(account, async (client) => {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const lock = await client.getMailboxLock('INBOX');
      try {
        const wanted = { header: { 'message-id': messageId } };
        const found = (await client.search(wanted, { uid: true })) || [];
        if (found.length > 0) return await client.messageDelete(found, { uid: true });
      } finally {
        lock.release();
      }
      if (Date.now() > end) return false;
      await sleep(100);
      await client.noop();
    }
  });
}

async function loggedIn<T>(
  account: ImapAccount,
  work: (client: ImapFlow) => Promise<T>,
): Promise<T> {
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
    return await work(client);
  } finally {
    await client.logout();
  }
}
