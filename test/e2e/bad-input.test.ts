import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { StageName } from '../../src/actions/stages.ts';
import type { ActionResult } from '../../src/driver/run-action.ts';
import type { Lab } from '../lab/lab.ts';
import { mustRun } from '../lab/process.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { domains, mailName, network, outside, password, tsig } from '../lab/world.ts';
import { dnsCredentials, Migration, migrationFile } from './migration.ts';
import { entries, oddNames, plantOddNames } from './odd-names.ts';
import * as standIn from './stand-ins.ts';
import { differences, traces } from './traces.ts';

/*
 * Bad input against real hosts, with the built actions: each is refused in one clear line that says
 * what, where and what next, and leaves both hosts and the zones as they were. At the end one good
 * migration, with every odd name that a Maildir may hold.
 */

let lab: Lab;
let migration: Migration;
const undo: standIn.Undo[] = [];

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 10, messagesPerMailbox: 5 }));
  // sudo leaves a mark in the home of an administrator who uses it for the first time.
  for (const name of ['old', 'new'] as const) {
    for (const user of ['admin', 'operator']) {
      const stdin = `${password}\n`;
      await lab.host(name).mustSh('su "$1" -c "sudo -k -S -p \'\' true"', [user], { stdin });
    }
  }
  migration = await Migration.create(lab);
});
/** The traces as they are, as long as nobody but `untouched` has been at the hosts. */
let known: readonly string[] | undefined;
afterEach(async () => {
  if (undo.length > 0) known = undefined;
  for (const step of undo.splice(0).reverse()) await step();
});
afterAll(async () => {
  await migration?.remove();
  await lab?.stop();
});

type Changes = Record<string, unknown>;
interface Case {
  readonly stage?: StageName;
  readonly file?: Changes;
  readonly inputs?: Record<string, string>;
}

/** Runs a stage and demands that nothing was touched, whatever its outcome. */
async function untouched({ stage = 'plan', file = {}, inputs = {} }: Case): Promise<ActionResult> {
  await migration.write(migrationFile(lab, file));
  const before = (undo.length === 0 && known) || (await traces(lab));
  const result = await migration.run(stage, inputs);
  known = await traces(lab);
  expect(differences(before, known)).toEqual([]);
  expect(result.log).not.toContain('    at ');
  return result;
}

function errorLines({ log }: ActionResult): string[] {
  const lines = log.split('\n').filter((line) => line.startsWith('error: '));
  return lines.map((line) => line.slice('error: '.length));
}

/** A stage that must be refused with these lines and no others. */
async function refused(input: Case, ...expected: (string | RegExp)[]): Promise<void> {
  const result = await untouched(input);
  expect(errorLines(result)).toEqual(
    expected.map((line) =>
      typeof line === 'string' ? expect.stringContaining(line) : expect.stringMatching(line),
    ),
  );
  expect(result.code).toBe(1);
  expect(result.outputs).toEqual({});
}

const host = (name: 'old' | 'new', changes: Changes = {}): Changes => ({
  address: lab.host(name).address,
  user: 'root',
  'host-keys': [...lab.host(name).hostKeys],
  ...changes,
});

/** The address as patterns take it. */
const at = { old: `OLD \\(${network.old.v4}\\)`, new: `NEW \\(${network.new.v4}\\)` };

const zone = (changes: Changes, records: readonly Changes[] = []) => ({
  dns: [
    {
      zone: domains.virtual,
      provider: 'rfc2136',
      server: network.dns.v4,
      ttl: 5,
      records:
        records.length > 0 ? records : [{ name: mailName, type: 'A', values: [network.new.v4] }],
      ...changes,
    },
  ],
});

describe('a good plan changes nothing', () => {
  it('as root', async () => {
    const result = await untouched({});
    expect(result.log).not.toContain('error: ');
    expect(result.code).toBe(0);
    expect(result.outputs).toMatchObject({ state: 'untouched', changed: 'false' });
  });

  it('as a user with sudo, without a password and with one', async () => {
    const admin = { old: host('old', { user: 'admin' }), new: host('new', { user: 'operator' }) };
    const result = await untouched({ file: admin, inputs: { 'sudo-password': password } });
    expect(errorLines(result)).toEqual([]);
    expect(result.code).toBe(0);
  });

  it('with a sudo password of odd characters', async () => {
    const odd = `  s'p "a$c\\e" \`#!%ü€ & `;
    for (const name of ['old', 'new'] as const) {
      const kept = await lab.host(name).mustSh('getent shadow operator | cut -d: -f2');
      const set = (flag: string, word: string) =>
        lab.host(name).mustSh(`chpasswd ${flag}`, [], { stdin: `operator:${word}\n` });
      await set('', odd);
      undo.push(() => set('-e', kept.trim()));
    }
    const operator = { user: 'operator' };
    const file = { old: host('old', operator), new: host('new', operator) };
    const result = await untouched({ file, inputs: { 'sudo-password': odd } });
    expect(errorLines(result)).toEqual([]);
    expect(result.code).toBe(0);
    expect(result.log).not.toContain(odd.trim());
  });

  it('nor does a dry run', async () => {
    const result = await untouched({ stage: 'prepare', inputs: { 'dry-run': 'true' } });
    expect(errorLines(result)).toEqual([]);
    expect(result.log).toContain('would: Fence NEW');
    expect(result.outputs).toMatchObject({ state: 'untouched', changed: 'false' });
  });
});

describe('the way in', () => {
  it('OLD and NEW by two addresses of one machine', async () => {
    const file = { new: host('old', { address: network.old.v6 }) };
    await refused({ file }, /^OLD and NEW are the same host.* Cure: correct old.address/);
  });

  it('an SSH key that the host does not know', async () => {
    const path = `${lab.folder}/stranger`;
    await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path]);
    const stranger = await mustRun(['cat', path]);
    await refused(
      { inputs: { 'new-ssh-key': stranger } },
      new RegExp(`^${at.new}: root@.* port 22 refused the SSH key\\. Add its public half`),
    );
  });

  it('a changed host key: names the one that was seen', async () => {
    const file = { old: host('old', { 'host-keys': [...lab.host('new').hostKeys] }) };
    const [seen = ''] = lab.host('old').hostKeys;
    await refused({ file }, new RegExp(`^${at.old}: host key refused: saw .*${escaped(seen)}`));
  });

  it('a port where nothing listens, and a name that does not exist', async () => {
    await refused(
      { file: { old: host('old', { port: 2222 }) } },
      new RegExp(
        `^${at.old}: can't connect to root@${network.old.v4} port 2222: .*Check the address`,
      ),
    );
    await refused(
      { file: { new: host('new', { address: 'nowhere.orchard.example' }) } },
      /^NEW \(nowhere\.orchard\.example\): can't connect to .*Check the address/,
    );
  });

  it('an address where no host is', async () => {
    await refused(
      { file: { new: host('new', { address: '10.77.0.99' }) } },
      /^NEW \(10\.77\.0\.99\): can't connect to root@10\.77\.0\.99 port 22: .*EHOSTUNREACH/,
    );
  });

  it('sudo without its password, with a wrong one, for a user who may not', async () => {
    // sudo writes to the administrator about a failed attempt; that mail is its own, so it is off here.
    for (const name of ['old', 'new'] as const) {
      const file = '/etc/sudoers.d/quiet';
      const text = 'Defaults !mail_badpass, !mail_no_user\n';
      await lab.host(name).mustSh(`umask 227; cat > ${file}`, [], { stdin: text });
      undo.push(() => lab.host(name).mustSh(`rm ${file}`));
    }
    const operator = { old: host('old', { user: 'operator' }) };
    await refused(
      { file: operator },
      new RegExp(`^${at.old}: sudo wants a password of operator.*Set the input sudo-password`),
    );
    await refused(
      { file: operator, inputs: { 'sudo-password': 'not this one' } },
      new RegExp(`^${at.old}: sudo refused the password of operator\\. Check the input`),
    );
    await lab
      .host('new')
      .mustSh(
        'mkdir -m 700 ~anna/.ssh; cp ~root/.ssh/authorized_keys ~anna/.ssh/; chown -R anna: ~anna/.ssh',
      );
    undo.push(() => lab.host('new').mustSh('rm -r ~anna/.ssh'));
    await refused(
      { file: { new: host('new', { user: 'anna' }) }, inputs: { 'sudo-password': password } },
      new RegExp(`^${at.new}: anna may not use sudo there\\. Allow it in sudoers`),
    );
  });
});

describe('the migration file against the hosts', () => {
  it('an unknown mail system', async () => {
    await refused({ file: { 'mail-system': 'exim' } }, /mail-system: "exim" is not one of/);
  });

  it('a store and a carried path that do not exist', async () => {
    await refused(
      { file: { stores: ['/var/vmail', '/srv/no mail\nhere'], carry: ['/etc/no-such-file'] } },
      `OLD (${network.old.v4}): the store /srv/no mail\\nhere does not exist. Cure: correct stores`,
      `OLD (${network.old.v4}): the path /etc/no-such-file does not exist. Cure: correct carry`,
    );
  });

  it("an address that is not NEW's", async () => {
    await refused(
      { file: zone({}, [{ name: mailName, type: 'A', values: ['10.77.0.99'] }]) },
      /^mail\.orchard\.example A 10\.77\.0\.99 is not an address of NEW, which has 10\.77\.0\.12/,
    );
  });

  it("only some of OLD's domains", async () => {
    await refused(
      { file: { domains: [domains.virtual, domains.local] } },
      new RegExp(
        `^${at.old}: it also serves attic\\.example, and a part of a server can't be moved`,
      ),
      new RegExp(`^${at.new}: it also serves attic\\.example, and two servers can't be merged`),
    );
  });
});

describe('NEW with something of its own', () => {
  it('a listener on a mail port, and one where late mail shall come in', async () => {
    undo.push(await standIn.listener(lab.host('new'), 24));
    undo.push(await standIn.listener(lab.host('new'), 10125));
    await refused(
      {},
      new RegExp(`^${at.new}: perl listens on port (24|10125) and is not part`),
      new RegExp(`^${at.new}: perl listens on port (24|10125) and is not part`),
    );
  });

  it('a mailbox, also one where OLD has no store', async () => {
    const target = lab.host('new');
    const plant = async (path: string) => {
      await target.mustSh('mkdir -p "$1/cur"; echo > "$1/cur/1.M1P1.new:2,S"', [path]);
      undo.push(() => target.mustSh('rm -r "$1"', [path]));
    };
    await plant(`/var/vmail/${domains.virtual}/own`);
    await target.mustSh('useradd -m -u 1500 carol');
    undo.push(() => target.mustSh('userdel -r carol 2>/dev/null'));
    await plant('/home/carol/Maildir');
    await refused(
      {},
      new RegExp(`^${at.new}: it holds mail already \\(/var/vmail/orchard\\.example/own/cur/`),
      new RegExp(`^${at.new}: it holds mail already \\(/home/carol/Maildir/cur/1`),
    );
  });

  it('a queue, whether its Postfix runs or not', async () => {
    const target = lab.host('new');
    await target.mustSh(
      `postconf -e defer_transports=smtp; postfix reload 2>/dev/null
       printf 'Subject: own\\n\\n.\\n' | sendmail "friend@$1"
       for i in $(seq 200); do
         if [ -n "$(find /var/spool/postfix/deferred -type f)" ]; then break; fi
         sleep 0.05
       done
       systemctl stop postfix@-.service`,
      [outside.domain],
    );
    undo.push(() =>
      target.mustSh(
        `postsuper -d ALL 2>/dev/null; postconf -X defer_transports; systemctl start postfix@-.service`,
      ),
    );
    await refused(
      {},
      new RegExp(`^${at.new}: 1 message is in its queue\\. Cure: deliver or delete`),
    );
  });

  it('no room: too few bytes, too few inodes', async () => {
    undo.push(await standIn.smallDisk(lab.host('new'), '/var/vmail', 'size=64k'));
    await refused(
      {},
      new RegExp(`^${at.new}: /var/vmail has 0\\.\\d MiB free, but OLD's mail takes`),
    );
    await undo.pop()?.();
    undo.push(await standIn.smallDisk(lab.host('new'), '/var/vmail', 'size=64m,nr_inodes=20'));
    await refused({}, new RegExp(`^${at.new}: /var/vmail has \\d+ free inodes, but OLD's mail`));
  });
});

describe('the zone', () => {
  it('that the key may not change', async () => {
    const file = zone({ zone: domains.local }, [
      { name: `mail.${domains.local}`, type: 'A', values: [network.new.v4] },
    ]);
    await refused(
      { file },
      /^No DNS update of villa\.example at .*\(REFUSED\)\. Cure: allow it in/,
    );
  });

  it('that the server does not serve', async () => {
    const file = zone({ zone: 'foreign.example' }, [
      { name: 'mail.foreign.example', type: 'A', values: [network.new.v4] },
    ]);
    await refused({ file }, /not the primary of zone foreign\.example.* Cure: correct `server`/);
  });

  it('with a server that does not answer', async () => {
    await refused(
      { file: zone({ port: 5353 }) },
      /port 5353 of zone orchard\.example does not answer \(connection refused\)\. Cure: check/,
    );
  });

  it.each(['plan', 'prepare'] as const)('with a wrong TSIG secret, in %s', async (stage) => {
    const wrong = Buffer.from('not the secret of the server').toString('base64');
    const inputs = { 'dns-credentials': `${tsig.algorithm}:${tsig.name}:${wrong}` };
    await refused(
      { stage, inputs },
      /the secret of TSIG key mail-cutover is not the server's \(BADSIG\)\. Cure: correct dns-cred/,
    );
  });

  it('with an unknown TSIG key', async () => {
    const inputs = { 'dns-credentials': dnsCredentials.replace(tsig.name, 'stranger') };
    await refused({ inputs }, /the server does not know TSIG key stranger .*\(BADKEY\)\. Cure:/);
  });

  it('without a key: a plan says so, prepare is refused', async () => {
    const inputs = { 'dns-credentials': '' };
    const plan = await untouched({ inputs });
    expect(plan.code).toBe(0);
    expect(plan.log).toContain('whether it can be changed was not tried');
    await refused(
      { stage: 'prepare', inputs },
      /can't be changed without its TSIG key\. Cure: give it as the input dns-credentials/,
    );
  });
});

describe('out of order', () => {
  it('every stage on untouched hosts, and a dry run too', async () => {
    const reasons = [
      ['transfer', { pass: 'live' }, 'NEW is not prepared. Run prepare first'],
      ['freeze', {}, 'Run transfer with pass: live first'],
      ['transfer', { pass: 'final' }, 'OLD is not frozen'],
      ['activate', {}, 'the final pass has not been made'],
      ['activate', { 'dry-run': 'true' }, 'the final pass has not been made'],
      ['dns-cutover', {}, 'NEW does not serve yet'],
      ['drain', {}, 'NEW does not serve yet'],
      ['finish', {}, 'Run drain first'],
    ] as const;
    await migration.write(migrationFile(lab));
    const before = await traces(lab);
    for (const [stage, inputs, reason] of reasons) {
      const result = await migration.run(stage, inputs);
      expect(errorLines(result)).toEqual([
        expect.stringMatching(
          `^${stage} is out of order: .*${escaped(reason)}.*its next stage is prepare`,
        ),
      ]);
      expect([result.code, result.outputs]).toEqual([1, {}]);
    }
    known = await traces(lab);
    expect(differences(before, known)).toEqual([]);
  });

  it('a plan that is not the one that was approved', async () => {
    await refused(
      { stage: 'prepare', inputs: { 'plan-digest': 'f'.repeat(64) } },
      /^the plan is not the one that was approved: it was f{12}…, it is [0-9a-f]{12}…\. Run plan again/,
    );
  });
});

describe('recognised and refused by name (stand-ins for such systems)', () => {
  const images = (list: string) => `[ "$1" = ps ] && printf '%s\\n' '${list}'`;
  const docker = '/usr/local/bin/docker';
  const cure = 'Cure: move it with its own tools';

  it.each([
    ['mailcow', 'mailcow/postfix:1.80 mailcowdockerized-postfix-mailcow-1 0.0.0.0:25->25/tcp'],
    ['docker-mailserver', 'ghcr.io/docker-mailserver/docker-mailserver:15.1 mailserver 25->25/tcp'],
    ['Mailu', 'ghcr.io/mailu/front:2024.06 mailu-front-1 0.0.0.0:25->25/tcp'],
    ['mail in containers', 'example/own:1 own 0.0.0.0:80->80/tcp, 0.0.0.0:143->143/tcp'],
  ])('%s', async (name, image) => {
    // Many containers, one line.
    const list = `redis:7 other 6379/tcp\n${image}\n${image}`;
    undo.push(await standIn.added(lab.host('old'), docker, images(list)));
    await refused({}, new RegExp(`^${at.old}: it runs ${name} \\(docker: .*can't move\\. ${cure}`));
  });

  it('containers without mail are no fault', async () => {
    const list = 'roundcube/roundcubemail:1.6 webmail 0.0.0.0:443->443/tcp';
    undo.push(await standIn.added(lab.host('old'), docker, images(list)));
    expect(errorLines(await untouched({}))).toEqual([]);
  });

  it('Exim, Sendmail, Cyrus, Courier: a line each', async () => {
    const old = lab.host('old');
    undo.push(await standIn.mark(old, '/usr/sbin/exim4'));
    undo.push(await standIn.mark(old, '/usr/lib/cyrus/'));
    undo.push(await standIn.mark(old, '/etc/courier/'));
    const program = '/usr/sbin/sendmail';
    await old.mustSh('mv "$1" "$1.kept"; mkdir /usr/lib/sm.bin', [program]);
    undo.push(() => old.mustSh('mv -f "$1.kept" "$1"; rm -r /usr/lib/sm.bin', [program]));
    await old.mustSh(
      'cp -L "$1.kept" /usr/lib/sm.bin/sendmail; ln -s /usr/lib/sm.bin/sendmail "$1"',
      [program],
    );
    await refused(
      {},
      `it runs Exim (/usr/sbin/exim4), which this suite can't move. Cure: `,
      `it runs Sendmail (/usr/sbin/sendmail), which this suite can't move. Cure: `,
      `it runs Cyrus IMAP (/usr/lib/cyrus), which this suite can't move. Cure: `,
      `it runs Courier (/etc/courier), which this suite can't move. Cure: `,
    );
  });

  it('dsync replication and mail_crypt, by real configuration of Dovecot', async () => {
    const text = `
mail_plugins = $mail_plugins notify replication mail_crypt
plugin {
  mail_replica = tcp:192.0.2.1
  mail_crypt_save_version = 2
}
`;
    undo.push(await standIn.appended(lab.host('old'), '/etc/dovecot/dovecot.conf', text));
    await refused(
      {},
      /^OLD .*: it runs dsync replication .*Cure: end the replication first/,
      /^OLD .*: it runs mail_crypt .*Cure: decrypt the mail first/,
    );
  });

  it('more than one instance of Postfix, by real configuration', async () => {
    const text = '\nmulti_instance_enable = yes\nmulti_instance_directories = /etc/postfix-out\n';
    undo.push(await standIn.appended(lab.host('old'), '/etc/postfix/main.cf', text));
    await refused(
      {},
      /^OLD .*: it runs several instances of Postfix \(\/etc\/postfix-out\).*Cure: /,
    );
  });

  it('a store on NFS', async () => {
    const nfs = `for path; do :; done
if [ "$1 $2 $3" = '-f -c %T' ] && [ "$path" = /var/vmail ]; then echo nfs; else exec "$real" "$@"; fi`;
    undo.push(await standIn.instead(lab.host('old'), '/usr/bin/stat', nfs));
    await refused(
      {},
      new RegExp(`^${at.old}: the store /var/vmail lies on nfs.*Cure: bring it to a local disk`),
    );
  });

  it('a BSD without GNU tools', async () => {
    // The traces are listed by GNU find, so before the stand-ins come and after they are gone.
    const before = await traces(lab);
    undo.push(await standIn.instead(lab.host('old'), '/usr/bin/uname', 'echo FreeBSD'));
    const strict = `case $* in *--version*|*-printf*) echo 'find: unknown option' >&2; exit 1 ;; esac
exec "$real" "$@"`;
    undo.push(await standIn.instead(lab.host('old'), '/usr/bin/find', strict));
    await migration.write(migrationFile(lab));
    const result = await migration.run('plan');
    expect(errorLines(result)).toEqual([
      `OLD (${network.old.v4}): it is a FreeBSD without GNU tools, which this suite can't work on. Cure: use a Linux host with GNU coreutils and findutils`,
    ]);
    expect(result.code).toBe(1);
    for (const step of undo.splice(0).reverse()) await step();
    expect(differences(before, await traces(lab))).toEqual([]);
  });

  it('Dovecot 2.3 to 2.4 with copy; with prepared it is none', async () => {
    const newer = `"$real" "$@" | sed '1s/^# 2\\.3[^ ]*/# 2.4.2/; /^mail_location/d'`;
    undo.push(await standIn.instead(lab.host('new'), '/usr/bin/doveconf', newer));
    await refused(
      { file: { provision: 'copy' } },
      /^Dovecot 2\.3\.\S+ on OLD and 2\.4\.2 on NEW: their configuration can't be copied\. Cure: set NEW up/,
    );
    expect(errorLines(await untouched({}))).toEqual([]);
  });

  it('a missing tool is named', async () => {
    await lab.host('new').mustSh('mv /usr/bin/rsync /usr/bin/rsync.kept');
    undo.push(() => lab.host('new').mustSh('mv /usr/bin/rsync.kept /usr/bin/rsync'));
    await refused({}, `NEW (${network.new.v4}): the program rsync is missing. Cure: install rsync`);
  });
});

describe('mailboxes with odd names move like any other', () => {
  const store = `/var/vmail/${domains.virtual}`;

  it('to the byte, and no stage out of order or dry run touches anything on the way', async () => {
    await plantOddNames(lab.host('old'), `${store}/u001/Maildir`, store);
    known = undefined;
    const file = {
      name: 'odd',
      dns: [],
      cutover: 'address',
      'address-command': ['true'],
      options: { verify: 'full', 'drain-quiet-seconds': 1 },
    };
    const dry = async (stage: StageName, inputs: Record<string, string> = {}) => {
      const result = await untouched({ stage, file, inputs: { ...inputs, 'dry-run': 'true' } });
      expect(errorLines(result)).toEqual([]);
      expect(result.code).toBe(0);
    };
    const must = async (stage: StageName, inputs: Record<string, string> = {}) => {
      await migration.write(migrationFile(lab, file));
      const result = await migration.must(stage, inputs);
      known = undefined;
      return result;
    };
    await dry('prepare');
    await must('prepare');
    await refused({ stage: 'freeze', file }, /^freeze is out of order: no live pass has run/);
    await dry('transfer', { pass: 'live' });
    await must('transfer', { pass: 'live' });
    await refused({ stage: 'activate', file }, /^activate is out of order: the final pass has not/);
    await dry('freeze');
    await must('freeze');
    await refused({ stage: 'activate', file }, /^activate is out of order: the final pass has not/);
    await dry('transfer', { pass: 'final' });
    const final = await must('transfer', { pass: 'final' });
    expect(final.outputs).toMatchObject({ state: 'transferred' });

    const there = await entries(lab.host('old'), '/var/vmail');
    expect(there.length).toBeGreaterThan(10 * oddNames);
    expect(await entries(lab.host('new'), '/var/vmail')).toEqual(there);
    expect(await entries(lab.host('new'), '/home/anna/Maildir')).toEqual(
      await entries(lab.host('old'), '/home/anna/Maildir'),
    );
    await dry('activate');
    await refused(
      { stage: 'freeze', file },
      /^freeze is out of order: the final pass has been made/,
    );
  });
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}
