import { createTransport } from 'nodemailer';
import type { ImapAccount } from './imap.ts';

/** Logs in over STARTTLS, as a user who is about to send (RFC 6409), and leaves. */
export async function mayHandIn(account: ImapAccount): Promise<void> {
  const transport = transportOf(account);
  try {
    await transport.verify();
  } finally {
    transport.close();
  }
}

/** Hands in a message of the user's to the user's own address. `text` is the whole message, with its headers. */
export async function handIn(account: ImapAccount, text: string): Promise<void> {
  const transport = transportOf(account);
  try {
    await transport.sendMail({ envelope: { from: account.user, to: account.user }, raw: text });
  } finally {
    transport.close();
  }
}

function transportOf({ port, serverName, user, password }: ImapAccount) {
  return createTransport({
    host: '127.0.0.1',
    port,
    requireTLS: true,
    // The certificate is a check of its own.
    tls: { rejectUnauthorized: false, servername: serverName },
    auth: { user, pass: password },
    connectionTimeout: 20_000,
    socketTimeout: 60_000,
  });
}
