import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '../lab/process.ts';
import { folder, QmailScene } from './scene.ts';

/*
 * Both strategies there and back, under each kind of supervisor. With QMAIL_TREE the same against a
 * real qmail.
 */

const everybody = ['u001@orchard.example', 'anna@villa.example', 'carla@attic.example'] as const;

async function sendAll(here: QmailScene, side: 'old' | 'new'): Promise<string[]> {
  return Promise.all(everybody.map((to) => here.send(side, to)));
}

/** Each message once on that host, and in no queue. */
async function onceOn(
  here: QmailScene,
  side: 'old' | 'new',
  ids: readonly string[],
): Promise<void> {
  for (const id of ids) {
    await here.arrived(side, id);
    expect([id, await here.copies(side, id)]).toEqual([id, 1]);
    expect(await here.queued('old', id)).toBe(0);
  }
}

describe('redirect, under runit', () => {
  let here: QmailScene;
  const ids: string[] = [];

  beforeAll(async () => {
    here = await QmailScene.start('redirect', { supervisor: 'runit' });
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  test('in the freeze OLD accepts everything and delivers nothing', {
    timeout: 240_000,
  }, async () => {
    const { migration } = here;
    await migration.must('plan');
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    const before = await here.lab.host('old').mustSh('md5sum /var/qmail/control/*');
    await migration.must('freeze');
    ids.push(...(await sendAll(here, 'old')));
    await here.lab.host('old').mustSh('pkill -ALRM -x qmail-send');
    expect(await here.serves('old')).toEqual({ pop3: false, delivers: false });
    for (const id of ids)
      expect([await here.copies('old', id), await here.queued('old', id)]).toEqual([0, 1]);
    expect(before).not.toBe(await here.lab.host('old').mustSh('md5sum /var/qmail/control/*'));
  });

  test('the limit thaws OLD without a runner, and nothing bounces on its way home', {
    timeout: 120_000,
  }, async () => {
    const old = here.lab.host('old');
    await old.mustSh(`printf 0 > ${folder}/deadline; ${folder}/bin/hostctl thaw-when-due`);
    await onceOn(here, 'old', ids);
    expect(await here.serves('old')).toEqual({ pop3: true, delivers: true });
    const { code, log } = await here.migration.run('transfer', { pass: 'final' });
    expect([code, log]).toEqual([1, expect.stringContaining('OLD is not frozen')]);
  });

  test('mail that NEW queued before it was activated goes back with a rollback', {
    timeout: 240_000,
  }, async () => {
    const { migration } = here;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await migration.must('freeze');
    await migration.must('transfer', { pass: 'final' });
    const cut = await migration.must('dns-cutover');
    expect(cut.outputs.state).toBe('transferred+cut');
    const [held, early] = await Promise.all([
      here.send('old', everybody[0]),
      here.send('new', everybody[1]),
    ]);
    expect(await here.serves('new')).toEqual({ pop3: false, delivers: false });
    await migration.must('rollback');
    ids.push(held, early);
    await onceOn(here, 'old', ids);
    const controls = await here.lab
      .host('old')
      .mustSh('cat /var/qmail/control/locals /var/qmail/control/rcpthosts; ls /var/qmail/control');
    expect(controls).not.toMatch(/new\.orchard|smtproutes|concurrency/);
  });

  test('the next attempt goes through; what waited on either host is delivered once', {
    timeout: 300_000,
  }, async () => {
    const { migration } = here;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await migration.must('freeze');
    await migration.must('transfer', { pass: 'final' });
    const waiting = [await here.send('old', everybody[0]), await here.send('new', everybody[2])];
    await migration.must('activate');
    expect(await here.serves('new')).toEqual({ pop3: true, delivers: true });
    waiting.push(await here.send('old', everybody[1]));
    await onceOn(here, 'new', waiting);
    for (const id of waiting) expect(await here.copies('old', id)).toBe(0);
    await migration.must('dns-cutover');
    await migration.must('verify');
    const drained = await migration.must('drain');
    expect(drained.log).toMatch(/10\.77\.0\.1.* by smtp, \d+ times/);
    await migration.must('finish', { 'plan-digest': drained.outputs['plan-digest'] ?? '' });
    const host = here.lab.host('old');
    await host.reboot();
    await host.sh('for service in /etc/service/*; do sv up "$service"; done; sleep 1');
    const { stdout } = await host.sh(
      'ss -Hltn "( sport = :25 or sport = :110 )"; pgrep -x qmail-send',
    );
    expect(stdout).toBe('');
  });
});

describe('snapshot, under daemontools', () => {
  let here: QmailScene;
  const ids: string[] = [];

  beforeAll(async () => {
    here = await QmailScene.start('snapshot', { supervisor: 'daemontools' });
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  test('mail waits in the local queue, also over a reboot and a start by habit', {
    timeout: 240_000,
  }, async () => {
    const { migration, lab } = here;
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await migration.must('freeze');
    ids.push(...(await sendAll(here, 'old')));
    await Promise.all([lab.host('old').reboot(), lab.host('new').reboot()]);
    for (const side of ['old', 'new'] as const) {
      await lab.host(side).mustSh('svc -u /etc/service/*; sleep 1');
      expect([side, await here.serves(side)]).toEqual([side, { pop3: false, delivers: false }]);
    }
    for (const id of ids)
      expect([await here.copies('old', id), await here.queued('old', id)]).toEqual([0, 1]);
    const early = await migration.run('dns-cutover');
    expect([early.code, early.log]).toEqual([1, expect.stringContaining('Run activate first')]);
  });

  test('late passes only add: each message once, what was deleted stays deleted', {
    timeout: 240_000,
  }, async () => {
    const { migration, lab } = here;
    const fresh = lab.host('new');
    await migration.must('transfer', { pass: 'final' });
    await migration.must('activate');
    // They land on OLD, where nothing serves them.
    for (const id of ids) await here.arrived('old', id);
    expect((await here.serves('old')).pop3).toBe(false);
    await migration.must('dns-cutover');
    const own = await here.send('new', everybody[0]);
    await here.arrived('new', own);
    await migration.must('transfer', { pass: 'late' });
    for (const id of ids) expect([id, await here.copies('new', id)]).toEqual([id, 1]);
    const [read = ''] = ids;
    await fresh.mustSh('grep -rlF -- "$1" /mail | xargs rm', [read]);
    const again = await migration.must('transfer', { pass: 'late' });
    expect(again.log).toContain('0 messages');
    expect([await here.copies('new', read), await here.copies('new', own)]).toEqual([0, 1]);
    const owners = await fresh.mustSh(
      'find /mail /home/anna/Maildir /home/vpopmail -type f -printf "%u\\n" | sort -u',
    );
    expect(owners.trim().split('\n')).toEqual(['anna', 'vmail', 'vpopmail']);
  });

  test('service goes back with all that NEW got', { timeout: 240_000 }, async () => {
    const { migration } = here;
    const onNew = await sendAll(here, 'new');
    for (const id of onNew) await here.arrived('new', id);
    await migration.must('rollback');
    await onceOn(here, 'old', onNew);
    expect(await here.serves('old')).toEqual({ pop3: true, delivers: true });
    expect(await here.serves('new')).toEqual({ pop3: false, delivers: false });
    const stray = await here.send('new', everybody[0]);
    await onceOn(here, 'old', [stray]);
    expect(await here.copies('new', stray)).toBe(0);
  });
});

describe('redirect, under systemd, in MySQL tables', () => {
  let here: QmailScene;

  beforeAll(async () => {
    here = await QmailScene.start('redirect', { supervisor: 'systemd', variant: 'mysql' });
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  test.skipIf(process.env.QMAIL_TREE !== undefined)(
    'tables move with their numbers, aliases and hosts are redirected, no password is told',
    { timeout: 600_000 },
    async () => {
      const { migration, lab } = here;
      const logs: string[] = [];
      migration.onLine((line) => logs.push(line));
      const debug = { debug: true };
      await migration.must('plan', {}, debug);
      await migration.must('prepare', {}, debug);
      await migration.must('transfer', { pass: 'live' }, debug);
      await migration.must('freeze', {}, debug);
      const ids = [
        await here.send('old', everybody[0]),
        await here.send('old', 'team@orchard.example'),
      ];
      const tables = await lab
        .host('old')
        .mustSh(
          'mariadb -BN qmail -e "select count(*) from virtual; select distinct alias_host from alias order by 1; select host from rcpthosts"',
        );
      expect(tables).toBe('0\nelsewhere.example\nnew.orchard.example\norchard.example\n');
      await migration.must('transfer', { pass: 'final' }, debug);
      await migration.must('activate', {}, debug);
      await here.arrived('new', ids[0] ?? '');
      await waitFor(
        'both of the alias',
        60,
        async () => (await here.copies('new', ids[1] ?? '')) === 2,
      );
      const rows = await lab
        .host('new')
        .mustSh('mariadb -BN qmail -e "select distinct uid, gid from mailbox"');
      expect(rows).toBe('6100\t6100\n');
      expect(logs.join('\n')).not.toContain('lab-Sql-Passw0rd');
      await migration.must('rollback');
      const back = await lab
        .host('old')
        .mustSh(
          'mariadb -BN qmail -e "select count(*) > 0 from virtual; select distinct alias_host from alias order by 1"',
        );
      expect(back).toBe('1\n\nelsewhere.example\n');
      const stray = await here.send('old', everybody[0]);
      await here.arrived('old', stray);
    },
  );
});
