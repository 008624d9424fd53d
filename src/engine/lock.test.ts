import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { HostFiles, LockAnswer } from './host-files.ts';
import { takeLock } from './lock.ts';

/** The lock of one host, in memory, by the rules that the host keeps; its clock is vitest's. */
class LockFiles implements HostFiles {
  readonly label: string;
  readonly name = 'old';
  number: number;
  holder = '';
  expires = 0;
  held: number | undefined;
  fault: Error | undefined;
  /** Answers wait for it. */
  gate: Promise<void> | undefined;

  constructor(label: string, number = 0) {
    this.label = label;
    this.number = number;
  }

  async takeLock(holder: string, seconds: number, minimum: number): Promise<LockAnswer> {
    if (this.fault) throw this.fault;
    if (this.holder !== holder && this.expires > Date.now()) return { heldBy: this.holder };
    this.number = Math.max(this.number + 1, minimum);
    this.holder = holder;
    this.expires = Date.now() + seconds * 1000;
    return { number: this.number };
  }

  async renewLock(number: number, seconds: number): Promise<void> {
    await this.gate;
    if (this.fault) throw this.fault;
    if (number < this.number) throw new Error('taken over');
    this.expires = Date.now() + seconds * 1000;
  }

  async releaseLock(number: number): Promise<void> {
    if (number < this.number) throw new Error('taken over');
    this.expires = 0;
  }

  holdLock(number: number | undefined): void {
    this.held = number;
  }

  get isFree(): boolean {
    return this.expires <= Date.now();
  }

  async read(): Promise<undefined> {}
  async write(): Promise<void> {}
  async remove(): Promise<void> {}
  async append(): Promise<readonly string[]> {
    return [];
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('takeLock', () => {
  it.each([
    [0, 0, 1],
    [5, 2, 6],
    [2, 5, 6],
    [7, 7, 8],
  ])('takes one number on both hosts, above %i and %i', async (onOld, onNew, number) => {
    const [old, target] = [new LockFiles('OLD', onOld), new LockFiles('NEW', onNew)];
    const lock = await takeLock([old, target], 'a');
    expect([lock.number, old.number, target.number, old.held, target.held]).toEqual([
      number,
      number,
      number,
      number,
      number,
    ]);
    await lock.release();
    expect([old.isFree, target.isFree, old.held, target.held]).toEqual([
      true,
      true,
      undefined,
      undefined,
    ]);
  });

  it('refuses a second run at once, naming the first, and leaves the first alone', async () => {
    const [old, target] = [new LockFiles('OLD'), new LockFiles('NEW')];
    const lock = await takeLock([old, target], 'octocat in freeze');
    await expect(takeLock([old, target], 'hubot')).rejects.toThrow(
      'OLD: octocat in freeze is at work on this migration',
    );
    expect([old.number, target.number, old.isFree]).toEqual([1, 1, false]);
    await lock.release();
    await (await takeLock([old, target], 'hubot')).release();
  });

  it('gives OLD back when NEW is held', async () => {
    const [old, target] = [new LockFiles('OLD'), new LockFiles('NEW')];
    await takeLock([target], 'a');
    await expect(takeLock([old, target], 'b')).rejects.toThrow('NEW: a is at work');
    expect(old.isFree).toBe(true);
  });

  it('gives OLD back when NEW can not be reached', async () => {
    const [old, target] = [new LockFiles('OLD'), new LockFiles('NEW')];
    target.fault = new Error('no route to host');
    await expect(takeLock([old, target], 'b')).rejects.toThrow('no route to host');
    expect([old.isFree, old.held]).toEqual([true, undefined]);
  });

  it('refuses when OLD was taken over before both hosts knew one number', async () => {
    const [old, target] = [new LockFiles('OLD', 1), new LockFiles('NEW', 9)];
    const take = target.takeLock.bind(target);
    target.takeLock = async (...words) => {
      const answer = await take(...words);
      old.expires = 0;
      await old.takeLock('other', 90, 0);
      return answer;
    };
    await expect(takeLock([old, target], 'a')).rejects.toThrow('OLD: other is at work');
    expect([old.holder, old.isFree, target.isFree]).toEqual(['other', false, true]);
  });

  it('renews while it is held, and a renewal that fails does no harm', async () => {
    const [old, target] = [new LockFiles('OLD'), new LockFiles('NEW')];
    const lock = await takeLock([old, target], 'a');
    await vi.advanceTimersByTimeAsync(600_000);
    expect([old.isFree, target.isFree]).toEqual([false, false]);
    target.fault = new Error('cut off');
    await vi.advanceTimersByTimeAsync(600_000);
    expect([old.isFree, target.isFree]).toEqual([false, true]);
    target.fault = undefined;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(target.isFree).toBe(false);
    await lock.release();
    await vi.advanceTimersByTimeAsync(600_000);
    expect([old.isFree, target.isFree]).toEqual([true, true]);
  });

  it('is free after its release, also when a renewal was under way', async () => {
    const host = new LockFiles('OLD');
    const lock = await takeLock([host], 'a');
    let open = () => {};
    host.gate = new Promise((resolve) => {
      open = resolve;
    });
    await vi.advanceTimersByTimeAsync(31_000);
    const released = lock.release();
    open();
    await released;
    await vi.advanceTimersByTimeAsync(0);
    expect(host.isFree).toBe(true);
  });
});
