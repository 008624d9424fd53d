import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import type { HostFiles } from './host-files.ts';
import { Journal, verified } from './journal.ts';

const file = 'journal.jsonl';

/** A host in memory. `faults` are met by the appends, one each, in order. */
class MemoryFiles implements HostFiles {
  readonly label: string;
  readonly name: string;
  /** What has become of undo records here. */
  readonly undoLog: string[] = [];
  readonly files = new Map<string, Buffer>();
  faults: ('lost before' | 'lost after' | 'torn' | undefined)[] = [];
  writes = 0;

  constructor(label: string) {
    this.label = label;
    this.name = label.toLowerCase();
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.files.get(name);
  }

  async write(name: string, content: string): Promise<void> {
    this.writes += 1;
    this.files.set(name, Buffer.from(content));
  }

  async remove(name: string): Promise<void> {
    this.files.delete(name);
  }

  async append(
    name: string,
    content: string,
    expectedBytes: number,
    heard: string,
  ): Promise<readonly string[]> {
    const fault = this.faults.shift();
    if (fault === 'lost before') throw new Error(`${this.label}: lost`);
    const have = this.files.get(name) ?? Buffer.alloc(0);
    if (have.length !== expectedBytes) throw new Error(`${this.label}: somebody else wrote to it`);
    const added = Buffer.from(content);
    this.files.set(name, Buffer.concat([have, fault === 'torn' ? added.subarray(0, 9) : added]));
    if (fault) throw new Error(`${this.label}: lost`);
    return this.undoLog.slice(this.undoLog.lastIndexOf(heard) + 1);
  }

  async takeLock(): Promise<never> {
    throw new Error('not here');
  }
  async renewLock(): Promise<void> {}
  async releaseLock(): Promise<void> {}
  holdLock(): void {}

  get text(): string {
    return this.files.get(file)?.toString('utf8') ?? '';
  }

  set text(content: string) {
    this.files.set(file, Buffer.from(content));
  }
}

const origin = {
  run: { actor: 'octocat', run: '17', attempt: 1, commit: 'abc' },
  lock: 3,
  planDigest: 'digest',
};

let old: MemoryFiles;
let target: MemoryFiles;

beforeEach(() => {
  old = new MemoryFiles('OLD');
  target = new MemoryFiles('NEW');
});

async function written(count: number): Promise<string> {
  const journal = await Journal.open([old, target], origin);
  for (let index = 0; index < count; index += 1)
    await journal.append({ kind: 'note', stage: 'prepare', text: `entry ${index}: ä "…"` });
  expect(old.text).toBe(target.text);
  return old.text;
}

const seqs = async () => (await Journal.read([old, target])).map(({ seq }) => seq);

describe('a journal', () => {
  it('is the same on both hosts, each line with the hash of the one before', async () => {
    await written(3);
    expect(verified(old.text, 'OLD')).toHaveLength(3);
    expect(await seqs()).toEqual([1, 2, 3]);
    expect((await Journal.read([old]))[0]).toMatchObject({
      actor: 'octocat',
      lock: 3,
      planDigest: 'digest',
    });
  });

  it('goes on from what another run left', async () => {
    await written(2);
    const journal = await Journal.open([old, target], { ...origin, lock: 4 });
    await journal.append({ kind: 'note', stage: 'freeze' });
    expect((await Journal.read([old, target])).map(({ lock }) => lock)).toEqual([3, 3, 4]);
    expect(journal.entries).toHaveLength(3);
  });

  it('is brought up from any prefix, and from a last line that was cut off', async () => {
    const whole = await written(3);
    const bytes = Buffer.from(whole);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.boolean(), async (length, oldLags) => {
        const [lagging, other] = oldLags ? [old, target] : [target, old];
        lagging.files.set(file, bytes.subarray(0, length));
        other.text = whole;
        expect(await seqs()).toEqual([1, 2, 3]);
        const journal = await Journal.open([old, target], origin);
        expect([old.text, target.text]).toEqual([whole, whole]);
        await journal.append({ kind: 'note', stage: 'x' });
        expect(await seqs()).toEqual([1, 2, 3, 4]);
        expect(old.text).toBe(target.text);
      }),
    );
  });

  it('goes on when the last line was cut off on both hosts, each at its own place', async () => {
    const whole = await written(2);
    const bytes = Buffer.from(whole);
    const last = Buffer.from(whole.split('\n')[0] ?? '').length + 1;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: last, max: bytes.length - 1 }),
        fc.integer({ min: last, max: bytes.length - 1 }),
        async (a, b) => {
          old.files.set(file, bytes.subarray(0, a));
          target.files.set(file, bytes.subarray(0, b));
          expect(await seqs()).toEqual([1]);
          const journal = await Journal.open([old, target], origin);
          await journal.append({ kind: 'note', stage: 'x' });
          expect(await seqs()).toEqual([1, 2]);
          expect(old.text).toBe(target.text);
        },
      ),
    );
  });

  it('is written to by nobody who only reads it', async () => {
    const whole = await written(2);
    target.text = whole.slice(0, -5);
    old.writes = target.writes = 0;
    await Journal.read([old, target]);
    expect([old.writes, target.writes, target.text]).toEqual([0, 0, whole.slice(0, -5)]);
  });
});

describe('an edited journal', () => {
  it('is told, whichever byte of one copy was changed', async () => {
    const whole = await written(3);
    const bytes = Buffer.from(whole);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (place, difference) => {
          const edited = Buffer.from(bytes);
          edited[place] = (edited[place] ?? 0) ^ difference;
          old.files.set(file, edited);
          target.text = whole;
          const opened = Journal.open([old, target], origin);
          if (place === bytes.length - 1) {
            // Without its last newline it is a line that was cut off.
            await opened;
            expect(old.text).toBe(whole);
          } else {
            await expect(opened).rejects.toThrow(UserError);
            await expect(opened).rejects.toThrow(
              /line \d of the journal was changed|differs from the other host's at line 3/,
            );
            expect(target.text).toBe(whole);
            expect(old.files.get(file)).toEqual(edited);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is told also when the same byte of the last line was changed in both copies', async () => {
    const whole = await written(3);
    const bytes = Buffer.from(whole);
    const last = Buffer.byteLength(whole.split('\n').slice(0, 2).join('\n')) + 1;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: last, max: bytes.length - 2 }),
        fc.integer({ min: 1, max: 255 }),
        async (place, difference) => {
          const edited = Buffer.from(bytes);
          edited[place] = (edited[place] ?? 0) ^ difference;
          fc.pre(edited[place] !== 10);
          for (const host of [old, target]) host.files.set(file, edited);
          await expect(Journal.open([old, target], origin)).rejects.toThrow(
            'line 3 of the journal was changed',
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is told with its host and line when a line is missing or two changed places', async () => {
    const [first = '', second = '', third = ''] = (await written(3)).split('\n');
    for (const [lines, line] of [
      [[second, third], 1],
      [[first, third], 2],
      [[first, third, second], 2],
      [[first, second, second], 3],
      [[first, second, 'null'], 3],
      [[first, second, ''], 3],
    ] as const) {
      old.text = lines.map((each) => `${each}\n`).join('');
      await expect(Journal.read([old, target])).rejects.toThrow(
        `OLD: line ${line} of the journal was changed or is missing`,
      );
    }
  });

  it('stops two copies that went different ways, naming the place', async () => {
    const whole = await written(2);
    await (await Journal.open([old], origin)).append({ kind: 'note', stage: 'a' });
    await (await Journal.open([target], origin)).append({ kind: 'note', stage: 'b' });
    await expect(Journal.open([old, target], origin)).rejects.toThrow(
      "NEW: the journal differs from the other host's at line 3",
    );
    expect(old.text.startsWith(whole)).toBe(true);
    await (await Journal.open([old], origin)).append({ kind: 'note', stage: 'a' });
    await expect(Journal.read([old, target])).rejects.toThrow('at line 3');
  });
});

describe('append', () => {
  it('is well when only the reply was lost', async () => {
    const journal = await Journal.open([old, target], origin);
    old.faults = ['lost after'];
    target.faults = ['lost after'];
    await journal.append({ kind: 'note', stage: 'x' });
    expect(await seqs()).toEqual([1]);
  });

  it('refuses to write after somebody else', async () => {
    await written(1);
    const journal = await Journal.open([old, target], origin);
    const other = await Journal.open([old, target], { ...origin, lock: 4 });
    await other.append({ kind: 'note', stage: 'theirs' });
    await expect(journal.append({ kind: 'note', stage: 'ours' })).rejects.toThrow(
      'somebody else wrote to it',
    );
    expect((await Journal.read([old, target])).map(({ stage }) => stage)).toEqual([
      'prepare',
      'theirs',
    ]);
    expect(journal.entries).toHaveLength(1);
  });

  it('never makes two journals of one, wherever the connections are lost', async () => {
    const fault = fc.constantFrom<(typeof old.faults)[number]>(
      undefined,
      'lost before',
      'lost after',
      undefined,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 10 }),
        fc.array(fault, { maxLength: 10 }),
        async (onOld, onNew) => {
          old.files.clear();
          target.files.clear();
          const journal = await Journal.open([old, target], origin);
          old.faults = [...onOld];
          target.faults = [...onNew];
          for (let index = 0; index < 5; index += 1)
            await journal
              .append({ kind: 'note', stage: 'x', text: String(index) })
              .catch(() => undefined);
          old.faults = [];
          target.faults = [];
          // A new run, and also this one, can go on.
          await Journal.read([old, target]);
          await journal.append({ kind: 'note', stage: 'last' });
          expect(old.text).toBe(target.text);
          expect((await Journal.read([old, target])).at(-1)?.stage).toBe('last');
          expect(journal.entries).toEqual(await Journal.read([old, target]));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('tells in the next line what has become of undo records', async () => {
    const journal = await Journal.open([old, target], origin);
    await journal.append({ kind: 'intent', stage: 'x' });
    old.undoLog.push('g/0000-a made 1', 'g/0001-b made 2');
    target.undoLog.push('g/0000-a made 3');
    await journal.append({ kind: 'outcome', stage: 'x' });
    await journal.append({ kind: 'stage-end', stage: 'x' });
    expect(journal.entries.map(({ undo }) => undo)).toEqual([
      undefined,
      undefined,
      { old: ['g/0000-a made 1', 'g/0001-b made 2'], new: ['g/0000-a made 3'] },
    ]);
    expect(await Journal.read([old, target])).toEqual(journal.entries);
  });

  it('takes along what was left to it, in one trip, with its time and what is news by then', async () => {
    const journal = await Journal.open([old, target], origin);
    await journal.append({ kind: 'intent', stage: 'x', step: 'a' });
    journal.later({ kind: 'outcome', stage: 'x', step: 'a' });
    expect(journal.entries).toHaveLength(1);
    const then = Date.now();
    while (Date.now() === then);
    old.undoLog.push('g/0000-a made 1');
    old.faults = ['lost before'];
    await expect(journal.append({ kind: 'intent', stage: 'x', step: 'b' })).rejects.toThrow();
    await journal.append({ kind: 'note', stage: 'x' });
    const [, outcome, intent, note] = journal.entries;
    expect(outcome).toMatchObject({ kind: 'outcome', step: 'a' });
    expect(intent).toMatchObject({ kind: 'intent', step: 'b', joined: true });
    expect(outcome?.joined).toBeUndefined();
    expect((outcome?.time ?? '') < (intent?.time ?? '')).toBe(true);
    expect(note).toMatchObject({ seq: 4, undo: { old: ['g/0000-a made 1'] } });
    expect(await Journal.read([old, target])).toEqual(journal.entries);
    expect(await Journal.read([old])).toEqual(await Journal.read([target]));
  });

  it('tells of each undo record once, whatever is lost and whoever goes on', async () => {
    const fault = fc.constantFrom<(typeof old.faults)[number]>(
      undefined,
      'lost before',
      'lost after',
      undefined,
    );
    const act = fc.record({
      onOld: fc.nat(2),
      onNew: fc.nat(2),
      faults: fc.tuple(fault, fault),
      another: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 8 }), async (acts) => {
        for (const host of [old, target]) {
          host.files.clear();
          host.undoLog.length = 0;
          host.faults = [];
        }
        const add = (host: MemoryFiles, count: number) => {
          for (let left = count; left > 0; left -= 1)
            host.undoLog.push(`g/0000-x made ${host.undoLog.length}`);
        };
        let journal = await Journal.open([old, target], origin);
        for (const { onOld, onNew, faults, another } of acts) {
          add(old, onOld);
          add(target, onNew);
          [old.faults, target.faults] = [[faults[0]], [faults[1]]];
          await journal.append({ kind: 'note', stage: 'x' }).catch(() => undefined);
          [old.faults, target.faults] = [[], []];
          if (another) journal = await Journal.open([old, target], origin);
        }
        await journal.append({ kind: 'note', stage: 'x' });
        await journal.append({ kind: 'note', stage: 'x' });
        const entries = await Journal.read([old, target]);
        for (const host of [old, target])
          expect(entries.flatMap(({ undo }) => undo?.[host.name] ?? [])).toEqual(host.undoLog);
      }),
      { numRuns: 300 },
    );
  });

  it('tells all anew where a host was set up again', async () => {
    const journal = await Journal.open([old], origin);
    old.undoLog.push('g/0000-a made 1');
    await journal.append({ kind: 'note', stage: 'x' });
    await journal.append({ kind: 'note', stage: 'x' });
    old.undoLog.splice(0, 1, 'g/0000-b made 2');
    await journal.append({ kind: 'note', stage: 'x' });
    await journal.append({ kind: 'note', stage: 'x' });
    expect(journal.entries.at(-1)?.undo).toEqual({ old: ['g/0000-b made 2'] });
  });

  it('fails when a line was cut off, and the next run goes on', async () => {
    const journal = await Journal.open([old, target], origin);
    target.faults = ['torn'];
    await expect(journal.append({ kind: 'note', stage: 'x' })).rejects.toThrow('NEW: lost');
    await (await Journal.open([old, target], origin)).append({ kind: 'note', stage: 'y' });
    expect((await Journal.read([old, target])).map(({ stage }) => stage)).toEqual(['x', 'y']);
    expect(old.text).toBe(target.text);
  });
});
