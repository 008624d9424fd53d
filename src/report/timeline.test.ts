import { describe, expect, it } from 'vitest';
import type { Entry } from '../engine/journal.ts';
import { lastWait, measured, stageRuns, words } from './durations.ts';
import { timeline } from './timeline.ts';

/** Entries in short: `SECOND KIND STAGE OK`; "_" is a space in the name of a stage. */
function entries(...lines: readonly string[]): readonly Entry[] {
  return lines.map((line, index) => {
    const [second, kind, stage = '', ok] = line.split(' ');
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
      stage: stage.replace('_', ' '),
      ...(ok ? { ok: ok === 'ok' } : {}),
    };
  });
}

const journal = entries(
  '0 note plan',
  '10 stage-begin transfer_live',
  '11 intent transfer_live',
  '30 stage-end transfer_live ok',
  '40 stage-begin transfer_live',
  '45 stage-begin transfer_live',
  '50 stage-end transfer_live ok',
  '60 stage-begin freeze',
  '61.5 stage-end freeze failed',
  '70 stage-begin freeze',
);

describe('the runs of the stages', () => {
  it('are told apart, also where the runner died', () => {
    const told = stageRuns(journal).map(
      ({ stage, ok, ended, entries: of }) => `${stage} ${ok} ${ended !== undefined} ${of.length}`,
    );
    expect(told).toEqual([
      'transfer live true true 3',
      'transfer live false false 1',
      'transfer live true true 2',
      'freeze false true 2',
      'freeze false false 1',
    ]);
  });

  it('are measured by the last that went well', () => {
    expect([...measured(journal)]).toEqual([['transfer live', 5]]);
  });

  it('tell what a gate took last: within one run, and not where one job did both', () => {
    const gated = (gate: Record<number, string>, runs: Record<number, string> = {}) =>
      entries(
        '0 stage-begin prepare',
        '10 stage-end prepare ok',
        '400 stage-begin transfer_live',
        '410 stage-end transfer_live ok',
      ).map((entry) => ({
        ...entry,
        run: runs[entry.seq] ?? '17',
        data: { gate: { environment: gate[entry.seq] } },
      }));
    expect(lastWait(gated({ 1: 'mail-prepare', 3: 'mail-transfer-live' }))).toBe(390);
    expect(lastWait(gated({ 1: 'mail-cutover', 3: 'mail-cutover' }))).toBeUndefined();
    expect(lastWait(gated({ 1: 'a', 3: 'b' }, { 3: '18' }))).toBeUndefined();
    expect(lastWait(journal)).toBeUndefined();
  });

  it('become a diagram', () => {
    const text = timeline(stageRuns(journal), new Date(75_000));
    expect(text?.split('\n')).toEqual([
      '```mermaid',
      'gantt',
      '  dateFormat x',
      '  axisFormat %H:%M:%S',
      '  transfer live :done, 10000, 30000',
      '  transfer live :active, 40000, 75000',
      '  transfer live :done, 45000, 50000',
      '  freeze :crit, 60000, 61500',
      '  freeze :active, 70000, 75000',
      '```',
    ]);
    expect(timeline([])).toBeUndefined();
  });

  it('of other days are left out of it', () => {
    const days = entries(
      '0 stage-begin prepare',
      '9 stage-end prepare ok',
      '90000 stage-begin freeze',
    );
    expect(timeline(stageRuns(days), new Date(90_001_000))).not.toContain('prepare');
  });
});

it.each([
  [0.04, '0 s'],
  [4.25, '4.3 s'],
  [59.4, '59 s'],
  [190, '3 min 10 s'],
  [7500, '2 h 5 min'],
])('%s seconds are "%s"', (seconds, text) => {
  expect(words(seconds)).toBe(text);
});
