import { describe, expect, it } from 'vitest';
import { hasty, hastyLines, parseTrace } from './strace.ts';

describe('the reading of a trace', () => {
  const trace = (lines: readonly string[]) =>
    parseTrace(lines.map((line, index) => `7 1000.${index} ${line}`).join('\n'));
  const write = 'write(1</b/x.new>, "1", 1) = 1';
  const sync = 'fsync(3</b/x.new>) = 0';
  const rename =
    'renameat2(AT_FDCWD</root>, "/b/x.new", AT_FDCWD</root>, "/b/x", RENAME_NOREPLACE) = 0';
  const syncFolder = 'fsync(3</b>) = 0';
  const journal = 'write(1</b/journal.jsonl>, "{\\"kind\\":\\"outcome\\"}", 9) = 9';

  it('is content with write, sync, rename, sync of the folder', () => {
    expect(hasty(trace([write, sync, rename, syncFolder, journal]), ['/b'])).toEqual([]);
  });

  it.each([
    [[write, rename, syncFolder, journal], 'renamed before it was synced'],
    [[write, sync, write, rename, syncFolder], 'renamed before it was synced'],
    [[write, sync, rename, journal, syncFolder], 'the folder was not synced'],
    [
      [write, 'fsync(3</b/x.new>) = -1 EIO (Input/output error)', rename, syncFolder],
      'renamed before',
    ],
  ])('finds what is missing: %#', (lines, said) => {
    expect(hasty(trace(lines), ['/b']).join()).toContain(said);
  });

  it('puts calls together that another process cut in two', () => {
    const text = `7 1000.1 fsync(3</b/x> <unfinished ...>\n8 1000.2 sync() = 0\n7 1000.3 <... fsync resumed>) = 0`;
    expect(parseTrace(text)).toEqual([
      { at: 1000.2, kind: 'sync', path: '/' },
      { at: 1000.3, kind: 'sync', path: '/b/x' },
    ]);
  });

  it('finds a line of the journal that was not synced before the next change', () => {
    const change = 'write(1</etc/postfix/main.cf>, "x", 1) = 1';
    const synced = ['fsync(1</b/journal.jsonl>) = 0', syncFolder];
    expect(hastyLines(trace([journal, ...synced, change]))).toEqual([]);
    expect(hastyLines(trace([journal, change, ...synced]))).toHaveLength(2);
  });
});
