import { describe, expect, it } from 'vitest';
import { partsOf } from './outlook.ts';

describe('the parts of a store', () => {
  it('are one for what a job can bring', () => {
    expect(partsOf(0)).toEqual(['1/1']);
    expect(partsOf(249e9)).toEqual(['1/1']);
  });

  it('are more for more, but not without end', () => {
    expect(partsOf(600e9)).toEqual(['1/3', '2/3', '3/3']);
    expect(partsOf(1e15)).toHaveLength(16);
  });

  it('are as many as somebody wants', () => {
    expect(partsOf(600e9, 2)).toEqual(['1/2', '2/2']);
  });
});
