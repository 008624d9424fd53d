import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMigration } from '../../src/config/load.ts';
import { migrationFile } from '../e2e/migration.ts';
import { domains } from '../lab/world.ts';
import { QmailScene, qmailFile, withoutDns } from './scene.ts';

/* What plan says of two qmail hosts, in one line each, with both hosts left as they were. */

test('the example of docs/qmail.md is a migration file', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/qmail.md'), 'utf8');
  const [, text = ''] = /<!-- example -->\n```yaml\n(.*?)```/s.exec(page) ?? [];
  const migration = parseMigration(text, 'example');
  expect(migration.qmail).toEqual({ strategy: 'redirect', variant: 'files', path: '/var/qmail' });
});

type Case = readonly [
  what: string,
  side: 'old' | 'new',
  change: string,
  undo: string,
  expected: RegExp,
];

const emptyQueue =
  'i=0; until [ -z "$(find /var/qmail/queue/info /var/qmail/queue/mess -type f)" ]; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done';

/** What stops a plan; all is told at once. */
const refusals: readonly Case[] = [
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
    'mail on NEW',
    'new',
    'printf "To: x\\n\\nx\\n" > /mail/left-over; mkdir -p /mail/u001/Maildir/new; mv /mail/left-over /mail/u001/Maildir/new/1.1.new',
    'rm -r /mail/u001',
    /it holds mail already \(\/mail\/u001\/Maildir\/new\/1\.1\.new\)/,
  ],
  [
    'a missing rcpthosts on NEW',
    'new',
    'mv /var/qmail/control/rcpthosts /root/',
    'mv /root/rcpthosts /var/qmail/control/',
    /NEW \(10\.77\.0\.12\): control\/rcpthosts is missing, so it is an open relay\. Cure: /,
  ],
  [
    'an account that NEW lacks',
    'old',
    'for user in zoe yan; do useradd -m "$user"; install -d -o "$user" "/home/$user/Maildir" "/home/$user/Maildir/new"; done',
    'userdel -r zoe; userdel -r yan',
    /the account zoe is missing there, so its mail bounces\. Cure: create it/,
  ],
  [
    'an account that has another home on NEW',
    'new',
    'useradd -m -d /srv/yan yan',
    'userdel -r yan',
    /the home of yan is \/srv\/yan there, and another one on OLD\. Cure: give the account the same home/,
  ],
  [
    'an owner of mail that NEW lacks',
    'old',
    'touch /home/zoe/Maildir/new/1.1.old; chown zoe /home/zoe/Maildir/new/1.1.old',
    'true',
    /these owners of mail on OLD don't exist there: user zoe\b/,
  ],
  [
    'a queue on NEW that is not empty',
    'new',
    'chmod +t /var/qmail/alias; printf "To: x\\n\\nx\\n" | /var/qmail/bin/qmail-inject postmaster@new.orchard.example',
    `chmod -t /var/qmail/alias; pkill -ALRM -x qmail-send; ${emptyQueue}`,
    /NEW \(10\.77\.0\.12\): 1 messages are in its queue\. Cure: deliver or delete them/,
  ],
  [
    'a service that nothing supervises',
    'new',
    'mv /etc/service/qmail-smtpd /root/',
    'mv /root/qmail-smtpd /etc/service/',
    /NEW .*: no service was found that starts qmail-smtpd\. Cure: let daemontools or runit/,
  ],
];

/** What a plan warns of where nothing stops it. */
const warnings: readonly Case[] = [
  [
    'equal names',
    'new',
    'cp /var/qmail/control/me /root/me; echo old.orchard.example > /var/qmail/control/me',
    'cp /root/me /var/qmail/control/me',
    /control\/me is old\.orchard\.example on OLD and NEW/,
  ],
  [
    'an old message',
    'old',
    // What an earlier case left to NEW's queue may be on its way still.
    `${emptyQueue}; echo 90000 > /var/qmail/control/queuelifetime; chmod +t /mail/u002; printf "To: x\\n\\nx\\n" | /var/qmail/bin/qmail-inject u002@orchard.example; i=0; until [ -n "$(find /var/qmail/queue/info -type f)" ]; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done; find /var/qmail/queue/info -type f -exec touch -d "-20 hours" {} +`,
    `rm /var/qmail/control/queuelifetime; chmod -t /mail/u002; pkill -ALRM -x qmail-send; ${emptyQueue}`,
    /the oldest message in its queue is 20 h old, and bounces at 25 h \(queuelifetime\)/,
  ],
  [
    'a sender that NEW refuses from OLD',
    'new',
    'echo @example.com > /var/qmail/control/badmailfrom',
    'rm /var/qmail/control/badmailfrom',
    /port 25 of NEW answers OLD with "553 .*badmailfrom.*": late mail .* would wait or bounce/,
  ],
  [
    'equal names of the hosts themselves',
    'new',
    'hostname > /root/hostname; hostname old',
    'hostname "$(cat /root/hostname)"',
    /OLD and NEW are both called old, and qmail-local makes names of messages from it/,
  ],
  [
    'a table of morercpthosts that is out of date',
    'old',
    'touch -d -1hour /var/qmail/control/morercpthosts.cdb; touch /var/qmail/control/morercpthosts',
    'touch /var/qmail/control/morercpthosts.cdb',
    /OLD .*: control\/morercpthosts is newer than its table, .*Cure: run qmail-newmrh there/,
  ],
  [
    "vpopmail's program, which NEW lacks",
    'new',
    'mv /home/vpopmail/bin/vdelivermail /root/',
    'mv /root/vdelivermail /home/vpopmail/bin/',
    /NEW .*: \/home\/vpopmail\/bin\/vdelivermail is missing there, which \/home\/vpopmail\/domains\/attic\.example\/\.qmail-default runs/,
  ],
  [
    'a domain of vpopmail whose users are in a database',
    'old',
    'mv /home/vpopmail/domains/attic.example/vpasswd /root/',
    'mv /root/vpasswd /home/vpopmail/domains/attic.example/',
    /OLD .*: \/home\/vpopmail\/domains\/attic\.example of vpopmail has no vpasswd, so its users are in a database/,
  ],
  [
    'a name that OLD only sends on',
    'old',
    'cp -p /var/qmail/control/rcpthosts /root/; echo partner.example >> /var/qmail/control/rcpthosts',
    'mv /root/rcpthosts /var/qmail/control/',
    /NEW .*: it does not take mail for partner\.example, which OLD takes .* and sends on/,
  ],
];

/** The same of a redirect. */
const redirectWarnings: readonly Case[] = [
  [
    'an mbox',
    'old',
    'echo ./Mailbox > /mail/u001/.qmail',
    'rm /mail/u001/.qmail',
    /mail is delivered into mbox files: \/mail\/u001\/\.qmail; a message that OLD still had to deliver itself/,
  ],
  [
    'a name of NEW that nobody knows',
    'new',
    'cp -p /var/qmail/control/me /root/me; echo nowhere.orchard.example > /var/qmail/control/me',
    'mv /root/me /var/qmail/control/me',
    /OLD .*: the DNS there has no address for nowhere\.orchard\.example, the name of NEW/,
  ],
];

describe('plan', () => {
  let here: QmailScene;
  const logs = new Map<readonly Case[], string>();

  beforeAll(async () => {
    here = await QmailScene.start('snapshot');
    const { lab } = here;
    const strategies = [
      [refusals, 'snapshot'],
      [warnings, 'snapshot'],
      [redirectWarnings, 'redirect'],
    ] as const;
    for (const [cases, strategy] of strategies) {
      for (const [, side, change] of cases) await lab.host(side).mustSh(change);
      logs.set(cases, await said({ qmail: { strategy } }));
      for (const [, side, , undo] of cases) await lab.host(side).mustSh(undo);
    }
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

  async function said(file: Record<string, unknown> = {}): Promise<string> {
    const { lab, migration } = here;
    await migration.write({
      ...migrationFile(lab),
      ...qmailFile('snapshot'),
      ...withoutDns,
      ...file,
    });
    const before = await state();
    const told = await migration.run('plan');
    expect(await state()).toEqual(before);
    return told.log;
  }

  test.each(refusals)('%s', (_what, _side, _change, _undo, expected) => {
    expect(logs.get(refusals)).toMatch(expected);
  });

  test.each(warnings)('%s', (_what, _side, _change, _undo, expected) => {
    expect(logs.get(warnings)).toMatch(expected);
  });

  test.each(redirectWarnings)('redirect: %s', (_what, _side, _change, _undo, expected) => {
    expect(logs.get(redirectWarnings)).toMatch(expected);
  });

  test('nothing where nothing is wrong, and a domain that nobody knows', {
    timeout: 60_000,
  }, async () => {
    const found = await said();
    expect(found.match(/^(?:error|warning): .*/gm) ?? []).toEqual([]);
    const more = await said({ domains: [...Object.values(domains), 'stray.example'] });
    expect(more).toMatch(/OLD .*: stray\.example stands neither in locals nor in virtualdomains/);
  });

  test('a qmail that is somewhere else', { timeout: 60_000 }, async () => {
    const told = await said({ qmail: { strategy: 'snapshot', path: '/opt/qmail' } });
    expect(told).toContain(
      'there is no qmail in /opt/qmail. Cure: install it there, or set qmail.path',
    );
  });

  test('an SSH server with old algorithms only, and the switch for it; a NEW that OLD does not reach', {
    timeout: 120_000,
  }, async () => {
    const { lab } = here;
    await lab.host('old').mustSh(`mkdir -p /run/sshd
      /usr/sbin/sshd -p 2222 -o PidFile=/run/old-sshd.pid -o KexAlgorithms=diffie-hellman-group14-sha1 -o HostKeyAlgorithms=ssh-rsa \\
        -o PubkeyAcceptedAlgorithms=+ssh-rsa -o Ciphers=aes128-cbc -o MACs=hmac-sha1`);
    const old = { ...(migrationFile(lab).old as Record<string, unknown>), port: 2222 };
    const refused = await said({ old });
    expect(refused).toMatch(
      /OLD \(10\.77\.0\.11\): its SSH server offers only old algorithms .*set legacy-algorithms: true/,
    );
    await lab
      .host('new')
      .mustSh(
        'svc -d /etc/service/qmail-smtpd; while ss -Hltn "sport = :25" | grep -q .; do sleep 0.1; done',
      );
    const taken = await said({ old: { ...old, 'legacy-algorithms': true } });
    expect(taken).not.toContain('old algorithms');
    expect(taken).toContain(
      "OLD can't reach port 25 of NEW at 10.77.0.12 (Connection refused), by which late mail goes there",
    );
  });
});
