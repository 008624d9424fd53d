import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { qmailProgram } from './host-program.ts';

/* The real program in a temporary folder, with a hostctl that only puts what it is given. */

let temporary: string;
let base: string;

beforeEach(() => {
  temporary = realpathSync(mkdtempSync(join(tmpdir(), 'qmail-late-')));
  chmodSync(temporary, 0o755);
  base = join(temporary, 'base');
  write('base/qmail', '/var/qmail\norchard.example\n');
  write(
    'base/bin/hostctl',
    `#!/bin/sh
if [ -e "${base}/fails" ]; then exit 1; fi
cat > "${base}/$2"
`,
    0o755,
  );
  mkdirSync(join(base, 'late'));
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

function write(path: string, text: string, mode = 0o644): string {
  const file = join(temporary, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
  return file;
}

function qmailctl(...words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync('sh', ['-s', '--', ...words], {
    input: qmailProgram,
    env: { MAIL_CUTOVER_BASE: base },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const mail = () => join(temporary, 'mail');

function lateNow(): string[] {
  const { status, stdout, stderr } = qmailctl('late-list', join(base, 'late/seen'), mail());
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter((line) => line !== '');
}

describe('what is late', () => {
  it('is what the freeze did not see; flags and folders are no part of a name', () => {
    write('mail/a/Maildir/new/1.1.old', 'x');
    write('mail/a/Maildir/cur/2.1.old,S=1:2,', 'x');
    expect(qmailctl('note-seen', mail())).toMatchObject({ status: 0, stderr: '' });
    rmSync(join(mail(), 'a/Maildir/new/1.1.old'));
    write('mail/a/Maildir/cur/1.1.old:2,RS', 'x');
    const late = write('mail/a/Maildir/new/3.1.old', 'x');
    expect(lateNow()).toEqual([late]);
  });

  it('is everything, where the freeze saw nothing', () => {
    mkdirSync(mail());
    qmailctl('note-seen', mail());
    const late = write('mail/a/Maildir/new/1.1.old', 'x');
    expect(lateNow()).toEqual([late]);
  });

  it('is never told without the list of the freeze', () => {
    write('mail/a/Maildir/new/1.1.old', 'x');
    const told = qmailctl('late-list', join(base, 'late/seen'), mail());
    expect([told.status, told.stdout]).toEqual([1, '']);
  });

  it('is no path that a line break smuggles in, and nothing below a message', () => {
    mkdirSync(mail());
    qmailctl('note-seen', mail());
    for (const end of ['\n', '\r']) write(`mail/a/Maildir/new/x${end}/mail/b/cur/1.1.old`, 'x');
    write('mail/a/Maildir/new/folder/1.1.old', 'x');
    const late = write('mail/a/Maildir/new/1.1.old', 'x');
    expect(lateNow()).toEqual([late]);
  });
});

/** Somebody who is not root, if only root could be somebody else. */
const user = process.getuid?.() === 0 ? 54_321 : undefined;

function give(...paths: readonly string[]): void {
  if (user === undefined) return;
  for (const path of paths) chownSync(path, user, user);
}

describe('a batch of late messages', () => {
  const at = new Date('2026-01-02T03:04:05Z');

  function batch(...paths: readonly string[]): string {
    for (const path of paths) {
      const file = write(`batch${temporary}/${path}`, `late ${path}`, 0o640);
      utimesSync(file, at, at);
      for (let own = file; own !== join(temporary, 'batch'); own = dirname(own)) give(own);
    }
    return join(temporary, 'batch');
  }

  function maildir(name: string): void {
    for (const part of ['new', 'cur', 'tmp']) {
      mkdirSync(join(mail(), name, part), { recursive: true });
      give(join(mail(), name, part));
    }
    give(join(mail(), name));
  }

  it('comes into the Maildirs as it was, and into one that is not there yet', () => {
    maildir('a');
    const folder = batch(
      'mail/a/new/1.1.old',
      'mail/a/cur/2.1.old:2,S',
      'mail/b/.Sent/cur/3.1.old:2,',
    );
    expect(qmailctl('place', folder, '1')).toMatchObject({ status: 0, stderr: '' });
    for (const path of ['a/new/1.1.old', 'a/cur/2.1.old:2,S', 'b/.Sent/cur/3.1.old:2,']) {
      const file = join(mail(), path);
      expect(readFileSync(file, 'utf8')).toBe(`late mail/${path}`);
      expect([statSync(file).mode & 0o777, statSync(file).mtime]).toEqual([0o640, at]);
    }
    expect(readFileSync(join(base, 'late/last'), 'utf8')).toBe('1');
    expect(existsSync(folder)).toBe(false);
  });

  it('never replaces a message of the same name', () => {
    write('mail/a/cur/1.1.same:2,S', 'of NEW');
    maildir('a');
    qmailctl('place', batch('mail/a/new/1.1.same'), '3');
    expect(readdirSync(join(mail(), 'a/new'))).toEqual(['1.1.same.late3']);
    expect(readFileSync(join(mail(), 'a/cur/1.1.same:2,S'), 'utf8')).toBe('of NEW');
  });

  it('comes once, also when it was cut off, and what was read and deleted since stays deleted', () => {
    maildir('a');
    const folder = batch('mail/a/new/1.1.old', 'mail/a/new/2.1.old');
    writeFileSync(join(base, 'fails'), '');
    expect(qmailctl('place', folder, '1').status).not.toBe(0);
    rmSync(join(mail(), 'a/new/1.1.old'));
    rmSync(join(base, 'fails'));
    expect(qmailctl('place', folder, '1').status).toBe(0);
    expect(readdirSync(join(mail(), 'a/new'))).toEqual(['2.1.old']);
  });

  it.skipIf(user === undefined)('is not led out of a Maildir by a symbolic link', () => {
    maildir('a');
    const away = join(temporary, 'away');
    mkdirSync(away);
    rmSync(join(mail(), 'a/tmp'), { recursive: true });
    symlinkSync(away, join(mail(), 'a/tmp'));
    const { status, stderr } = qmailctl('place', batch('mail/a/new/1.1.old'), '1');
    expect([status === 0, stderr]).toEqual([false, expect.stringContaining('Permission denied')]);
    expect(readdirSync(away)).toEqual([]);
  });

  it.skipIf(user === undefined).each(['.Sent/new/1.1.old', '.Sent/below/new/1.1.old'])(
    'makes nothing where the link of a user leads: %s',
    (path) => {
      maildir('a');
      const away = join(temporary, 'away');
      mkdirSync(away);
      symlinkSync(away, join(mail(), 'a/.Sent'));
      const { status, stderr } = qmailctl('place', batch(`mail/a/${path}`), '1');
      expect([status === 0, stderr]).toEqual([false, expect.stringContaining('belongs to root')]);
      expect(readdirSync(away)).toEqual([]);
    },
  );

  it.skipIf(user === undefined)("does not hand root's file to the owner of a Maildir", () => {
    maildir('a');
    const folder = batch('mail/a/new/1.1.old');
    chownSync(join(folder, mail(), 'a/new/1.1.old'), 0, 0);
    const { status, stderr } = qmailctl('place', folder, '1');
    expect([status === 0, stderr]).toEqual([
      false,
      expect.stringContaining('/mail/a/new/1.1.old: it belongs to root'),
    ]);
    expect(readdirSync(join(mail(), 'a/tmp'))).toEqual([]);
  });
});
