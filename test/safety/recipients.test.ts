import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  activate,
  arrived,
  copies,
  queued,
  type Scene,
  scene,
  send,
  serves,
} from '../faults/scene.ts';
import { usersFile } from '../lab/postfix-dovecot/dovecot-files.ts';
import { waitFor } from '../lab/process.ts';
import { domains, outside, special, virtualUser } from '../lab/world.ts';
import { answerFor, dialogue, withoutDns } from './ground.ts';

/*
 * OLD has given service away and still gets mail: it refuses a recipient only when NEW does, says 450
 * when it can't ask, bounces nothing, and relays for nobody.
 */

const at = (name: string) => `${name}@${domains.virtual}`;

/** Things that only NEW knows: a mailbox, an alias, that one has gone, that another has room again. */
const dayOnNew = `
hash=$(sed -n 's/^u001@[^:]*:\\([^:]*\\):.*/\\1/p' "$1")
printf '%s\\n' "fresh@${domains.virtual}:$hash::::::" >> "$1"
sed -i '/^u006@/d; s/userdb_quota_rule=.*//' "$1"
printf '%s\\n' "fresh@${domains.virtual} ${domains.virtual}/fresh/" >> /etc/postfix/vmailbox
sed -i '/^u006@/d' /etc/postfix/vmailbox
printf '%s\\n' "novel@${domains.virtual} u001@${domains.virtual}, fresh@${domains.virtual}" >> /etc/postfix/virtual
sed -i '/^team@/d' /etc/postfix/virtual
postmap /etc/postfix/vmailbox /etc/postfix/virtual
postfix reload`;

let here: Scene;

beforeAll(async () => {
  here = await scene(withoutDns);
  // Mapped by OLD before the move: it must not be mapped again.
  await activate(here);
  await here.lab.host('new').mustSh(dayOnNew, [usersFile]);
});
afterAll(() => here?.end());

test('OLD accepts what only NEW knows, and it arrives', { timeout: 120_000 }, async () => {
  for (const name of ['fresh', 'novel', special.full.split('@')[0] ?? '']) {
    expect([name, await answerFor(here, 'old', at(name))]).toEqual([
      name,
      expect.stringMatching(/^250 /),
    ]);
  }
  const fresh = await send(here, 'old', at('fresh'));
  const novel = await send(here, 'old', at('novel'));
  await arrived(here, 'new', fresh);
  await waitFor('both members have it', 60, async () => (await copies(here, 'new', novel)) === 2);
});

test('an alias that names itself is expanded once', { timeout: 120_000 }, async () => {
  const id = await send(here, 'old', virtualUser(3));
  await waitFor('both have it', 60, async () => (await copies(here, 'new', id)) === 2);
  expect(await queued(here, 'new', id)).toBe(0);
  expect(await queued(here, 'old', id)).toBe(0);
});

test('OLD refuses what NEW refuses', { timeout: 120_000 }, async () => {
  for (const name of ['u006', 'team', 'never-was']) {
    expect([name, await answerFor(here, 'old', at(name))]).toEqual([
      name,
      expect.stringMatching(/^550 .*undeliverable address/),
    ]);
  }
});

test('neither OLD nor a door relays for strangers', { timeout: 120_000 }, async () => {
  expect(await answerFor(here, 'old', `x@${outside.domain}`)).toMatch(/^(454|554) .*[Rr]elay/);
  for (const port of [10125, 10126]) {
    const said = await dialogue(here.lab.host('new').address, port, [
      'EHLO stranger.example',
      'MAIL FROM:<post@elsewhere.example>',
      'QUIT',
    ]);
    expect(said[2]).toMatch(/^530 .*STARTTLS/);
  }
});

test('OLD says 450 while it can not ask, and keeps what it took', {
  timeout: 180_000,
}, async () => {
  const { lab } = here;
  await lab.host('old').cutOffFrom('new');
  try {
    expect(await answerFor(here, 'old', virtualUser(5))).toMatch(/^450 /);
  } finally {
    await lab.host('old').reconnectTo('new');
  }
  // What NEW refuses after OLD took it: it stays in OLD's queue, without a bounce.
  expect(await answerFor(here, 'old', virtualUser(4))).toMatch(/^250 /);
  await lab.host('new').mustSh('postconf -e message_size_limit=600; postfix reload');
  const big = await send(here, 'old', virtualUser(4), 'b'.repeat(900));
  await waitFor('it waits', 60, async () => (await queued(here, 'old', big)) === 1);
  const log = await lab.host('old').mustSh('journalctl -q --no-pager -t postfix/bounce');
  expect(log).not.toContain('non-delivery notification');
  await lab.host('new').mustSh('postconf -e message_size_limit=52428800; postfix reload');
  await lab.host('old').mustSh('postqueue -f');
  await arrived(here, 'new', big);
});

test('taken back, OLD delivers what waited for NEW, mapped once', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  expect(await answerFor(here, 'old', virtualUser(3))).toMatch(/^250 /);
  await lab.host('new').mustSh('postconf -e message_size_limit=600; postfix reload');
  const waiting = await send(here, 'old', virtualUser(3), 'b'.repeat(900));
  await waitFor('it waits', 60, async () => (await queued(here, 'old', waiting)) === 1);
  await migration.must('rollback');
  await waitFor('both have it', 60, async () => (await copies(here, 'old', waiting)) === 2);
  expect(await serves(here, 'old')).toBe(true);
  expect(await queued(here, 'old', waiting)).toBe(0);
  // All but the doors for what still comes to NEW, which themselves filter nothing.
  const own = await lab.host('old').mustSh('postconf -M; postconf -n');
  expect(own.replace(/^1012[56] .*\n/gm, '')).not.toMatch(/mail-cutover|unverified/);
  expect(own).not.toContain('content_filter=mail-cutover');
  expect(await answerFor(here, 'old', at('never-was'))).toMatch(/^550 .*User unknown/);
});
