import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readStore } from './store.ts';
import { baseName, flagLetters, parseUidList } from './uidlist.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rehearsal-store-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
}

const place = () => ({
  mailbox: 'u@x.example',
  maildir: join(root, 'm'),
  control: join(root, 'c'),
});

test('UID lists of version 3 and 1', () => {
  const three = parseUidList('3 V1700000000 N5 G0123abc\n1 S12 W13 :one:2,S\n4 :four,S=1\n');
  expect(three.uidValidity).toBe(1700000000);
  expect([...three.uids]).toEqual([
    ['one', 1],
    ['four,S=1', 4],
  ]);
  expect([...parseUidList('1 99 3\n2 two:2,\n').uids]).toEqual([['two', 2]]);
  expect(() => parseUidList('2 nonsense')).toThrow('unknown version');
});

test('base name and flags of a file name', () => {
  expect(baseName('17.M1P2.h,S=3:2,SF')).toBe('17.M1P2.h,S=3');
  expect(flagLetters('17.M1P2.h,S=3:2,SFa')).toBe('FSa');
  expect(flagLetters('17.M1P2.h')).toBe('');
});

test('reads folders, new and cur, and the UID list from the control directory', async () => {
  file('m/cur/1:2,S', 'Message-ID: <a@x>\r\n\r\nbody');
  file('m/new/2', 'Subject: folded\n\tline\nmessage-id:\n <b@x>\n\nMessage-ID: <no@x>\n');
  file('m/.Old.Er/cur/3:2,', 'Subject: none\n\n');
  file('m/tmp/4', 'Message-ID: <tmp@x>\n\n');
  file('m/.notafolder/file', '');
  file('c/dovecot-uidlist', '3 V7 N9\n1 :1:2,S\n');
  const { messages, folders } = await readStore([place()]);
  const by = (a: { base: string }, b: { base: string }) => a.base.localeCompare(b.base);
  expect([...messages].sort(by)).toMatchObject([
    { folder: 'INBOX', messageId: '<a@x>', base: '1', flags: 'S' },
    { folder: 'INBOX', messageId: '<b@x>', base: '2', flags: '' },
    { folder: 'Old.Er', messageId: 'file:3', base: '3' },
  ]);
  expect(folders).toMatchObject([{ folder: 'INBOX', uidValidity: 7 }]);
});

test('a file name that is no UTF-8 is read all the same', async () => {
  mkdirSync(join(root, 'm/cur'), { recursive: true });
  const name = Buffer.concat([Buffer.from(join(root, 'm/cur/x')), Buffer.from([0xe9, 0xff])]);
  writeFileSync(name, 'Message-ID: <odd@x>\n\n');
  const { messages } = await readStore([place()]);
  expect(messages).toMatchObject([{ messageId: '<odd@x>' }]);
});

test('a failure report in a mailbox is found, a report of delay is not', async () => {
  const report = (action: string) =>
    [
      'Message-ID: <r@x>',
      'Content-Type: multipart/report; report-type=delivery-status;\n\tboundary="BB/x"',
      '',
      '--BB/x',
      'Content-Type: text/plain',
      '',
      'Sorry.',
      '--BB/x',
      'Content-Type: message/delivery-status',
      '',
      'Reporting-MTA: dns; old',
      '',
      'Final-Recipient: rfc822; List@x.example',
      `Action: ${action}`,
      'Diagnostic-Code: smtp; 550 5.1.1 no\n    such user',
      '',
      '--BB/x',
      'Content-Type: message/rfc822',
      '',
      'Message-ID: <orig@x>',
      '',
      'body',
      '--BB/x--',
      '',
    ].join('\n');
  file('m/cur/1:2,', report('failed'));
  file('m/cur/2:2,', report('delayed'));
  const { bounces } = await readStore([place()]);
  expect(bounces).toEqual([
    {
      messageId: '<orig@x>',
      recipient: 'list@x.example',
      diagnostic: 'smtp; 550 5.1.1 no such user',
    },
  ]);
});
