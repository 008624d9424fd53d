import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../lab/lab.ts';
import { carry, startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { ids, network, password, special, virtualUser } from '../lab/world.ts';
import { Migration } from './migration.ts';

/**
 * NEW is Debian with its packages and nothing else: no user of OLD's, none of its settings. The
 * numbers of OLD's owners belong to others there.
 */

/** What aliases run is the user's to bring. */
const pipeProgram = '/usr/local/bin/to-piped';

const strangers = `
groupadd -g ${ids.old.vmail} stranger; useradd -u ${ids.old.vmail} -g ${ids.old.vmail} -M stranger
useradd -u ${ids.old.anna} -U -M other; useradd -u ${ids.old.bert} -U -M another
chown -R opendkim:opendkim /etc/dkimkeys
chown root:dovecot /etc/dovecot/*.ext
hostname -F /etc/hostname
postconf -e "myhostname=new"
`;

/** Everything about /etc that a file system can tell; not the spare copies that passwd(5) tools keep. */
const listEtc = `
cd /etc
find . ! -name 'passwd-' ! -name 'group-' ! -name 'shadow-' ! -name 'gshadow-' ! -name 'subuid-' ! -name 'subgid-' ! -name .pwd.lock \\
  \\( -type f -printf '%p %m %u:%g %n ' -exec sha256sum {} \\; -o -printf '%y %p %m %u:%g %l\\n' \\) | sort
`;

let lab: Lab;
let migration: Migration;
let plan: string;
let before: string;

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 5, messagesPerMailbox: 10 }));
  const target = lab.host('new');
  await target.powerCut();
  await target.boot({ layer: '' });
  await target.mustSh(strangers);
  await lab
    .host('old')
    .mustSh(
      `postconf -e 'smtp_bind_address6 = ${network.old.v6}' 'debug_peer_list = ${network.old.v4}0 ${network.old.v4}'; postfix reload`,
    );
  migration = await Migration.create(lab, {
    provision: 'copy',
    cutover: 'address',
    'address-command': ['true'],
    dns: [],
    carry: [...carry, pipeProgram],
  });
  before = await target.mustSh(listEtc);
});

afterAll(async () => {
  await migration?.remove();
  await lab?.stop();
});

const accounts = 'getent passwd vmail anna bert; getent group vmail anna bert; getent shadow anna';

describe('provision: copy', () => {
  it('plans for a NEW without configuration, and names what is missing', async () => {
    const target = lab.host('new');
    await target.mustSh('mv /usr/lib/dovecot/managesieve /usr/lib/dovecot/managesieve.away');
    const refused = await migration.run('plan');
    expect(refused.code).not.toBe(0);
    expect(refused.log).toContain('install dovecot-managesieved');
    await target.mustSh('mv /usr/lib/dovecot/managesieve.away /usr/lib/dovecot/managesieve');
    const result = await migration.must('plan');
    expect(result.log).toContain(
      `${pipeProgram}, which OLD's aliases or transports run, is missing`,
    );
    plan = result.outputs['plan-digest'] ?? '';
  });

  it('is taken back to the byte by rollback', async () => {
    const target = lab.host('new');
    await migration.must('prepare');
    expect(await target.mustSh(listEtc)).not.toBe(before);
    await migration.must('rollback');
    expect(await target.mustSh(listEtc)).toBe(before);
    expect((await target.sh(accounts)).stdout).toBe('');
  });

  it('brings accounts under free numbers, and the configuration rewritten', async () => {
    const target = lab.host('new');
    const { log } = await migration.must('prepare', { 'plan-digest': plan });
    expect(log).toContain('-virtual_uid_maps = static:5000');
    const hash = (await lab.host('old').mustSh('getent shadow anna')).split(':')[1] ?? '';
    expect(hash).not.toBe('');
    expect(log).not.toContain(hash);
    expect(log).not.toContain('SHA512-CRYPT');
    expect((await target.mustSh('getent shadow anna')).split(':')[1]).toBe(hash);
    for (const name of ['vmail', 'anna', 'bert'] as const) {
      const number = Number(await target.mustSh('id -u "$1"', [name]));
      expect(number).not.toBe(ids.old[name]);
    }
    const vmail = (await target.mustSh('id -u vmail')).trim();
    expect(
      await target.mustSh('postconf -h virtual_uid_maps smtp_bind_address6 debug_peer_list'),
    ).toBe(`static:${vmail}\n${network.new.v6}\n${network.old.v4}0 ${network.new.v4}\n`);
    expect(await target.mustSh('stat -c %a:%U:%G /home/anna')).toBe(
      await lab.host('old').mustSh('stat -c %a:%U:%G /home/anna'),
    );
    const secrets = await target.sh(
      'cd /var/lib/mail-cutover/orchard; ls -d staging; grep -F -- "$1" journal*',
      [hash],
    );
    expect(secrets.stdout).toBe('');
  });

  it('sees what is done when it is run again, and copies again when OLD has changed', async () => {
    const again = await migration.must('prepare', { 'plan-digest': plan });
    expect(again.outputs.changed).toBe('true');
    expect(again.log.match(/already done/g)?.length).toBeGreaterThanOrEqual(5);
    await lab.host('old').mustSh('postconf -e message_size_limit=41943040; postfix reload');
    await migration.must('prepare', { 'plan-digest': plan });
    expect(
      await lab
        .host('new')
        .mustSh('postconf -h message_size_limit; postconf -M 10125/inet | wc -l'),
    ).toBe('41943040\n1\n');
  });

  it('serves on NEW as OLD did', async () => {
    await migration.must('transfer', { pass: 'live' });
    // After `prepare`: a password is changed, and a user is made.
    await lab
      .host('old')
      .mustSh(`printf 'anna:later\\n' | chpasswd; useradd -m -s /bin/bash -p "$1" carl`, [
        (await lab.host('old').mustSh('getent shadow bert')).split(':')[1] ?? '',
      ]);
    await migration.must('freeze');
    const final = await migration.must('transfer', { pass: 'final' });
    expect(final.log).toContain('made: carl; new passwords: anna');
    await migration.must('activate');
    await migration.must('verify');
    const target = lab.host('new');
    const recipients = [
      virtualUser(1),
      ...special.localUsers,
      ...special.atticUsers,
      'pipe@villa.example',
    ];
    const mailboxes = [virtualUser(1), 'anna', 'bert', ...special.atticUsers, special.piped];
    await target.mustSh(
      `for to; do printf 'Subject: copied\\nMessage-ID: <copied-%s@lab>\\n\\nx\\n' "$to" | sendmail -f sender@elsewhere.example "$to"; done`,
      recipients,
    );
    for (const mailbox of mailboxes) {
      await target.mustSh(
        `end=$(($(date +%s) + 30))
         until [ -n "$(doveadm search -u "$1" mailbox '*' header subject copied)" ]; do
           [ "$(date +%s)" -lt "$end" ] || { echo "nothing for $1"; postqueue -p; journalctl -n 30; exit 1; } >&2
           sleep 0.1
         done`,
        [mailbox],
      );
    }
    expect(
      await target.mustSh(
        `doveadm auth test ${virtualUser(1)} "$1"; doveadm auth test carl "$1"; doveadm auth test anna later`,
        [password],
      ),
    ).toMatch(/succeeded[\s\S]*succeeded[\s\S]*succeeded/);
    expect(
      await target.mustSh(
        'find /var/vmail /home/anna/Maildir ! -user vmail ! -user anna -printf "%p\\n" | head',
      ),
    ).toBe('');
  });
});
