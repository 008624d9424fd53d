import { describe, expect, it } from 'vitest';
import { canonicalRRset, describeRRset, rrsetAmong, sameRRset, sameValues } from './canonical.ts';
import type { RRset } from './provider.ts';

const set = (values: string[], ttl = 300, type = 'AAAA'): RRset => ({
  name: 'mail.example',
  type,
  ttl,
  values,
});

describe('canonicalRRset', () => {
  it('sorts, unifies spellings and drops repeats', () => {
    const odd = { ...set(['2001:DB8::2', '2001:db8:0::1', '2001:db8::2']), name: 'Mail.Example.' };
    expect(canonicalRRset(odd)).toEqual(set(['2001:db8::1', '2001:db8::2']));
  });

  it('gives an RRset without values TTL 0', () => {
    expect(canonicalRRset(set([]))).toEqual(set([], 0));
  });
});

describe('equality', () => {
  it('passes over order and spelling', () => {
    expect(sameRRset(set(['::1', '::2']), set(['::2', '0:0::1']))).toBe(true);
    expect(sameRRset(set(['::1']), set(['::1', '::2']))).toBe(false);
  });

  it('counts the TTL only where there are values', () => {
    expect(sameRRset(set(['::1']), set(['::1'], 60))).toBe(false);
    expect(sameValues(set(['::1']), set(['::1'], 60))).toBe(true);
    expect(sameRRset(set([], 0), set([], 60))).toBe(true);
  });
});

describe('rrsetAmong', () => {
  it('takes the records of that name and type only', () => {
    const answers = [
      { type: 'CNAME', name: 'mail.example', ttl: 9, data: 'x.example' },
      { type: 'A', name: 'x.example', ttl: 9, data: '192.0.2.9' },
      { type: 'A', name: 'MAIL.example', ttl: 60, data: '192.0.2.2' },
      { type: 'A', name: 'mail.example', ttl: 60, data: '192.0.2.1' },
    ] as const;
    expect(rrsetAmong(answers, 'mail.example', 'A')).toEqual(
      set(['192.0.2.1', '192.0.2.2'], 60, 'A'),
    );
    expect(rrsetAmong(answers, 'mail.example', 'MX')).toEqual(set([], 0, 'MX'));
  });
});

it('describes an RRset in a few words', () => {
  expect(describeRRset(set(['192.0.2.1', '192.0.2.2'], 300, 'A'))).toBe(
    'A 192.0.2.1, 192.0.2.2, TTL 300',
  );
  expect(describeRRset(set([]))).toBe('no AAAA');
});
