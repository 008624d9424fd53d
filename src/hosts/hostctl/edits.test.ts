import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  base,
  hostctl,
  isRoot,
  me,
  setUpHostctl,
  temporary,
  tree,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

const file = () => join(temporary, 'etc/some.conf');
const edit =
  (...words: readonly string[]) =>
  (input?: string) =>
    well(words, input);

it.each([
  ['its last', /^# END .*\n/m],
  ['its first', /^# BEGIN .*\n/m],
])('a block whose mark, %s, was deleted takes no line of others along', (_, mark) => {
  writeFileSync(file(), 'a\n');
  edit('block', 'g', 'x', file())('ours 1\nours 2');
  const text = readFileSync(file(), 'utf8').replace(mark, '');
  writeFileSync(file(), `${text}theirs\n`);
  well(['undo', 'g']);
  expect(readFileSync(file(), 'utf8')).toBe('a\ntheirs\n');
});

it.each([
  ['was there', 'before\n', 0o640],
  ['was there without a last newline', 'a\nb', 0o600],
  ['was empty', '', 0o644],
  ['held bytes that are no text', '\0\x01\xff\n\xfe', 0o444],
])('a file that %s is as it was', (_, content, mode) => {
  writeFileSync(file(), Buffer.from(content, 'latin1'));
  chmodSync(file(), mode);
  if (isRoot) execFileSync('chown', ['12:34', file()]);
  const before = tree(join(temporary, 'etc'));
  const change = edit('file', 'g', 'some', file(), '755', me);
  change('after');
  const once = tree(join(temporary, 'etc'));
  expect(readFileSync(file(), 'utf8')).toBe('after');
  expect(lstatSync(file()).mode & 0o777).toBe(0o755);
  change('after');
  expect(tree(join(temporary, 'etc'))).toEqual(once);
  expect(readdirSync(join(base, 'undo/g'))).toEqual(['0000-some']);
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual(before);
  expect(existsSync(join(base, 'undo/g'))).toBe(false);
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual(before);
});

it('a file that was not there is gone again, and a link is a link again', () => {
  symlinkSync('/nowhere', join(temporary, 'etc/link'));
  const before = tree(join(temporary, 'etc'));
  well(['file', 'g', 'some', file(), '644', me], 'x');
  well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'y');
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual(before);
  // Once more: what was saved the first time is in the way of nothing.
  well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'y');
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual(before);
});

it('a block stands once, and everything around it stays, also what came later', () => {
  writeFileSync(file(), 'a\n# BEGIN mine\nb\n');
  chmodSync(file(), 0o640);
  const before = tree(join(temporary, 'etc'));
  const change = edit('block', 'g', 'protocols', file());
  change('protocols = none\n');
  change('protocols = none');
  expect(readFileSync(file(), 'utf8')).toBe(
    'a\n# BEGIN mine\nb\n# BEGIN mail-cutover example protocols\nprotocols = none\n# END mail-cutover example protocols\n',
  );
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual(before);
  change('x');
  writeFileSync(file(), `${readFileSync(file(), 'utf8')}later\n`);
  well(['undo', 'g']);
  expect(readFileSync(file(), 'utf8')).toBe('a\n# BEGIN mine\nb\nlater\n');
});

it('a block in any file is taken out to the byte', () => {
  const lines = fc.array(fc.constantFrom('a', '', ' b', '# END x', '\r', '\\n', 'ä'), {
    maxLength: 5,
  });
  fc.assert(
    fc.property(lines, fc.boolean(), (text, newline) => {
      const content = text.join('\n') + (newline ? '\n' : '');
      writeFileSync(file(), content);
      well(['block', 'g', 'x', file()], 'ours');
      well(['block', 'g', 'x', file()], 'ours');
      well(['undo', 'g']);
      expect(readFileSync(file(), 'utf8')).toBe(content);
    }),
    { numRuns: 8 },
  );
});

it('files of the same content are each what they were', () => {
  const paths = ['one', 'two'].map((name) => join(temporary, 'etc', name));
  writeFileSync(paths[0] ?? '', 'before');
  const words = paths.flatMap((path, index) => [`file-${index}`, path]);
  const owner = `${process.getuid?.()}:${process.getgid?.()}`;
  well(['files', 'g', '644', owner, ...words], "it's ours\n");
  expect(paths.map((path) => readFileSync(path, 'utf8'))).toEqual(["it's ours\n", "it's ours\n"]);
  well(['undo', 'g']);
  expect(readFileSync(paths[0] ?? '', 'utf8')).toBe('before');
  expect(existsSync(paths[1] ?? '')).toBe(false);
});

it('Postfix has its parameters and services again, set, empty or absent', () => {
  const main = 'transport_maps = hash:/etc/postfix/transport\nrelayhost = \n';
  const master = 'late unix - - y - - smtp -o a=b -o c=d\n';
  writeFileSync(join(temporary, 'main.cf'), main);
  writeFileSync(join(temporary, 'master.cf'), master);
  for (const value of ['x', 'x', 'y']) {
    for (const name of ['transport_maps', 'relayhost', 'local_transport'])
      well(['postconf', 'g', name, value]);
    const late = ['late', 'late/unix', `late unix - - y - - smtp -o v=${value}`];
    well(['master', 'g', ...late, 'door', '10026/inet', '10026 inet n - y - - smtpd']);
    expect(readFileSync(join(temporary, 'master.cf'), 'utf8')).toBe(
      `late unix - - y - - smtp -o v=${value}\n10026 inet n - y - - smtpd\n`,
    );
  }
  well(['undo', 'g']);
  const sorted = (text: string) =>
    text
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '))
      .sort();
  expect(sorted(readFileSync(join(temporary, 'main.cf'), 'utf8'))).toEqual(sorted(main));
  expect(sorted(readFileSync(join(temporary, 'master.cf'), 'utf8'))).toEqual(sorted(master));
});

it('a main.cf that can not be read is no parameter that was absent', () => {
  rmSync(join(temporary, 'main.cf'));
  expect(hostctl(['postconf', 'g', 'relayhost', 'x']).code).not.toBe(0);
  expect(existsSync(join(base, 'undo/g'))).toBe(false);
});
