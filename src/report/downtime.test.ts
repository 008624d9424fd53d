import { describe, expect, it } from 'vitest';
import type { Entry } from '../engine/journal.ts';
import { downtimeSeconds } from './downtime.ts';

/** Entries in short: `SECOND KIND STAGE STEP OK`. */
function entries(...lines: readonly string[]): readonly Entry[] {
  return lines.map((line, index) => {
    const [second = '0', kind = 'note', stage = '', step = '', ok] = line.split(' ');
    return {
      seq: index + 1,
      time: new Date(Number(second) * 1000).toISOString(),
      actor: '',
      run: '',
      attempt: 1,
      commit: '',
      lock: 1,
      planDigest: '',
      prev: '',
      hash: '',
      kind: kind as Entry['kind'],
      stage,
      step,
      ...(ok ? { ok: ok === 'ok' } : {}),
    };
  });
}

const closed = [
  '10 intent freeze hold-deliveries',
  '12 intent freeze close-sessions',
  '13 outcome freeze close-sessions ok',
  '14 stage-end freeze - ok',
];
const opened = ['30.25 outcome activate open ok', '31 stage-end activate - ok'];

describe('downtimeSeconds', () => {
  it('counts from the closing of the sessions to the opening of NEW', () => {
    expect(downtimeSeconds(entries(...closed, ...opened))).toBe(18.3);
    expect(downtimeSeconds(entries('5 intent freeze stop-services', ...opened))).toBe(25.3);
  });

  it('is not known before it is over', () => {
    expect(downtimeSeconds([])).toBeUndefined();
    expect(downtimeSeconds(entries(...closed))).toBeUndefined();
    expect(
      downtimeSeconds(
        entries(...closed, '20 outcome activate open failed', '21 stage-end activate - failed'),
      ),
    ).toBeUndefined();
  });

  it('counts from the first try of the last freeze', () => {
    expect(downtimeSeconds(entries('8 intent freeze close-sessions', ...closed, ...opened))).toBe(
      22.3,
    );
  });

  it('counts only the last freeze, when OLD served again between two', () => {
    for (const again of [
      '20 stage-end freeze - failed',
      '20 note transfer thawed',
      '20 stage-end rollback - ok',
    ]) {
      const later = [...closed, again];
      expect(downtimeSeconds(entries(...later))).toBeUndefined();
      expect(downtimeSeconds(entries(...later, '25 intent freeze close-sessions', ...opened))).toBe(
        5.3,
      );
    }
    expect(
      downtimeSeconds(entries(...closed, ...opened, '40 stage-end rollback - ok')),
    ).toBeUndefined();
  });

  it('takes the end of the stage where the outcome of the step was not recorded', () => {
    expect(downtimeSeconds(entries(...closed, '31 stage-end activate - ok'))).toBe(19);
  });

  it('does not grow when activate is repeated', () => {
    expect(
      downtimeSeconds(
        entries(...closed, ...opened, '90 outcome activate open ok', '91 stage-end activate - ok'),
      ),
    ).toBe(18.3);
  });
});
