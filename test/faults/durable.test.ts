import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { virtualUser } from '../lab/world.ts';
import { arrived, folder, freeze, type Scene, scene, send, withoutDns } from './scene.ts';
import { type FileEvent, hasty, hastyLines, parseTrace, traceSshd } from './strace.ts';

/*
 * A crash in the lab is not a power cut: the kernel lives on and keeps what was only in memory. So
 * strace(1) shows that nothing relies on that: what must outlive a power cut is written, synced,
 * renamed, and its folder synced, before the next thing happens.
 */

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

describe('from freeze to activation, under strace', () => {
  let here: Scene;
  let old: readonly FileEvent[];
  let target: readonly FileEvent[];

  beforeAll(async () => {
    here = await scene(withoutDns);
    const { lab, migration } = here;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    // Something for the final pass to bring.
    await arrived(here, 'old', await send(here, 'old', virtualUser(1)));
    const traces = await Promise.all(
      (['old', 'new'] as const).map((side) =>
        traceSshd(lab.host(side), join(lab.folder, `${side}.strace`)),
      ),
    );
    await freeze(here);
    await migration.must('transfer', { pass: 'final' });
    await migration.must('activate');
    [old = [], target = []] = await Promise.all(traces.map((each) => each.stop()));
  });
  afterAll(() => here?.end());

  const ours = [folder, '/etc/postfix', '/etc/systemd/system'];

  it('every change is on disk before the journal says that it was made', () => {
    expect(old.filter(({ kind }) => kind === 'rename').length).toBeGreaterThan(10);
    expect(hasty(old, ours)).toEqual([]);
    expect(hasty(target, ours)).toEqual([]);
  });

  it('every line of the journal is on disk before what it announces', () => {
    const intents = old.filter(({ text }) => text?.includes('"kind":"intent"'));
    expect(intents.length).toBeGreaterThan(8);
    expect(hastyLines(old)).toEqual([]);
    expect(hastyLines(target)).toEqual([]);
  });

  it('the mailboxes are on the disk of NEW before OLD gives service away', () => {
    const released = old.find(
      ({ kind, path }) => kind === 'rename' && path === `${folder}/released`,
    );
    const isMail = ({ kind, path }: FileEvent) =>
      kind !== 'sync' && /^\/(?:var\/vmail|home)\//.test(path);
    const before = target.filter(({ at }) => at < (released?.at ?? 0));
    const last = before.findLastIndex(isMail);
    expect(last).toBeGreaterThan(0);
    expect(before.slice(last).some(({ kind, path }) => kind === 'sync' && path === '/')).toBe(true);
  });
});
