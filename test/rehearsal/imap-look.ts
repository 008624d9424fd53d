import { ImapFlow } from 'imapflow';
import { mailName, password } from '../lab/world.ts';
import type { UidChange } from './evidence.ts';
import type { Snapshot, StoredFolder } from './store.ts';

/**
 * Looks at mailboxes over IMAP at a given server and compares what it reports with the UID lists and
 * Message-IDs of a snapshot: a proof that the server reads the copied lists as the old one did.
 * Messages that are gone are not its concern; a UID with another message is.
 */
export async function lookOverImap(
  address: string,
  mailboxes: readonly string[],
  before: Snapshot,
): Promise<readonly UidChange[]> {
  const changes: UidChange[] = [];
  for (const mailbox of mailboxes) {
    const folders = before.folders.filter((folder) => folder.mailbox === mailbox);
    changes.push(...(await lookAtMailbox(address, mailbox, folders, before)));
  }
  return changes;
}

async function lookAtMailbox(
  address: string,
  mailbox: string,
  folders: readonly StoredFolder[],
  before: Snapshot,
): Promise<readonly UidChange[]> {
  const imap = new ImapFlow({
    host: address,
    port: 993,
    secure: true,
    servername: mailName,
    tls: { rejectUnauthorized: false },
    auth: { user: mailbox, pass: password },
    logger: false,
    disableAutoIdle: true,
  });
  imap.on('error', () => undefined);
  await imap.connect();
  try {
    const changes: UidChange[] = [];
    for (const folder of folders) changes.push(...(await lookAtFolder(imap, folder, before)));
    return changes;
  } finally {
    await imap.logout().catch(() => undefined);
  }
}

async function lookAtFolder(
  imap: ImapFlow,
  was: StoredFolder,
  before: Snapshot,
): Promise<readonly UidChange[]> {
  const { mailbox, folder } = was;
  const changes: UidChange[] = [];
  const differs = (what: string, from: string, to: string) =>
    changes.push({ mailbox, folder, what, before: from, after: to, seenBy: 'imap' });
  const { uidValidity, exists } = await imap.mailboxOpen(folderPath(folder), { readOnly: true });
  if (uidValidity !== BigInt(was.uidValidity)) {
    differs('UIDVALIDITY', String(was.uidValidity), String(uidValidity));
  }
  if (exists === 0) return changes;
  const listed = await imap.fetchAll('1:*', { uid: true, envelope: true });
  if (imap.mailbox === false) throw new Error(`${mailbox}: the server hung up while listing`);
  const now = new Map(listed.map(({ uid, envelope }) => [uid, envelope?.messageId]));
  for (const { messageId, base } of before.messages.filter(
    (message) => message.mailbox === mailbox && message.folder === folder,
  )) {
    const uid = was.uids.get(base);
    if (uid === undefined || messageId.startsWith('file:')) continue;
    const there = now.get(uid);
    if (there !== undefined && there !== messageId) differs(`UID ${uid}`, messageId, there);
  }
  return changes;
}

/** A Maildir++ directory name is in modified UTF-7 (RFC 3501 section 5.1.3); imapflow wants Unicode. */
function folderPath(folder: string): string {
  return folder.replace(/&([^-]*)-/g, (_, code: string) =>
    code === ''
      ? '&'
      : Buffer.from(code.replaceAll(',', '/'), 'base64').swap16().toString('utf16le'),
  );
}
