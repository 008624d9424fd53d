import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMigration } from '../../src/config/load.ts';
import { migrationFile } from '../e2e/migration.ts';
import { waitFor } from '../lab/process.ts';
import { folder, QmailScene, qmailFile, withoutDns } from './scene.ts';

/* What plan says of two qmail hosts, in one line each, with both hosts left as they were. */

test('the example of docs/qmail.md is a migration file', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/qmail.md'), 'utf8');
  const [, text = ''] = /<!-- example -->\n```yaml\n(.*?)```/s.exec(page) ?? [];
  const migration = parseMigration(text, 'example');
  expect(migration.qmail).toEqual({ strategy: 'redirect', variant: 'files', path: '/var/qmail' });
});

describe('plan', () => {
  let here: QmailScene;

  beforeAll(async () => {
    here = await QmailScene.start('snapshot');
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  /** What stands on a host that a plan could have changed. */
  const state = async () =>
    Promise.all(
      (['old', 'new'] as const).map(
        async (side) =>
          (
            await here.lab
              .host(side)
              .sh(
                'find /var/qmail/control /var/qmail/users /mail /etc/service/ -printf "%p %m %u %s %T@\\n" | sort; ls /var/lib/mail-cutover 2>&1',
              )
          ).stdout,
      ),
    );

  async function said(
    side: 'old' | 'new',
    change: string,
    undo: string,
    file: Record<string, unknown> = {},
  ): Promise<string> {
    const { lab, migration } = here;
    await migration.write({
      ...migrationFile(lab),
      ...qmailFile('snapshot'),
      ...withoutDns,
      ...file,
    });
    await lab.host(side).mustSh(change);
    try {
      const before = await state();
      const { log } = await migration.run('plan');
      expect(await state()).toEqual(before);
      return log;
    } finally {
      await lab.host(side).mustSh(undo);
    }
  }

  const cases: readonly [
    what: string,
    side: 'old' | 'new',
    change: string,
    undo: string,
    expected: RegExp,
  ][] = [
    [
      'a missing rcpthosts',
      'old',
      'mv /var/qmail/control/rcpthosts /root/',
      'mv /root/rcpthosts /var/qmail/control/',
      /OLD \(10\.77\.0\.11\): control\/rcpthosts is missing, so it is an open relay\. Cure: /,
    ],
    [
      'a home that belongs to another',
      'new',
      'chown root /home/anna',
      'chown anna /home/anna',
      /the home \/home\/anna of anna belongs to somebody else, so .* bounces\. Cure: chown it to anna/,
    ],
    [
      'a home that is missing',
      'new',
      'mv /home/bert /home/away',
      'mv /home/away /home/bert',
      /the home \/home\/bert of bert is missing, so .* bounces\. Cure: make it/,
    ],
    [
      'equal names',
      'new',
      'cp /var/qmail/control/me /root/me; echo old.orchard.example > /var/qmail/control/me',
      'cp /root/me /var/qmail/control/me',
      /control\/me is old\.orchard\.example on OLD and NEW/,
    ],
    [
      'an mbox',
      'old',
      'echo ./Mailbox > /mail/u001/.qmail',
      'rm /mail/u001/.qmail',
      /mail is delivered into mbox files: \/mail\/u001\/\.qmail; a late pass can only add files/,
    ],
    [
      'a catch-all',
      'old',
      'cp /var/qmail/control/virtualdomains /root/; echo :alias-catch >> /var/qmail/control/virtualdomains',
      'cp /root/virtualdomains /var/qmail/control/',
      /control\/virtualdomains has ":alias-catch", which no route to NEW can stand for/,
    ],
    [
      'an old message',
      'old',
      'echo 90000 > /var/qmail/control/queuelifetime; chmod +t /mail/u002; printf "To: x\\n\\nx\\n" | /var/qmail/bin/qmail-inject u002@orchard.example; i=0; until [ -n "$(find /var/qmail/queue/info -type f)" ]; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done; find /var/qmail/queue/info -type f -exec touch -d "-20 hours" {} +',
      'rm /var/qmail/control/queuelifetime; chmod -t /mail/u002; pkill -ALRM -x qmail-send; i=0; until [ -z "$(find /var/qmail/queue/info /var/qmail/queue/mess -type f)" ]; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done',
      /the oldest message in its queue is 20 h old, and bounces at 25 h \(queuelifetime\)/,
    ],
    [
      'mail on NEW',
      'new',
      'printf "To: x\\n\\nx\\n" > /mail/left-over; mkdir -p /mail/u001/Maildir/new; mv /mail/left-over /mail/u001/Maildir/new/1.1.new',
      'rm -r /mail/u001',
      /it holds mail already \(\/mail\/u001\/Maildir\/new\/1\.1\.new\)/,
    ],
  ];

  test.each(cases)('%s', { timeout: 120_000 }, async (_what, side, change, undo, expected) => {
    expect(await said(side, change, undo)).toMatch(expected);
  });

  test('a qmail that is somewhere else', { timeout: 60_000 }, async () => {
    const log = await said('old', ':', ':', {
      qmail: { strategy: 'snapshot', path: '/opt/qmail' },
    });
    expect(log).toContain(
      'there is no qmail in /opt/qmail. Cure: install it there, or set qmail.path',
    );
  });

  test('an SSH server with old algorithms only, and the switch for it', {
    timeout: 120_000,
  }, async () => {
    const { lab } = here;
    await lab.host('old').mustSh(`mkdir -p /run/sshd
      /usr/sbin/sshd -p 2222 -o PidFile=/run/old-sshd.pid -o KexAlgorithms=diffie-hellman-group14-sha1 -o HostKeyAlgorithms=ssh-rsa \\
        -o PubkeyAcceptedAlgorithms=+ssh-rsa -o Ciphers=aes128-cbc -o MACs=hmac-sha1`);
    const old = { ...(migrationFile(lab).old as Record<string, unknown>), port: 2222 };
    const refused = await said('old', ':', ':', { old });
    expect(refused).toMatch(
      /OLD \(10\.77\.0\.11\): its SSH server offers only old algorithms .*set legacy-algorithms: true/,
    );
    const taken = await said('old', ':', 'kill "$(cat /run/old-sshd.pid)"', {
      old: { ...old, 'legacy-algorithms': true },
    });
    expect(taken).not.toContain('error:');
  });

  test('on an OLD without systemd and sudo the limit is a line of cron, which thaws it', {
    timeout: 300_000,
  }, async () => {
    const { lab, migration } = here;
    const old = lab.host('old');
    await old.mustSh('mv /usr/bin/systemctl /usr/bin/sudo /root/');
    await migration.write({
      ...migrationFile(lab),
      ...qmailFile('snapshot'),
      ...withoutDns,
    });
    await migration.must('prepare');
    await migration.must('transfer', { pass: 'live' });
    await migration.must('freeze');
    expect(await here.serves('old')).toEqual({ pop3: false, delivers: false });
    await old.mustSh(`printf 0 > ${folder}/deadline`);
    await waitFor('cron has thawed OLD', 120, async () => {
      const { code } = await old.sh('[ ! -e /etc/cron.d/mail-cutover-orchard ]');
      return code === 0;
    });
    expect(await here.serves('old')).toEqual({ pop3: true, delivers: true });
  });
});
