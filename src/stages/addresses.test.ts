import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Entry } from '../engine/journal.ts';
import { cachesForget, demandForgotten } from './addresses.ts';
import type { StageContext } from './stage.ts';

const noon = Date.parse('2026-11-21T12:00:00.000Z');

beforeEach(() => {
  vi.useFakeTimers({ now: noon });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A line of the journal, so many seconds before noon. */
const line = (secondsAgo: number, data: Partial<Entry>): Entry =>
  ({
    kind: 'note',
    stage: 'x',
    time: new Date(noon - secondsAgo * 1000).toISOString(),
    ...data,
  }) as Entry;
const cut = (secondsAgo: number, zone = 'a.example') =>
  line(secondsAgo, { stage: 'dns-cutover', step: 'cut-published', data: { zone } });
const back = (secondsAgo: number, ok = true) =>
  line(secondsAgo, { kind: 'stage-end', stage: 'rollback', ok });

function context(history: readonly Entry[]): StageContext {
  const dns = [
    { zone: 'a.example', ttl: 300 },
    { zone: 'b.example', ttl: 60 },
  ];
  return { migration: { dns }, history: () => history } as unknown as StageContext;
}

describe('prepare after a rollback', () => {
  it.each([
    ['in the first attempt', []],
    ['where nothing was cut over', [back(10)]],
    ['when the longest TTL has passed since', [cut(900), back(301)]],
    ['when the first of two rollbacks is long ago', [cut(900), back(400), back(10)]],
    ['after a rollback that failed, which is no end of an attempt', [cut(900), back(10, false)]],
  ])('may run %s', (_, history) => {
    expect(() => demandForgotten(context(history))).not.toThrow();
  });

  it('waits for caches that may still know NEW', () => {
    expect(() => demandForgotten(context([cut(900), back(100)]))).toThrow(
      'caches may send mail and clients to NEW until 2026-11-21T12:03:20.000Z',
    );
    // A second attempt that was cut over and taken back counts for itself.
    expect(() => demandForgotten(context([cut(9000), back(8000), cut(500), back(299)]))).toThrow(
      '12:00:01.000Z',
    );
  });
});

describe('drain', () => {
  it('says per zone when caches have forgotten OLD', () => {
    expect(cachesForget(context([]), [cut(100), cut(90, 'b.example'), cut(50)])).toEqual([
      { zone: 'a.example', at: new Date(noon + 250_000) },
      { zone: 'b.example', at: new Date(noon - 30_000) },
    ]);
    expect(cachesForget(context([]), [cut(100)])).toHaveLength(1);
  });
});
