import { beforeEach, describe, expect, it } from 'vitest';
import type { HostFiles } from './host-files.ts';
import { Journal } from './journal.ts';
import { type Log, previewSteps, runSteps, type StepReport } from './runner.ts';
import type { Step } from './step.ts';

class Lost extends Error {}

const said: string[] = [];
const log: Log = {
  info: (line) => void said.push(line),
  warning: (line) => void said.push(`warning: ${line}`),
  group: (title, work) => {
    said.push(`[${title}]`);
    return work();
  },
};

let files: HostFiles;
let journal: Journal;
let reports: StepReport[];
let world: Set<string>;
let appendFault: Error | undefined;
let unsettled: Error | undefined;

beforeEach(async () => {
  said.length = 0;
  reports = [];
  world = new Set();
  appendFault = undefined;
  unsettled = undefined;
  let content = '';
  files = {
    name: 'old',
    label: 'OLD',
    read: async () => Buffer.from(content),
    write: async (_, text) => {
      content = text;
    },
    append: async (_, text) => {
      if (appendFault) throw appendFault;
      content += text;
      return [];
    },
    remove: async () => undefined,
    takeLock: async () => ({ number: 1 }),
    renewLock: async () => undefined,
    releaseLock: async () => undefined,
    holdLock: () => undefined,
  };
  journal = await Journal.open([files], {
    run: { actor: 'a', run: '1', attempt: 1, commit: '' },
    lock: 1,
    planDigest: '',
  });
});

/** Puts its id into the world. `fails` are thrown one after the other, before or after the work. */
function step(
  id: string,
  fails: readonly { error: Error; after?: boolean }[] = [],
): Step & { tries: number } {
  const left = [...fails];
  return {
    id,
    title: `Do ${id}`,
    tries: 0,
    done: async () => world.has(id),
    async do() {
      this.tries += 1;
      const fault = left.shift();
      if (fault && !fault.after) throw fault.error;
      world.add(id);
      if (fault) throw fault.error;
      return `did ${id}`;
    },
  };
}

const run = (...steps: readonly Step[]) =>
  runSteps(steps, {
    journal,
    log,
    stage: 'prepare',
    report: (report) => void reports.push(report),
    passing: (error) => error instanceof Lost,
    settle: async () => {
      said.push('settled');
      if (unsettled) throw unsettled;
    },
  });

const results = () => reports.map(({ id, result }) => `${id} ${result}`);
const record = () =>
  journal.entries.map(({ kind, step: id, ok }) =>
    [kind, id, ...(ok === undefined ? [] : [ok])].join(' '),
  );

describe('runSteps', () => {
  it('runs in order, each step between its intent and its outcome', async () => {
    await run(step('a'), step('b'));
    expect(record()).toEqual(['intent a', 'outcome a true', 'intent b', 'outcome b true']);
    expect(journal.entries[1]).toMatchObject({ stage: 'prepare', text: 'did a' });
    expect(results()).toEqual(['a done', 'b done']);
    expect(said).toEqual(['[Do a]', 'did a', '[Do b]', 'did b']);
  });

  it('lets an outcome wait for the next intent, and never for the end', async () => {
    const onRecord = async () => (await Journal.read([files])).map(({ kind }) => kind).join();
    const looks: string[] = [];
    const looking = (id: string): Step => {
      const plain = step(id);
      return {
        ...plain,
        ahead: () => looks.push(`ahead ${id}`),
        done: async () => {
          looks.push(`done ${id}: ${await onRecord()}`);
          return plain.done();
        },
        do: async () => {
          looks.push(`do ${id}: ${await onRecord()}`);
          return plain.do();
        },
      };
    };
    await run(step('c'));
    await run(looking('a'), looking('b'), looking('c'));
    const before = 'intent,outcome';
    expect(looks).toEqual([
      'ahead b',
      `done a: ${before}`,
      `do a: ${before},intent`,
      'ahead c',
      `done b: ${before},intent`,
      `do b: ${before},${before},intent`,
      `done c: ${before},${before},intent`,
    ]);
    expect(await onRecord()).toBe([before, before, before].join());
    const failing: Step = {
      ...step('e'),
      done: async () => {
        throw new Error('no answer');
      },
    };
    await expect(run(step('d'), failing)).rejects.toThrow('no answer');
    expect(record().slice(6)).toEqual(['intent d', 'outcome d true', 'outcome e false']);
  });

  it('leaves alone what is done already', async () => {
    await run(step('a'));
    const again = step('a');
    await run(again, step('b'));
    expect(again.tries).toBe(0);
    expect(results()).toEqual(['a done', 'a already', 'b done']);
    expect(record()).toHaveLength(4);
  });

  it('stops at the first step that fails, on record and with its own error', async () => {
    const error = new Error('disk full');
    const next = step('b');
    await expect(run(step('a', [{ error }]), next)).rejects.toBe(error);
    expect(record()).toEqual(['intent a', 'outcome a false']);
    expect(journal.entries[1]?.text).toBe('disk full');
    expect(results()).toEqual(['a failed']);
    expect(next.tries).toBe(0);
  });

  it('tells the fault also when it can not be recorded', async () => {
    const broken: Step = {
      ...step('a'),
      done: async () => false,
      do: async () => {
        appendFault = new Error('read-only file system');
        throw new Error('the cause');
      },
    };
    await expect(run(broken)).rejects.toThrow('the cause');
  });

  it('does nothing that could not be recorded before', async () => {
    appendFault = new Error('read-only file system');
    const never = step('a');
    await expect(run(never)).rejects.toThrow('read-only');
    expect(never.tries).toBe(0);
  });

  it('tries again, three times, what a lost connection cut off', async () => {
    const lost = { error: new Lost('gone') };
    const passes = step('a', [lost, lost, lost]);
    await run(passes);
    expect([passes.tries, results()]).toEqual([4, ['a done']]);
    expect(said.filter((line) => line === 'warning: gone; trying again')).toHaveLength(3);
    const fails = step('b', [lost, lost, lost, lost]);
    await expect(run(fails)).rejects.toThrow('gone');
    expect(fails.tries).toBe(4);
    expect(results()).toEqual(['a done', 'b failed']);
  });

  it('counts as done, on record, what was done before the connection was lost', async () => {
    const cut = step('a', [{ error: new Lost('gone'), after: true }]);
    await run(cut);
    expect(cut.tries).toBe(1);
    expect(results()).toEqual(['a done']);
    expect(record()).toEqual(['intent a', 'outcome a true']);
  });

  it('tries again only once nothing of the try before is under way', async () => {
    await run(step('a', [{ error: new Lost('gone') }]));
    expect(said).toEqual(['[Do a]', 'warning: gone; trying again', 'settled', 'did a']);
    unsettled = new Error('a command is still under way');
    const never = step('b', [{ error: new Lost('gone') }]);
    await expect(run(never)).rejects.toBe(unsettled);
    expect([never.tries, results()]).toEqual([1, ['a done', 'b failed']]);
  });

  it('records a step that can not even be looked at', async () => {
    const blind: Step = { ...step('a'), done: () => Promise.reject(new Error('no such file')) };
    await expect(run(blind)).rejects.toThrow('no such file');
    expect(record()).toEqual(['outcome a false']);
  });
});

describe('previewSteps', () => {
  it('looks, and does and records nothing', async () => {
    world.add('b');
    const [a, b] = [step('a'), step('b')];
    await previewSteps([a, b], { log, report: (report) => void reports.push(report) });
    expect([a.tries, b.tries]).toEqual([0, 0]);
    expect(said).toEqual(['would: Do a', 'already done: Do b']);
    expect(results()).toEqual(['a would', 'b already']);
    expect(journal.entries).toEqual([]);
    expect([...world]).toEqual(['b']);
  });
});
