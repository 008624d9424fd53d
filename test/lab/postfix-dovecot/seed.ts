import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes Maildirs as years of use leave them, without a server: thousands of messages a second. */

export interface SeedOptions {
  readonly messages: number;
  /** Bytes of one more message in INBOX; none when left out. */
  readonly large?: number;
}

interface Folder {
  /** Name on disk: Maildir++, modified UTF-7 (RFC 3501 section 5.1.3); '' is INBOX. */
  readonly name: string;
  /** Of all messages of the mailbox, in percent; INBOX takes what is left. */
  readonly share: number;
}

const folders: readonly Folder[] = [
  { name: 'Archive', share: 10 },
  { name: 'Archive.2025', share: 5 },
  { name: 'Sent', share: 10 },
  { name: 'Entw&APw-rfe', share: 3 },
  { name: 'With Space', share: 3 },
  { name: 'Trash', share: 2 },
];

const keywords = ['$Label1', '$Forwarded', 'wichtig'];
const flagSets = ['', 'S', 'S', 'S', 'S', 'RS', 'FS', 'Sa', 'RSb', 'FRSac', 'DS', 'PS'];
const words =
  'the orchard keeps its apples cool and dry until the first frost has gone by the gate where we wait'.split(
    ' ',
  );

/** Same numbers in every run (mulberry32), so that a seeded host is the same in every cache. */
function numbers(seed: string): () => number {
  let state = 2166136261;
  for (const char of seed) state = Math.imul(state ^ char.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Lines of text that every body is cut from. */
const pool = (() => {
  const next = numbers('pool');
  const line = () => Array.from({ length: 12 }, () => words[Math.floor(next() * words.length)]);
  return Array.from({ length: 2000 }, () => `${line().join(' ')}\n`).join('');
})();

function body(next: () => number, bytes: number): string {
  const from = Math.floor(next() * pool.length);
  const text = pool.slice(from) + pool.repeat(Math.ceil(bytes / pool.length));
  return `${text.slice(0, bytes)}\n`;
}

function message(address: string, id: string, date: Date, text: string): string {
  return `Return-Path: <friend@elsewhere.example>
Delivered-To: ${address}
Received: from mx.elsewhere.example by mail.orchard.example with ESMTP id ${id};
	${date.toUTCString().replace('GMT', '+0000')}
From: A Friend <friend@elsewhere.example>
To: <${address}>
Subject: Letter ${id}
Date: ${date.toUTCString().replace('GMT', '+0000')}
Message-ID: <${id}.${address}>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

${text}`;
}

/** First day of the seeded mail; each message is some hours later than the one before. */
const start = Date.UTC(2025, 0, 6);

function writeMessage(folder: string, address: string, index: number, bytes: number): void {
  const next = numbers(`${address} ${index}`);
  const date = new Date(start + index * 7 * 3600_000 + Math.floor(next() * 3600_000));
  const id = `seed-${String(index).padStart(6, '0')}`;
  const text = message(address, id, date, body(next, bytes));
  const seconds = Math.floor(date.getTime() / 1000);
  const lines = text.split('\n').length - 1;
  const unique = `${seconds}.M${Math.floor(next() * 1e6)}P${1000 + index}.mail`;
  const base = `${unique},S=${text.length},W=${text.length + lines}`;
  const isUnseen = next() < 0.05;
  const flags = flagSets[Math.floor(next() * flagSets.length)];
  const file = join(folder, isUnseen ? `new/${base}` : `cur/${base}:2,${flags}`);
  writeFileSync(file, text, { mode: 0o600 });
  utimesSync(file, seconds, seconds);
}

function makeFolder(folder: string, isInbox: boolean): void {
  for (const part of ['cur', 'new', 'tmp']) {
    mkdirSync(join(folder, part), { recursive: true, mode: 0o700 });
  }
  const listed = keywords.map((keyword, index) => `${index} ${keyword}\n`).join('');
  writeFileSync(join(folder, 'dovecot-keywords'), listed, { mode: 0o600 });
  if (!isInbox) writeFileSync(join(folder, 'maildirfolder'), '', { mode: 0o600 });
}

/** Fills the Maildir at `path` for `address`. The caller gives it to its owner afterwards. */
export function seedMaildir(path: string, address: string, options: SeedOptions): void {
  const shares = folders.map((folder) => Math.floor((options.messages * folder.share) / 100));
  const inbox = options.messages - shares.reduce((sum, share) => sum + share, 0);
  let index = 0;
  const fill = (folder: string, count: number) => {
    for (const end = index + count; index < end; index += 1) {
      const next = numbers(`size ${address} ${index}`);
      writeMessage(folder, address, index, 1000 + Math.floor(next() ** 3 * 7000));
    }
  };
  makeFolder(path, true);
  fill(path, inbox);
  for (const [at, { name }] of folders.entries()) {
    const folder = join(path, `.${name}`);
    makeFolder(folder, false);
    fill(folder, shares[at] ?? 0);
  }
  if (options.large !== undefined) writeMessage(path, address, index, options.large);
  // Version 2 of Dovecot's subscriptions file: hierarchy levels parted by tabs.
  const subscribed = ['INBOX', 'Archive', 'Archive\t2025', 'Sent', 'Entw&APw-rfe'];
  writeFileSync(join(path, 'subscriptions'), `V\t2\n\n${subscribed.join('\n')}\n`, { mode: 0o600 });
}
