import { describe, expect, it } from 'vitest';
import type { Entry, EntryKind, UndoNews } from '../engine/journal.ts';
import { undoDifferences, undoneOtherwise, undoRecords } from './undo-records.ts';

function entry(kind: EntryKind, step: string | undefined, undo?: UndoNews, lock = 1): Entry {
  const line = {
    kind,
    stage: 'freeze',
    ...(step ? { step } : {}),
    ...(undo ? { undo } : {}),
    lock,
  };
  const rest = { seq: 0, time: '', planDigest: '', prev: '', hash: '' };
  return { ...line, ...rest, actor: '', run: '', attempt: 1, commit: '' };
}

const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64));

describe('undoRecords', () => {
  it('names the step before the line that tells of a record', () => {
    const records = undoRecords([
      entry('stage-begin', undefined),
      entry('intent', 'hold'),
      entry('outcome', 'hold'),
      entry('intent', 'close', { old: [`freeze/0000-x made ${a}`] }),
      entry('note', undefined, { new: [`door/0000-y made ${b}`] }),
      entry('outcome', 'close'),
      entry('stage-end', undefined, { old: [`freeze/0001-z made ${c}`] }),
      entry('stage-begin', undefined, undefined, 2),
      entry('note', undefined, { old: [`freeze/0001-z gone ${c}`, 'freeze/0000-x gone -'] }, 2),
    ]);
    expect(records).toEqual([
      {
        ...{ host: 'old', name: 'freeze/0000-x', made: a, by: 'freeze, hold' },
        gone: { sum: undefined, by: undefined },
      },
      { host: 'new', name: 'door/0000-y', made: b, by: 'freeze, close' },
      {
        ...{ host: 'old', name: 'freeze/0001-z', made: c, by: 'freeze, close' },
        gone: { sum: c, by: undefined },
      },
    ]);
  });

  it('names the first of those that went together with the line before', () => {
    const joined = (line: Entry): Entry => ({ ...line, joined: true });
    const records = undoRecords([
      entry('intent', 'hold'),
      entry('outcome', 'hold'),
      joined(entry('intent', 'close')),
      entry('note', undefined, { old: [`freeze/0000-x made ${a}`] }),
      entry('outcome', 'close', { old: [`freeze/0001-y made ${b}`] }),
    ]);
    expect(records.map(({ by }) => by)).toEqual(['freeze, hold', 'freeze, close']);
  });

  it('knows a second record of the same name from the first', () => {
    const told = [`freeze/0000-x made ${a}`, `freeze/0000-x gone ${a}`, `freeze/0000-x made ${b}`];
    const entries = [entry('note', undefined, { old: told })];
    expect(undoRecords(entries).map(({ made, gone }) => [made, gone?.sum])).toEqual([
      [a, a],
      [b, undefined],
    ]);
    expect(undoDifferences(entries, 'old', new Map([['freeze/0000-x', b ?? '']]))).toEqual([]);
  });
});

describe('a group that was undone', () => {
  it('has no record left, also where a kill kept it from being noted', () => {
    const told = [`g/0000-x made ${a}`, `g/0001-y made ${b}`, `gg/0000-z made ${c}`];
    const undone = [`g/0001-y gone ${b}`, `g/* gone ${b}`];
    const entries = [
      entry('outcome', 'hold', { old: told, new: told }),
      entry('note', undefined, { old: undone }),
    ];
    const standing = undoRecords(entries).filter(({ gone }) => gone === undefined);
    expect(standing.map(({ host, name }) => `${host} ${name}`)).toEqual([
      'old gg/0000-z',
      'new g/0000-x',
      'new g/0001-y',
      'new gg/0000-z',
    ]);
    expect(undoneOtherwise(entries)).toEqual([]);
  });
});

describe('what was changed', () => {
  const told = [`g/0000-x made ${a}`, `g/0001-y made ${b}`];
  const entries = [entry('outcome', 'hold'), entry('stage-end', undefined, { old: told })];

  it('is told of what lies on a host', () => {
    const look = (present: readonly (readonly [string, string])[], host = 'old') =>
      undoDifferences(entries, host, new Map(present));
    expect(look([])).toEqual([
      'OLD: undo record g/0000-x is not there any more',
      'OLD: undo record g/0001-y is not there any more',
    ]);
    const seen = [
      ['g/0000-x', a ?? ''],
      ['g/0001-y', c ?? ''],
      ['g/0002-z', c ?? ''],
    ] as const;
    expect(look(seen)).toEqual([
      'OLD: undo record g/0001-y was changed since it was made (freeze, hold)',
      'OLD: undo record g/0002-z is there, and the journal knows nothing of it',
    ]);
    expect(look([], 'new')).toEqual([]);
  });

  it('is told of what was undone', () => {
    const undone = [`g/0001-y gone ${c}`, `g/0000-x gone ${a}`, `g/0002-z gone ${a}`];
    expect(undoneOtherwise([...entries, entry('note', undefined, { old: undone })])).toEqual([
      'OLD: undo record g/0001-y was changed between its making (freeze, hold) and its undoing',
      'OLD: undo record g/0002-z was undone, and that it was made is not on record',
    ]);
    // Where the disk was full nobody could tell.
    const unknown = ['g/0001-y gone -'];
    expect(undoneOtherwise([...entries, entry('note', undefined, { old: unknown })])).toEqual([]);
  });
});
