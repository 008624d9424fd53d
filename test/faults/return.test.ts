import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usersFile } from '../lab/postfix-dovecot/dovecot-files.ts';
import { waitFor } from '../lab/process.ts';
import { domains, mailName, network, special, virtualUser } from '../lab/world.ts';
import {
  activate,
  arrived,
  copies,
  folder,
  freeze,
  queued,
  type Scene,
  scene,
  send,
  serves,
} from './scene.ts';

/*
 * Rollback after NEW has served: all that it got and all that was changed there is on OLD, once, and
 * a second attempt goes through.
 */

const user = virtualUser(1);

/** What a day on NEW does to a mailbox. */
const changes = `
doveadm mailbox create -u "$1" Harvest
doveadm mailbox subscribe -u "$1" Harvest
doveadm flags add -u "$1" '\\Flagged' mailbox INBOX 1
doveadm move -u "$1" Harvest mailbox INBOX 2
doveadm expunge -u "$1" mailbox INBOX 3
printf 'keep;\\n' | doveadm sieve put -u "$1" -a late
sed -i 's/^u002@/u002-was@/' "$2"
printf '%s\\n' "u002@${domains.virtual}:{PLAIN}other::::::" >> "$2"
mkdir -p /var/vmail/${domains.virtual}/fresh && chown vmail:vmail /var/vmail/${domains.virtual}/fresh
`;

/** What clients see of a mailbox: everything a client keys its cache by. */
const view = `doveadm -f tab fetch -u "$1" 'mailbox uid guid flags date.saved' mailbox '*' all | sort
doveadm -f tab mailbox status -u "$1" 'messages uidvalidity uidnext' '*' | sort
doveadm mailbox list -s -u "$1" | sort
doveadm sieve list -u "$1"`;

describe.each(['hold', 'stop'] as const)('rollback after activation, with %s', (mode) => {
  let here: Scene;
  const ids: string[] = [];
  let away = '';
  let seen = '';

  beforeAll(async () => {
    here = await scene({ freeze: { mode, 'max-minutes': 10 } });
  });
  afterAll(() => here?.end());

  it('brings back what NEW got and what was changed there', async () => {
    const { lab, migration } = here;
    // Waits in OLD's queue before the move: its destination does not answer.
    const early = await send(here, 'old', `forward@${domains.virtual}`);
    await activate(here);
    await migration.must('dns-cutover');
    for (const to of [user, special.localUsers[0], special.atticUsers[0]])
      ids.push(await send(here, 'new', to));
    if (mode === 'hold') ids.push(await send(here, 'old', virtualUser(4)));
    for (const id of ids) await arrived(here, 'new', id);
    away = await send(here, 'new', `forward@${domains.virtual}`);
    await lab.host('new').mustSh(changes, [user, usersFile]);
    seen = await lab.host('new').mustSh(view, [user]);

    const result = await migration.must('rollback');
    expect(result.outputs.state).toBe('rolled-back');
    for (const id of ids) expect([id, await copies(here, 'old', id)]).toEqual([id, 1]);
    expect(await lab.host('old').mustSh(view, [user])).toBe(seen);
    expect(await lab.host('old').mustSh('cat "$1"', [usersFile])).toContain('{PLAIN}other');
    expect(await serves(here, 'old')).toBe(true);
    expect(await serves(here, 'new')).toBe(false);
    for (const id of [early, away]) {
      await waitFor(`${id} left NEW`, 30, async () => (await queued(here, 'new', id)) === 0);
      const counts = [await queued(here, 'old', id), await queued(here, 'new', id)];
      expect([id, counts[0], counts[1]]).toEqual([id, 1, 0]);
    }
    const marks = await lab.host('new').mustSh('cd "$1"; ls', [folder]);
    expect(marks).toContain('released');
    expect(marks).not.toContain('owner');
    const zone = await lab.host('dns').sh(`dig +short @${network.dns.v4} ${mailName} A || :`);
    if (zone.stdout !== '') expect(zone.stdout.trim()).toBe(network.old.v4);
  });

  it('is done when it is run again, and NEW stays closed over a reboot', async () => {
    const { lab, migration } = here;
    await migration.must('rollback');
    await Promise.all([lab.host('new').reboot(), lab.host('old').reboot()]);
    expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
    const late = await send(here, 'old', virtualUser(5));
    await arrived(here, 'old', late);
    if (mode === 'stop') return;
    const stray = await send(here, 'new', virtualUser(5));
    await arrived(here, 'old', stray);
    expect(await copies(here, 'new', stray)).toBe(0);
  });

  it('leaves a second attempt that goes through', async () => {
    const { lab, migration } = here;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await freeze(here);
    await migration.must('transfer', { pass: 'final' });
    await migration.must('activate');
    await migration.must('dns-cutover');
    await migration.must('verify');
    for (const id of ids) expect([id, await copies(here, 'new', id)]).toEqual([id, 1]);
    expect(await serves(here, 'new')).toBe(true);
    expect(await serves(here, 'old')).toBe(false);
    const counts = [await queued(here, 'old', away), await queued(here, 'new', away)];
    expect((counts[0] ?? 0) + (counts[1] ?? 0)).toBe(1);
    expect(await lab.host('new').mustSh(`doveadm -f flow mailbox list -u "$1"`, [user])).toContain(
      'Harvest',
    );
  });
});
