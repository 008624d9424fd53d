import { afterAll, beforeAll, expect, test } from 'vitest';
import { domains } from '../lab/world.ts';
import { freeze, type Scene, scene, serves, withoutDns } from './scene.ts';

/*
 * A domain on a volume of its own within the store, and a backup of mail by hard links outside of it: OLD
 * stands still with all that it holds in sight, NEW gets all of it, and a rollback takes nothing away.
 */

const domain = `/var/vmail/${domains.virtual}`;
let here: Scene;
let before = '';

const messages = async (side: 'old' | 'new') =>
  here.lab.host(side).mustSh('cd "$1" && find . -type f -path "*/cur/*" | sort', [domain]);

beforeAll(async () => {
  here = await scene({ ...withoutDns, freeze: { mode: 'stop', 'max-minutes': 10 } });
  await here.lab.host('old').mustSh(
    `mv "$1" "$1.before"
     mkdir "$1"
     mount -t tmpfs own "$1"
     chown --reference="$1.before" "$1"
     chmod --reference="$1.before" "$1"
     cp -a "$1.before/." "$1"
     rm -rf "$1.before"
     cp -al /home/anna/Maildir /home/backup`,
    [domain],
  );
  before = await messages('old');
  expect(before.split('\n').length).toBeGreaterThan(20);
});
afterAll(() => here?.end());

test('plan tells of it', async () => {
  const { summary } = await here.migration.must('plan');
  expect(summary).toContain(`file systems of their own in the store /var/vmail: ${domain} (tmpfs)`);
}, 120_000);

test('the freeze does not hide it, and the final pass brings all', async () => {
  await here.migration.must('prepare');
  await here.migration.must('transfer', { pass: 'live' });
  await freeze(here);
  expect(await messages('old')).toBe(before);
  const { log } = await here.migration.must('transfer', { pass: 'final' });
  expect(log).toContain('trees are equal');
  expect(log).not.toContain('REPAIR');
  expect(await messages('new')).toBe(before);
}, 180_000);

test('what the freeze has left unsealed is on record', async () => {
  const journal = await here.lab.host('old').mustSh('cat /var/lib/mail-cutover/orchard/journal*');
  expect(journal).toContain(
    'as they were, because other file systems are mounted in them: /var/vmail',
  );
});

test('a rollback after NEW has served leaves OLD with all of it', async () => {
  await here.migration.must('activate');
  await here.migration.must('rollback');
  expect(await serves(here, 'old')).toBe(true);
  expect(await messages('old')).toBe(before);
  await here.lab
    .host('old')
    .mustSh('mountpoint -q "$1" && touch "$1/try" && rm "$1/try"', [domain]);
}, 180_000);
