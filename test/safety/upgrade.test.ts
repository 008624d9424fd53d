import { afterAll, beforeAll, expect, it } from 'vitest';
import { Migration } from '../e2e/migration.ts';
import {
  activate,
  arrived,
  copies,
  type Scene,
  send,
  serves,
  withoutDns,
} from '../faults/scene.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { virtualUser } from '../lab/world.ts';

/* NEW runs Debian 13 with Dovecot 2.4, OLD Debian 12 with 2.3: there, and back with what NEW got. */

const user = virtualUser(1);

let here: Scene;

beforeAll(async () => {
  const { lab } = await startMailLab({ mailboxes: 6, messagesPerMailbox: 10, newSuite: 'trixie' });
  const migration = await Migration.create(lab, withoutDns);
  here = {
    lab,
    migration,
    end: async () => {
      await migration.remove();
      await lab.stop();
    },
  };
});
afterAll(() => here?.end());

/**
 * What a client keys its cache by, as Dovecot of either version tells it. Without \\Recent, which
 * stands in the index only, and says of one session which messages it was the first to see.
 */
const view = `doveadm -f tab fetch -u "$1" 'mailbox uid guid flags' mailbox '*' all | sed 's/ *\\\\Recent//' | sort
doveadm -f tab mailbox status -u "$1" 'messages uidvalidity uidnext' '*' | sort
doveadm mailbox list -s -u "$1" | sort`;

const changes = `doveadm mailbox create -u "$1" Harvest
doveadm mailbox subscribe -u "$1" Harvest
doveadm flags add -u "$1" '\\Flagged' mailbox INBOX 1
doveadm move -u "$1" Harvest mailbox INBOX 2
doveadm expunge -u "$1" mailbox INBOX 3`;

it('NEW shows what OLD showed', async () => {
  const { lab } = here;
  const before = await lab.host('old').mustSh(view, [user]);
  await activate(here);
  expect(await serves(here, 'new')).toBe(true);
  expect(await lab.host('new').mustSh(view, [user])).toBe(before);
});

it('rollback brings back what NEW got; indexes that OLD can not read stay behind', async () => {
  const { lab, migration } = here;
  const ids = [await send(here, 'new', user), await send(here, 'old', virtualUser(4))];
  for (const id of ids) await arrived(here, 'new', id);
  await lab.host('new').mustSh(changes, [user]);
  const seen = await lab.host('new').mustSh(view, [user]);
  const { log } = await migration.must('rollback');
  expect(log).toMatch(/index/);
  for (const id of ids) expect([id, await copies(here, 'old', id)]).toEqual([id, 1]);
  expect(await lab.host('old').mustSh(view, [user])).toBe(seen);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
});
