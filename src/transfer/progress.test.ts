import { describe, expect, it } from 'vitest';
import { progressLine } from './progress.ts';

describe('a line of progress', () => {
  it('says how much of the first copy is there, how fast, and what is left', () => {
    expect(
      progressLine({
        doing: 'copying',
        files: 0,
        bytes: 2_100_000_000,
        allFiles: 300_000,
        allBytes: 5_100_000_000,
        seconds: 25,
      }),
    ).toBe('41 % · about 123,529 of 300,000 messages · 2.1 GB · 84 MB/s · 36 s left');
  });

  it('counts files where folders are compared', () => {
    expect(
      progressLine({
        doing: 'comparing',
        files: 123_000,
        bytes: 2_100_000_000,
        allFiles: 300_000,
        allBytes: 5_100_000_000,
        seconds: 25,
      }),
    ).toBe('comparing: 41 % · 123,000 of 300,000 messages · 2.1 GB · 84 MB/s');
  });

  it('leaves out what nobody has counted yet, and divides by no nought', () => {
    expect(progressLine({ doing: 'copying', files: 0, bytes: 9_000_000, seconds: 0 })).toBe(
      '9 MB · 0 MB/s',
    );
    expect(
      progressLine({
        doing: 'comparing',
        files: 0,
        bytes: 0,
        allFiles: 0,
        allBytes: 0,
        seconds: 1,
      }),
    ).toBe('comparing: 0 MB · 0 MB/s');
  });

  it('never says more than everything, as a live store grows', () => {
    expect(
      progressLine({
        doing: 'copying',
        files: 0,
        bytes: 1_200_000_000,
        allFiles: 1,
        allBytes: 1_000_000_000,
        seconds: 600,
      }),
    ).toBe('100 % · about 1 of 1 messages · 1.2 GB · 2 MB/s · 0 s left');
  });
});
