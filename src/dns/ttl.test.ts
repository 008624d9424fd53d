import { describe, expect, it } from 'vitest';
import { cachesForgetAt, mayFreezeAt } from './ttl.ts';

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000);
const lowering = (oldTtl: number, published: number) => ({
  name: 'mail.example',
  type: 'A',
  oldTtl,
  publishedAt: at(published),
});

describe('mayFreezeAt', () => {
  it('waits for one old TTL of the slowest', () => {
    const lowerings = [lowering(3600, 0), lowering(300, 3400), lowering(60, 10)];
    expect(mayFreezeAt(lowerings, at(3699))).toEqual({ allowed: false, at: at(3700) });
    expect(mayFreezeAt(lowerings, at(3700))).toEqual({ allowed: true, at: at(3700) });
  });

  it('allows at once where nothing was lowered', () => {
    expect(mayFreezeAt([], at(5))).toEqual({ allowed: true, at: at(5) });
  });
});

it('cachesForgetAt counts the TTL that the old values were served with', () => {
  expect(cachesForgetAt(at(10), 300)).toEqual(at(310));
});
