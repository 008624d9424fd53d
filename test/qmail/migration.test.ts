import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '../lab/process.ts';
import { makeCdb, vpasswdLine, vpopmailDomain } from '../lab/qmail/vpopmail-files.ts';
import { network } from '../lab/world.ts';
import { type SmtpConnection, SmtpGone } from '../rehearsal/smtp-client.ts';
import { openSession } from '../rehearsal/transaction.ts';
import { ControlWatch } from './control-watch.ts';
import { folder, QmailScene, withoutDns } from './scene.ts';

/*
 * Both strategies there and back, under each kind of supervisor. With QMAIL_TREE the same against a
 * real qmail.
 */

/** Of users/assign, of an account, and of vpopmail, whose folder is one that a hash has chosen. */
const everybody = ['u001@orchard.example', 'anna@villa.example', 'dario@attic.example'] as const;

async function sendAll(here: QmailScene, side: 'old' | 'new'): Promise<string[]> {
  return Promise.all(everybody.map((to) => here.send(side, to)));
}

const serving = { pop3: true, delivers: true };
const closed = { pop3: false, delivers: false };

/** No systemd, no sudo, and coreutils without the options that came in 2013 and 2016. */
const makeOld = `
mv /usr/bin/systemctl /usr/bin/sudo /root/
for pair in 'df --output' 'comm -z'; do
  tool=\${pair% *}
  printf '#!/bin/sh\\ncase " $* " in *" %s"*) echo "%s: unknown option" >&2; exit 1 ;; esac\\nexec /usr/bin/%s "$@"\\n' "\${pair#* }" "$tool" "$tool" > "/usr/local/bin/$tool"
  chmod 755 "/usr/local/bin/$tool"
done`;

describe('redirect, under runit, at first on an OLD without systemd and sudo', () => {
  let here: QmailScene;
  const ids: string[] = [];
  let watches: readonly ControlWatch[];
  let digest = '';

  beforeAll(async () => {
    here = await QmailScene.start('redirect', { supervisor: 'runit' });
    await here.lab.host('old').mustSh(makeOld);
    const files = ['me', 'locals', 'rcpthosts', 'morercpthosts', 'virtualdomains'];
    watches = [
      await ControlWatch.start(here.lab.host('old'), files),
      await ControlWatch.start(here.lab.host('new'), files),
    ];
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  test('the watch of control files sees one that is written in place', {
    timeout: 60_000,
  }, async () => {
    const watch = await ControlWatch.start(here.lab.host('old'), ['scratch']);
    await here.lab
      .host('old')
      .mustSh(
        'cd /var/qmail/control; i=0; while [ $i -lt 20 ]; do i=$((i + 1)); printf "a\\n" | cat > scratch; done; rm scratch',
      );
    expect([...((await watch.end()).get('scratch') ?? [])]).toContain('');
  });

  test('in the freeze OLD accepts everything and delivers nothing', {
    timeout: 240_000,
  }, async () => {
    await here.upTo('freeze');
    ids.push(...(await sendAll(here, 'old')));
    await here.lab.host('old').mustSh('pkill -ALRM -x qmail-send');
    expect(await here.serves('old')).toEqual(closed);
    await here.waitsOnOld(ids);
  });

  test('cron thaws OLD at the limit without a runner, and nothing bounces on its way home', {
    timeout: 240_000,
  }, async () => {
    const old = here.lab.host('old');
    await old.mustSh(`printf 0 > ${folder}/deadline`);
    await waitFor('cron has thawed OLD', 120, async () => {
      const { code } = await old.sh('[ ! -e /etc/cron.d/mail-cutover-orchard ]');
      return code === 0;
    });
    await here.onceOn('old', ids);
    expect(await here.serves('old')).toEqual(serving);
    await old.mustSh('mv /root/systemctl /root/sudo /usr/bin/');
    const { code, log } = await here.migration.run('transfer', { pass: 'final' });
    expect([code, log]).toEqual([1, expect.stringContaining('OLD is not frozen')]);
  });

  test('mail that NEW queued before it was activated goes back with a rollback', {
    timeout: 240_000,
  }, async () => {
    const { migration } = here;
    await here.upTo('final');
    const cut = await migration.must('dns-cutover');
    expect(cut.outputs.state).toBe('transferred+cut');
    const [held, early] = await Promise.all([
      here.send('old', everybody[0]),
      here.send('new', everybody[1]),
    ]);
    expect(await here.serves('new')).toEqual(closed);
    await migration.must('rollback');
    const late = await here.send('new', everybody[1]);
    await here.onceOn('old', [held, early, late]);
    const controls = await here.lab
      .host('old')
      .mustSh('cat /var/qmail/control/locals /var/qmail/control/rcpthosts; ls /var/qmail/control');
    expect(controls).not.toMatch(/new\.orchard|smtproutes|concurrency/);
  });

  test('the next attempt goes through; what waited on either host is delivered once', {
    timeout: 300_000,
  }, async () => {
    const { migration } = here;
    await here.upTo('final');
    const waiting = [await here.send('old', everybody[0]), await here.send('new', everybody[2])];
    await migration.must('activate');
    expect(await here.serves('new')).toEqual(serving);
    waiting.push(await here.send('old', everybody[1]));
    await here.onceOn('new', waiting);
    for (const id of waiting) expect(await here.copies('old', id)).toBe(0);
    await migration.must('dns-cutover');
    expect((await migration.must('verify')).log).toMatch(
      /\d+ undo records, as the journal has them/,
    );
    const connected = await openSession({
      ...{ address: network.old.v4, port: 25, timeout: 60_000, serverName: 'old' },
      ...{ heloName: 'post.elsewhere.example', plain: true },
    });
    await here.lab
      .host('old')
      .mustSh('printf "%s stray.elsewhere.example\\n" "$1" >> /etc/hosts', [network.bridge.v4]);
    const said: string[] = [];
    const draining = migration.must('drain', {}, { onLine: (line) => said.push(line) });
    await waitFor('drain waits for who is connected', 60, async () =>
      said.some((line) => line.includes('connections to port 25 of OLD that are open: 1')),
    );
    const last = '<at-the-last-moment@elsewhere.example>';
    await connected.command('MAIL FROM:<post@elsewhere.example>');
    await connected.command(`RCPT TO:<${everybody[1]}>`);
    await connected.command('DATA');
    await connected.body(Buffer.from(`Message-ID: ${last}\r\n\r\nx\r\n`), () => undefined);
    await connected.quit();
    const drained = await draining;
    expect([await here.copies('new', last), await here.queued('old', last)]).toEqual([1, 0]);
    expect(drained.log).toMatch(/10\.77\.0\.1 \(stray\.elsewhere\.example\) by smtp, \d+ times/);
    digest = drained.outputs['plan-digest'] ?? '';
  });

  /** Somebody who has got 354 from port 25 of OLD. */
  async function inData(): Promise<SmtpConnection> {
    const smtp = await openSession({
      ...{ address: network.old.v4, port: 25, timeout: 120_000, serverName: 'old' },
      ...{ heloName: 'post.elsewhere.example', plain: true },
    });
    await smtp.command('MAIL FROM:<post@elsewhere.example>');
    await smtp.command(`RCPT TO:<${everybody[1]}>`);
    expect((await smtp.command('DATA')).code).toBe(354);
    return smtp;
  }

  test('finish locks in no message that OLD has acknowledged', { timeout: 300_000 }, async () => {
    const { migration } = here;
    const old = here.lab.host('old');
    const inputs = { 'plan-digest': digest };
    const own = '<as-qmail-send-ends@elsewhere.example>';
    const injected = old.mustSh(
      '{ while pgrep -x qmail-send > /dev/null; do :; done; printf "Message-ID: %s\n\nx\n" "$1"; } | /var/qmail/bin/qmail-inject -f post@elsewhere.example -- "$2"',
      [own, everybody[1]],
    );
    const refused = await migration.run('finish', inputs);
    await injected;
    expect([refused.code, refused.log]).toEqual([
      1,
      expect.stringContaining('1 messages wait in its queue. OLD runs again'),
    ]);
    await here.onceOn('new', [own]);
    const [slow, silent] = [await inData(), await inData()];
    const finishing = migration.must('finish', inputs);
    await waitFor('tcpserver has gone', 60, async () => {
      return (await old.sh('ss -Hltn "sport = :25"')).stdout === '';
    });
    await old.mustSh('sleep 10');
    const late = '<after-tcpserver@elsewhere.example>';
    const said = await slow.body(Buffer.from(`Message-ID: ${late}\r\n\r\nx\r\n`), () => undefined);
    expect(said.code).toBe(250);
    await slow.quit();
    await finishing;
    expect([await here.copies('new', late), await here.queued('old', late)]).toEqual([1, 0]);
    await expect(silent.body(Buffer.from('x\r\n'), () => undefined)).rejects.toThrow(SmtpGone);
  });

  test('control files were whole at any moment, and OLD stays closed', {
    timeout: 120_000,
  }, async () => {
    const [onOld, onNew] = await Promise.all(watches.map((watch) => watch.end()));
    // There and back, three times: each a whole file at any moment.
    const own = 'localhost\nold.orchard.example\nvilla.example\n';
    const virtual = 'orchard.example:mail\nattic.example:attic.example\n';
    const taken = `${own}orchard.example\n`;
    expect(Object.fromEntries(onOld ?? [])).toEqual({
      me: new Set(['old.orchard.example\n']),
      locals: new Set([own, 'localhost\n']),
      virtualdomains: new Set([virtual, '']),
      rcpthosts: new Set([taken, `${taken}new.orchard.example\n`]),
      morercpthosts: new Set(['attic.example\n']),
    });
    for (const file of ['me', 'locals', 'rcpthosts'])
      for (const text of onNew?.get(file) ?? [undefined]) expect(text).toMatch(/^(?:.+\n)+$/);
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
    await here.upTo('freeze');
    ids.push(...(await sendAll(here, 'old')));
    await Promise.all([lab.host('old').reboot(), lab.host('new').reboot()]);
    for (const side of ['old', 'new'] as const) {
      await lab.host(side).mustSh('svc -u /etc/service/*; sleep 1');
      expect([side, await here.serves(side)]).toEqual([side, closed]);
    }
    await here.waitsOnOld(ids);
    // vpopmail: the home is the domain's folder, not the user's.
    const sticky = await lab.host('old').mustSh('find /home/vpopmail/domains -perm -1000');
    expect(sticky).toBe(`${vpopmailDomain}\n`);
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

  test('a domain of vpopmail comes as it is: its tables, its hashed folders', async () => {
    const of = (side: 'old' | 'new') =>
      here.lab.host(side).mustSh(
        `cd "$1"
         find . -name Maildir -prune -o -printf '%y %m %u:%g %p\\n' | sort
         sha256sum vpasswd vpasswd.cdb .qmail-default .dir-control
         cdb -q vpasswd.cdb dario`,
        [vpopmailDomain],
      );
    const there = await of('old');
    expect(there).toMatch(/^d \d+ vpopmail:vpopmail \.\/0\/dario$/m);
    expect(await of('new')).toBe(there);
  });

  test('service goes back with all that NEW got: mail, and accounts', {
    timeout: 240_000,
  }, async () => {
    const { migration, lab } = here;
    const fresh = lab.host('new');
    const onNew = await sendAll(here, 'new');
    for (const id of onNew) await here.arrived('new', id);
    await fresh.mustSh(
      'mkdir -p /mail/late/Maildir/cur /mail/late/Maildir/new /mail/late/Maildir/tmp; chown -R vmail: /mail/late; printf "=mail-late:vmail:6100:6100:/mail/late:::\\n.\\n" > /root/late; sed -i "/^[.]$/d" /var/qmail/users/assign; cat /root/late >> /var/qmail/users/assign; /var/qmail/bin/qmail-newu; printf "later.example:alias\\n" >> /var/qmail/control/virtualdomains; pkill -HUP -x qmail-send',
    );
    // vadduser of vpopmail: a folder, and a line in both tables.
    await fresh.mustSh(
      `cd "$1"; mkdir -p 0/erik/Maildir/cur 0/erik/Maildir/new 0/erik/Maildir/tmp; printf %s "$2" >> vpasswd; ${makeCdb}; chown -R vpopmail: 0/erik vpasswd*`,
      [vpopmailDomain, vpasswdLine('erik', `${vpopmailDomain}/0/erik`)],
    );
    const refused = await migration.run('rollback');
    expect([refused.code, refused.log]).toEqual([
      1,
      expect.stringMatching(/NEW .*takes mail for later\.example by now, which OLD .*never did/),
    ]);
    await fresh.mustSh(
      'sed -i /later.example/d /var/qmail/control/virtualdomains; pkill -HUP -x qmail-send',
    );
    onNew.push(await here.send('new', 'late@orchard.example'));
    await migration.must('rollback');
    await here.onceOn('old', onNew);
    expect(await here.serves('old')).toEqual(serving);
    expect(await here.serves('new')).toEqual(closed);
    const strays = [
      await here.send('new', everybody[0]),
      await here.send('old', 'late@orchard.example'),
      await here.send('old', 'erik@attic.example'),
    ];
    await here.onceOn('old', strays);
    const [stray = ''] = strays;
    expect(await here.copies('new', stray)).toBe(0);
  });
});

describe.skipIf(process.env.QMAIL_TREE)('redirect, under systemd, in MySQL tables', () => {
  let here: QmailScene;
  const logs: string[] = [];

  beforeAll(async () => {
    // The domain of the tables stands in them only.
    const changes = {
      ...withoutDns,
      domains: ['villa.example', 'attic.example'],
      probe: undefined,
    };
    const options = { supervisor: 'systemd', variant: 'mysql' } as const;
    here = await QmailScene.start('redirect', options, changes);
    here.migration.onLine((line) => logs.push(line));
  }, 300_000);
  afterAll(async () => here?.end(), 60_000);

  const ask = (side: 'old' | 'new', text: string) =>
    here.lab.host(side).mustSh('mariadb -BN qmail -e "$1"', [text]);
  const redirected =
    'select count(*) from virtual; select distinct alias_host from alias order by 1; select host from rcpthosts';

  test('before NEW is activated its tables send back what came there', {
    timeout: 300_000,
  }, async () => {
    await here.upTo('freeze');
    expect(await ask('old', redirected)).toBe('0\n\nelsewhere.example\norchard.example\n');
    const ids = [await here.send('old', everybody[0]), await here.send('new', everybody[0])];
    await here.migration.must('rollback');
    ids.push(await here.send('new', everybody[0]));
    await here.onceOn('old', ids);
    expect(await here.copies('new', ids[1] ?? '')).toBe(0);
  });

  test('tables move with their numbers, hosts are redirected, no password is told', {
    timeout: 300_000,
  }, async () => {
    await here.upTo('freeze');
    const ids = [
      await here.send('old', everybody[0]),
      await here.send('old', 'team@orchard.example'),
    ];
    for (const stage of ['transfer', 'activate'] as const)
      await here.migration.must(stage, stage === 'transfer' ? { pass: 'final' } : {}, {
        debug: true,
      });
    await here.arrived('new', ids[0] ?? '');
    await waitFor(
      'both of the alias',
      60,
      async () => (await here.copies('new', ids[1] ?? '')) === 2,
    );
    expect(await ask('new', 'select distinct uid, gid from mailbox')).toBe('6100\t6100\n');
  });

  test('rows that NEW has got since go back with their numbers', { timeout: 300_000 }, async () => {
    await here.lab.host('new').mustSh('cp -a /mail/u001 /mail/late; rm -f /mail/late/Maildir/*/*');
    await ask(
      'new',
      `insert into mailbox values ('late', 6100, 6100, '/mail/late', 'Späť''s', 'Plain');
       insert into virtual values ('late', 'late', 'orchard.example'), ('late', 'late', 'later.example');
       insert into rcpthosts values ('later.example');
       insert into alias values ('alias', 'two@orchard.example', 'late', '');
       update mailbox set password = 'new-one' where username = 'u001';
       delete from virtual where username = 'u006'; delete from mailbox where username = 'u006'`,
    );
    const onNew = await here.send('new', 'late@orchard.example');
    await here.arrived('new', onNew);
    await here.migration.must('rollback', {}, { debug: true });
    const rows = await ask(
      'old',
      `select uid, gid, home, password from mailbox where username = 'late';
       select password from mailbox where username = 'u001';
       select count(*) from mailbox where username = 'u006'; select distinct uid from mailbox;
       select distinct alias_host from alias order by 1`,
    );
    expect(rows).toBe("5000\t5000\t/mail/late\tSpäť's\nnew-one\n0\n5000\n\nelsewhere.example\n");
    const strays = [
      await here.send('old', 'late@later.example'),
      await here.send('new', 'late@later.example'),
    ];
    await here.onceOn('old', [onNew, ...strays]);
    expect(logs.join('\n')).not.toMatch(/lab-Sql-Passw0rd|new-one/);
  });
});
