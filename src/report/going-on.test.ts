import { expect, it } from 'vitest';
import type { Phase } from '../engine/states.ts';
import { goingOn } from './going-on.ts';

const stopped = (stage: string, phase: Phase, more = {}) =>
  goingOn({ stage, pass: 'live', phase, cut: false, verified: false, ...more }).join('\n');

it('names the position to dispatch from', () => {
  expect(stopped('freeze', 'copied')).toContain('`from: freeze`');
  expect(stopped('transfer', 'frozen', { pass: 'final' })).toContain('`from: transfer-final`');
  expect(stopped('activate', 'prepared', { from: 'transfer live' })).toContain(
    '`from: transfer-live`',
  );
  expect(stopped('rollback', 'frozen')).toContain('dispatch **Roll back** again');
  expect(stopped('prepare', 'finished', { from: 'none' })).toBe('');
});

it('says what holds meanwhile, and the way out', () => {
  expect(stopped('transfer', 'prepared')).toContain('OLD serves');
  expect(stopped('transfer', 'frozen', { pass: 'final' })).toContain('**OLD is frozen.**');
  expect(stopped('dns-cutover', 'active')).toContain('what is left is dns-cutover');
  expect(stopped('prepare', 'untouched').split('\n')).toHaveLength(1);
});
