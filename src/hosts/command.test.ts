import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandLine, quote, script } from './command.ts';

const hard = [
  "'",
  '"',
  '\\',
  '\n',
  '\t',
  ' ',
  '$',
  '`',
  '-',
  '~',
  '*',
  '?',
  '[',
  '!',
  '#',
  ';',
  '&',
  '|',
  '<',
  '>',
  '(',
  ')',
  '{',
  '}',
  '=',
  '%',
  'ä',
  '…',
  '😀',
  'a',
  '0',
];

const word = fc.oneof(
  fc.array(fc.constantFrom(...hard), { maxLength: 8 }).map((characters) => characters.join('')),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', '')),
  fc.constantFrom(
    '',
    '-n',
    '--',
    '-e x',
    "'",
    "''",
    '$(id)',
    '`id`',
    'a=b',
    '$HOME',
    '~root',
    '\\',
    '\r\n',
    '!!',
  ),
);

/** What a shell makes of the line. */
function words(line: string): readonly string[] {
  const { stdout, status } = spawnSync('/bin/sh', ['-c', line], { encoding: 'utf8' });
  expect(status).toBe(0);
  return stdout.split('\0').slice(0, -1);
}

describe('quote', () => {
  it('gives back the same bytes through /bin/sh', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), (argv) => {
        // One more, as printf prints one NUL for no argument.
        expect(words(commandLine(['printf', '%s\\0', 'x', ...argv]))).toEqual(['x', ...argv]);
      }),
      { numRuns: 60 },
    );
  });

  it('gives back the same bytes through two shells, as behind sudo or ssh', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), (argv) => {
        const inner = commandLine(['printf', '%s\\0', 'x', ...argv]);
        expect(words(commandLine(['sh', '-c', inner]))).toEqual(['x', ...argv]);
      }),
      { numRuns: 30 },
    );
  });

  it('hands a script its arguments as they are, none of them as text of the program', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), (args) => {
        expect(words(commandLine(script('printf "%s\\0" x "$@"', args).argv))).toEqual([
          'x',
          ...args,
        ]);
      }),
      { numRuns: 30 },
    );
  });

  it('refuses what a word can not hold', () => {
    expect(() => quote('a\0b')).toThrow('NUL');
  });

  it('leaves plain words readable', () => {
    expect(commandLine(['ls', '-l', '/var/mail', 'a@b.example'])).toBe(
      'ls -l /var/mail a@b.example',
    );
  });
});

describe('script', () => {
  const run = (text: string, args: readonly string[] = []) =>
    spawnSync('/bin/sh', ['-c', commandLine(script(text, args).argv)], { encoding: 'utf8' });

  it('ends at the first command that fails and at an unset variable', () => {
    expect(run('false; echo on')).toMatchObject({ stdout: '' });
    expect(run('false; echo on').status).not.toBe(0);
    expect(run('echo "$2"', ['one']).status).not.toBe(0);
  });
});
