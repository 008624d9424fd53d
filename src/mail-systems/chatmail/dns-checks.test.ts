import { expect, it } from 'vitest';
import { reverseName } from './dns-checks.ts';

it.each([
  ['192.0.2.17', '17.2.0.192.in-addr.arpa'],
  [
    '2001:db8::567:89ab',
    'b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
  ],
  ['::1', `1.${'0.'.repeat(31)}ip6.arpa`],
  [
    '2001:db8:1:2:3:4:5:6',
    '6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
  ],
])('the name of %s in the reverse DNS', (address, name) => {
  expect(reverseName(address)).toBe(name);
});
