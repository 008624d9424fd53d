import { expect, test } from 'vitest';
import { type Listed, MailboxMemory } from './mailbox-memory.ts';

const listed = (uid: number, messageId: string, ...flags: string[]): Listed => {
  return { uid, messageId, flags: new Set(flags) };
};

function remembering(...messages: Listed[]): MailboxMemory {
  const memory = new MailboxMemory('u@x.example');
  memory.lookAtValidity('INBOX', 7n);
  memory.lookAtMessages('INBOX', messages);
  return memory;
}

test('the same listing again changes nothing', () => {
  const memory = remembering(listed(1, '<a>'), listed(2, '<b>'));
  memory.lookAtValidity('INBOX', 7n);
  memory.lookAtMessages('INBOX', [listed(1, '<a>'), listed(2, '<b>'), listed(3, '<c>')]);
  expect(memory.uidChanges).toEqual([]);
  expect(memory.uids('INBOX')).toEqual([1, 2, 3]);
});

test('another message under a known UID', () => {
  const memory = remembering(listed(1, '<a>'));
  memory.lookAtMessages('INBOX', [listed(1, '<b>')]);
  expect(memory.uidChanges).toMatchObject([{ what: 'UID 1', before: '<a>', after: '<b>' }]);
});

test('a message under a new UID, and one that is gone', () => {
  const memory = remembering(listed(1, '<a>'), listed(2, '<b>'));
  memory.lookAtMessages('INBOX', [listed(9, '<a>')]);
  expect(memory.uidChanges.map(({ after }) => after)).toEqual(['now UID 9', 'gone']);
});

test('a changed UIDVALIDITY is one change, not one for every message', () => {
  const memory = remembering(listed(1, '<a>'), listed(2, '<b>'));
  memory.lookAtValidity('INBOX', 8n);
  memory.lookAtMessages('INBOX', [listed(5, '<a>')]);
  expect(memory.uidChanges).toMatchObject([{ what: 'UIDVALIDITY', before: '7', after: '8' }]);
});

test('a folder that is listed no more', () => {
  const memory = remembering();
  memory.lookAtFolders(['Other']);
  expect(memory.uidChanges).toMatchObject([{ folder: 'INBOX', what: 'folder' }]);
});

test('a confirmed flag must be there; one in doubt may be either way', () => {
  const memory = remembering(listed(1, '<a>'), listed(2, '<b>'));
  memory.storing('INBOX', 1, '\\Flagged');
  memory.stored('INBOX', 1, '\\Flagged', true);
  memory.storing('INBOX', 2, '\\Flagged');
  memory.lookAtMessages('INBOX', [listed(1, '<a>'), listed(2, '<b>')]);
  expect(memory.flagChanges).toMatchObject([{ messageId: '<a>', before: '\\Flagged' }]);
});

test('a confirmed removal of a flag must hold', () => {
  const memory = remembering(listed(1, '<a>', '\\Flagged'));
  memory.storing('INBOX', 1, '\\Flagged');
  memory.stored('INBOX', 1, '\\Flagged', false);
  memory.lookAtMessages('INBOX', [listed(1, '<a>', '\\Flagged')]);
  expect(memory.flagChanges).toMatchObject([{ before: 'no \\Flagged' }]);
});

test('an expunge counts only with its OK', () => {
  const memory = remembering(listed(1, '<a>'), listed(2, '<b>'));
  memory.expunging('INBOX', 1);
  expect(memory.changes).toMatchObject([{ removed: 0, maybeRemoved: 1 }]);
  memory.lookAtMessages('INBOX', [listed(2, '<b>')]);
  expect(memory.uidChanges).toEqual([]);
  memory.expunging('INBOX', 2);
  memory.expunged('INBOX', 2);
  expect(memory.changes).toMatchObject([{ maybeRemoved: 1 }, { removed: 1, maybeRemoved: 0 }]);
});

test('a confirmed move must be found under the UID that the server gave', () => {
  const memory = remembering(listed(1, '<a>'));
  memory.lookAtValidity('Done', 3n);
  memory.moving('INBOX', 1);
  memory.moved('INBOX', 1, 'Done', 12);
  expect(memory.changes).toMatchObject([{ added: 0, maybeAdded: 0, removed: 0 }]);
  memory.lookAtMessages('INBOX', []);
  expect(memory.uidChanges).toEqual([]);
  memory.lookAtMessages('Done', [listed(13, '<a>')]);
  expect(memory.uidChanges).toMatchObject([{ folder: 'Done', what: 'UID 12' }]);
});

test('an append counts only with its OK', () => {
  const memory = remembering();
  memory.appending('<x>');
  memory.appending('<y>');
  memory.appended('INBOX', '<y>', 4);
  expect(memory.changes).toMatchObject([
    { messageId: '<x>', added: 0, maybeAdded: 1 },
    { messageId: '<y>', added: 1, maybeAdded: 0 },
  ]);
  memory.lookAtMessages('INBOX', []);
  expect(memory.uidChanges).toMatchObject([{ what: 'UID 4', before: '<y>', after: 'gone' }]);
});
