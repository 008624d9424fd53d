import { expect, it } from 'vitest';
import { nearest } from './nearest.ts';

const known = ['address', 'host-keys', 'port', 'freeze', 'domains', 'A', 'AAAA'];

it.each([
  ['adress', 'address'],
  ['addresss', 'address'],
  ['adderss', 'address'],
  ['host_keys', 'host-keys'],
  ['hostKeys', 'host-keys'],
  ['host-key', 'host-keys'],
  ['Port', 'port'],
  ['domain', 'domains'],
  ['aaaa', 'AAAA'],
])('%s is near %s', (word, meant) => {
  expect(nearest(word, known)).toBe(meant);
});

it.each(['exim', 'x', '', 'something-else', 'y'.repeat(100_000)])(
  '%.20s is near nothing',
  (word) => {
    expect(nearest(word, ['address', 'host-keys', 'postfix-dovecot'])).toBeUndefined();
  },
);
