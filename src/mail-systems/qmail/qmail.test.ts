import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { translated } from './assign.ts';
import { isOneDatabase } from './checks.ts';
import { filesByProgram } from './commands.ts';
import {
  type Control,
  type ControlFile,
  locals,
  movedNames,
  remainingLocals,
  routesTo,
} from './control.ts';
import { assignedHomes, type Home, type Homes, storesOf } from './homes.ts';
import { qmailProgram } from './host-program.ts';
import { parseQread, waitingFor } from './queue.ts';

function control(files: Partial<Record<ControlFile, string>>): Control {
  return { files: new Map(Object.entries(files)) as Control['files'], hostName: 'kernel.example' };
}

describe('control files', () => {
  it('no locals means me, and without me the name of the host; an empty one means nothing', () => {
    expect(locals(control({ me: 'mx.example.org\n' }))).toEqual(['mx.example.org']);
    expect(locals(control({}))).toEqual(['kernel.example']);
    expect(locals(control({ me: 'mx.example.org\n', locals: '' }))).toEqual([]);
  });

  it('locals and virtual domains move; what means this host on every host stays', () => {
    const both = control({
      locals: '# ours\nlocalhost\nExample.org \n',
      virtualdomains: 'shop.example:shop\n.wild.example:wild\naway.example:\n',
    });
    expect(movedNames(both)).toEqual(['.wild.example', 'example.org', 'shop.example']);
    expect(remainingLocals(both)).toBe('localhost\n');
  });

  it('a route of the administrator stays, unless the name moves', () => {
    const there = control({
      smtproutes: 'partner.example:10.0.0.9\nexample.org:10.0.0.8\n:smart\n',
    });
    expect(routesTo(there, ['example.org'], '192.0.2.2')).toBe(
      'example.org:192.0.2.2\npartner.example:10.0.0.9\n:smart\n',
    );
  });
});

describe('users/assign', () => {
  const text = `=joe:joe:507:100:/home/joe:::\n+joe-:joe:507:100:/home/joe:-::\n+shop-:vpopmail:89:89:/v/domains/shop/:-::\n.\n=late:x:1:1:/x:::\n`;

  it('gets the numbers of the other host; one without a name there keeps its own', () => {
    expect(
      translated(
        text,
        new Map([
          ['u507', '1507'],
          ['g100', '1100'],
          ['u89', '2089'],
        ]),
      ),
    ).toBe(
      '=joe:joe:1507:1100:/home/joe:::\n+joe-:joe:1507:1100:/home/joe:-::\n+shop-:vpopmail:2089:89:/v/domains/shop/:-::\n.\n',
    );
  });

  it('ends with a line that is a dot', () => {
    expect(assignedHomes(text).map(({ path }) => path)).toEqual([
      '/home/joe',
      '/home/joe',
      '/v/domains/shop',
    ]);
  });
});

describe('stores', () => {
  const home = (path: string, from: Home['from'] = 'assign'): Home => ({
    path,
    from,
    user: 'u',
    uid: '1',
  });
  const homes = (
    list: readonly Home[],
    siblings: Record<string, string[]>,
    maildirs: string[] = [],
  ): Homes => ({
    homes: list,
    siblings: new Map(Object.entries(siblings)),
    dotFiles: [],
    maildirs,
    assign: undefined,
  });

  it('a folder of nothing but homes is one tree', () => {
    const two = [home('/mail/a'), home('/mail/b')];
    expect(storesOf(homes(two, { '/mail': ['/mail/a', '/mail/b'] }))).toEqual(['/mail']);
  });

  it('where something else lies beside them, each home is one', () => {
    const two = [home('/mail/a'), home('/mail/b')];
    expect(storesOf(homes(two, { '/mail': ['/mail/a', '/mail/b', '/mail/lost+found'] }))).toEqual([
      '/mail/a',
      '/mail/b',
    ]);
  });

  it('/home is never one tree, and of an account only the Maildir is taken', () => {
    const list = [home('/home/a'), home('/home/anna', 'passwd')];
    expect(storesOf(homes(list, { '/home': ['/home/a'] }, ['/home/anna/Maildir']))).toEqual([
      '/home/a',
      '/home/anna/Maildir',
    ]);
  });
});

describe('programs of .qmail files', () => {
  const found = (line: string, copied: readonly string[] = []) => [
    ...filesByProgram([{ home: '/home/a', file: '/home/a/.qmail', line }], copied).keys(),
  ];

  it('are the first word, in the home where it is relative', () => {
    expect(found(" /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox")).toEqual([
      '/home/vpopmail/bin/vdelivermail',
    ]);
    expect(found('preline procmail')).toEqual(['preline']);
    expect(found('exec ./filter -v')).toEqual(['/home/a/filter']);
  });

  it('are left out where they are copied, or where only the shell knows', () => {
    expect(found('/mail/u/filter', ['/mail'])).toEqual([]);
    expect(found('$HOME/filter')).toEqual([]);
    expect(found('if test -e x; then exit 99; fi')).toEqual(['if']);
  });
});

describe('the database', () => {
  it('is one where both hosts name the same server and database, and it is not their own', () => {
    expect(isOneDatabase('db.example.org\nqmail', 'db.example.org\nqmail')).toBe(true);
    expect(isOneDatabase('db.example.org\nqmail', 'db.example.org\nother')).toBe(false);
    expect(isOneDatabase('localhost\nqmail', 'localhost\nqmail')).toBe(false);
  });
});

describe('the queue', () => {
  const listed = `21 Nov 2026 23:28:09 GMT  #1199  305  <a@b.example>
\tremote\tfriend@elsewhere.example
  done\tlocal\tmail-u1@orchard.example
22 Nov 2026 03:00:00 GMT  #1200  10  <>
\tlocal\troot@old.example
\tremote\tu2@Orchard.Example
`;

  it('is read as qmail-qread lists it', () => {
    const messages = parseQread(listed.split('\n'));
    expect(messages).toHaveLength(2);
    expect(messages[0]).toEqual({
      id: '1199',
      born: Date.UTC(2026, 10, 21, 23, 28, 9) / 1000,
      recipients: [{ channel: 'remote', address: 'friend@elsewhere.example' }],
    });
  });

  it('what is for others does not count', () => {
    const queue = { messages: parseQread(listed.split('\n')), todo: 0, now: 0 };
    expect(waitingFor(queue, ['orchard.example']).map(({ id }) => id)).toEqual(['1200']);
  });
});

describe('the host program', () => {
  it('is a program for a POSIX shell', () => {
    for (const shell of ['sh', 'dash', 'bash']) {
      const { error, status, stderr } = spawnSync(shell, ['-n'], { input: qmailProgram });
      if (error === undefined) expect([shell, status, stderr.toString()]).toEqual([shell, 0, '']);
    }
  });
});
