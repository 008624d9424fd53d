import { expect, it } from 'vitest';
import { described } from './evidence.ts';

const options = { live: true, log: () => {} };

it('says that further connections were refused, and nothing of it when none was', () => {
  const counts = 'done sent=3 bytes=2000000 listed=1 tar=7 streams=4';
  expect(described(`${counts} refused_streams=5\n`, options)).toMatch(
    /; 1 folders differed; slower than it could be: 5 further connections were refused or lost \(/,
  );
  expect(described(`${counts}\n`, options)).toMatch(/; 1 folders differed$/);
});
