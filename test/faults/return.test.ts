import { afterAll, beforeAll, expect, test } from 'vitest';
import { usersFile } from '../lab/postfix-dovecot/dovecot-files.ts';
import { waitFor } from '../lab/process.ts';
import { domains, mailName, network, password, special, virtualUser } from '../lab/world.ts';
import { dialogue } from '../safety/ground.ts';
import {
  activate,
  arrived,
  copies,
  folder,
  queued,
  type Scene,
  scene,
  send,
  serves,
} from './scene.ts';

/*
 * `stop`: rollback after NEW has served. All that it got and all that was changed there is on OLD,
 * once; a second attempt goes through; and hosts that reboot in the middle of a rollback change nothing
 * of that. With `hold` the same is tried in ../safety/after-activation.test.ts.
 */

const user = virtualUser(1);
const carl = 'carl';

let here: Scene;
const ids: string[] = [];
let away = '';
/** Was handed in on OLD while that was stopped. */
let handedIn = '';
let seen = '';

beforeAll(async () => {
  here = await scene({
    freeze: { mode: 'stop', 'max-minutes': 10 },
    'late-clients': { carry: ['submission', 'imap', 'pop3', 'web'] },
  });
});
afterAll(() => here?.end());

/** Shell text: what a day on NEW does to a mailbox ($1) and to the password file ($2). */
const dayOnNew = `
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

/**
 * Shell text: what a day on NEW does to system users. carl ($1) is made there, by the number that anna has on OLD, and gets her password;
 * she takes another, as does bert, who may do more on OLD than read mail; dora is no user of mail; eric is gone.
 */
const usersOnNew = `
useradd -u 1001 -m -s /bin/bash -p "$(getent shadow anna | cut -d: -f2)" "$1"
usermod -a -G bert "$1"
for user in anna bert; do printf '%s:%s\n' "$user" other | chpasswd; done
useradd -r -M dora
userdel eric`;

const hashOf = async (side: 'old' | 'new', name: string) =>
  (await here.lab.host(side).mustSh('getent shadow "$1" | cut -d: -f2', [name])).trim();

const deferred = '/var/spool/postfix/deferred';
const isDeferred = async (side: 'old' | 'new', such = '') =>
  (await here.lab.host(side).mustSh(`find ${deferred} -type f ${such} -printf x`)) === 'x';

/** Shell text: what clients see of a mailbox ($1), everything that they key their caches by. */
const view = `doveadm -f tab fetch -u "$1" 'mailbox uid guid flags date.saved' mailbox '*' all | sort
doveadm -f tab mailbox status -u "$1" 'messages uidvalidity uidnext' '*' | sort
doveadm mailbox list -s -u "$1" | sort
doveadm sieve list -u "$1"`;

/** A stand-in for a web server. */
const web = `systemd-run -q --unit=lab-web perl -MIO::Socket::INET -e '
  my $listener = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die;
  while (my $client = $listener->accept) { <$client>; print {$client} "HTTP/1.0 200 OK\\r\\n\\r\\nthe web of NEW"; close $client }'`;

test('clients that come to a stopped OLD reach NEW by POP3 and on the web; mail does not', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  // Waits in OLD's queue before the move: its destination does not answer.
  ids.push(await send(here, 'old', `forward@${domains.virtual}`));
  await waitFor('OLD has tried it', 30, () => isDeferred('old'));
  // Its next try is an hour away: the move does not wait for that.
  await lab.host('old').mustSh(`find ${deferred} -type f -exec touch -d '+1 hour' {} +`);
  await lab.host('new').mustSh(web);
  for (const host of ['old', 'new'] as const) await lab.host(host).mustSh('useradd -M eric');
  await activate(here);
  await waitFor('NEW has tried it', 30, () => isDeferred('new', "! -newermt '+30 minutes'"));
  await migration.must('dns-cutover');
  const said = await dialogue(
    network.old.v4,
    995,
    [`USER ${user}`, `PASS ${password}`, 'STAT', 'QUIT'],
    true,
  );
  const counted = await lab
    .host('new')
    .mustSh('doveadm -f flow mailbox status -u "$1" messages INBOX', [user]);
  expect(said[3]?.split(' ').slice(0, 2)).toEqual(['+OK', /messages=(\d+)/.exec(counted)?.[1]]);
  expect(await (await fetch(`http://${network.old.v4}/`)).text()).toBe('the web of NEW');
  await expect(send(here, 'old', user)).rejects.toThrow('ECONNREFUSED');
});

test('drain tells of mail that programs on a stopped OLD hand in, and how it gets to NEW', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  const recipient = virtualUser(6);
  const handIn = 'sendmail -i -f "$1" "$1"';
  const [moved = '', left = ''] = ['moved', 'left'].map((name) => `<${name}@elsewhere.example>`);
  for (const id of [moved, left])
    await lab
      .host('old')
      .mustSh(handIn, [recipient], { stdin: `Message-ID: ${id}\nSubject: cron\n\nx\n` });
  const drained = await migration.must('drain');
  expect(drained.log).toContain(
    'mail came into the queue of OLD after it was copied (messages: 2)',
  );
  // As docs/troubleshooting.md has it.
  const text = await lab.host('old').mustSh(
    `id=$(grep -rlF -- "$1" /var/spool/postfix/maildrop); id=\${id##*/}
     postcat -bh -q "$id"; postsuper -d "$id" maildrop`,
    [moved],
  );
  await lab.host('new').mustSh(handIn, [recipient], { stdin: text });
  await arrived(here, 'new', moved);
  expect([await queued(here, 'old', moved), await queued(here, 'old', left)]).toEqual([0, 1]);
  ids.push(moved);
  handedIn = left;
});

test('brings back what NEW got and what was changed there', { timeout: 240_000 }, async () => {
  const { lab, migration } = here;
  const early = ids.shift() ?? '';
  await lab.host('new').mustSh(usersOnNew, [carl]);
  await lab.host('old').mustSh('usermod -a -G sudo bert');
  const was = { anna: await hashOf('old', 'anna'), bert: await hashOf('old', 'bert') };
  const carls = `${carl}@${domains.local}`;
  for (const to of [user, special.localUsers[0], special.atticUsers[0], carls])
    ids.push(await send(here, 'new', to));
  for (const id of ids) await arrived(here, 'new', id);
  away = await send(here, 'new', `forward@${domains.virtual}`);
  await lab.host('new').mustSh(dayOnNew, [user, usersFile]);
  seen = await lab.host('new').mustSh(view, [user]);

  const result = await migration.must('rollback');
  expect(result.outputs.state).toBe('rolled-back');
  for (const id of ids) expect([id, await copies(here, 'old', id)]).toEqual([id, 1]);
  await arrived(here, 'old', handedIn);
  expect(await copies(here, 'old', handedIn)).toBe(1);
  ids.push(handedIn);
  expect(await lab.host('old').mustSh(view, [user])).toBe(seen);
  expect(await lab.host('old').mustSh('cat "$1"', [usersFile])).toContain('{PLAIN}other');
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  for (const id of [early, away]) {
    await waitFor(`${id} left NEW`, 30, async () => (await queued(here, 'new', id)) === 0);
    expect([id, await queued(here, 'old', id)]).toEqual([id, 1]);
  }
  const marks = await lab.host('new').mustSh('cd "$1"; ls', [folder]);
  expect(marks).toContain('released');
  expect(marks).not.toContain('owner');
  const zone = await lab.host('dns').mustSh(`dig +short @${network.dns.v4} ${mailName} A`);
  expect(zone.trim()).toBe(network.old.v4);
  expect(await lab.host('old').mustSh('ls /etc/systemd/system')).not.toContain('carry');

  expect(result.log).toContain('made: carl; new members: carl in bert; new passwords: anna');
  expect(result.log).toContain('the passwords of bert are other than on NEW, and stay as they are');
  expect(result.log).toContain('eric stay there, though they are gone from NEW');
  expect(await hashOf('old', 'anna')).toBe(await hashOf('new', 'anna'));
  expect(await hashOf('old', 'bert')).toBe(was.bert);
  expect(await hashOf('old', carl)).toBe(was.anna);
  expect(await lab.host('old').mustSh('id -nG carl; getent passwd dora || :')).toBe('carl bert\n');
  for (const [name, secret] of [
    ['anna', 'other'],
    [carl, password],
  ] as const)
    expect(
      await dialogue(network.old.v4, 995, [`USER ${name}`, `PASS ${secret}`, 'QUIT'], true),
    ).toEqual([expect.any(String), '+OK', '+OK Logged in.', expect.any(String)]);
  const secrets = await lab
    .host('old')
    .mustSh('find "$1"/undo/returned -type f -perm /077; cat "$1"/journal.jsonl', [folder]);
  for (const hash of [was.anna, was.bert, await hashOf('old', 'anna')])
    expect(secrets).not.toContain(hash);
  expect(secrets).toMatch(/^\{/);
  expect((await lab.host('new').sh('[ -e "$1/passwords" ]', [folder])).code).toBe(1);
  // Taken back: what owns mail stays.
  const { stderr } = await lab.host('old').sh('"$1"/bin/hostctl undo returned', [folder]);
  expect(stderr).toContain('user carl stays: it owns');
  expect(await hashOf('old', 'anna')).toBe(was.anna);
});

test('leaves a second attempt that goes through', { timeout: 240_000 }, async () => {
  const { lab, migration } = here;
  await activate(here);
  await migration.must('dns-cutover');
  await migration.must('verify');
  for (const id of ids) expect([id, await copies(here, 'new', id)]).toEqual([id, 1]);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([false, true]);
  const counts = [await queued(here, 'old', away), await queued(here, 'new', away)];
  expect((counts[0] ?? 0) + (counts[1] ?? 0)).toBe(1);
  expect(await lab.host('new').mustSh(`doveadm -f flow mailbox list -u "$1"`, [user])).toContain(
    'Harvest',
  );
});

test.each([
  ['new', 'Copy back what changed since'],
  ['old', 'OLD serves again'],
] as const)(
  '%s reboots in the middle of a rollback, in "%s"',
  {
    timeout: 240_000,
  },
  async (host, title) => {
    const { lab, migration } = here;
    if (host === 'new') ids.push(await send(here, 'new', virtualUser(4)));
    for (const id of ids) await arrived(here, host, id);
    let rebooted: Promise<void> | undefined;
    await migration.run(
      'rollback',
      {},
      {
        onLine: (line) => {
          if (line === `== ${title}`) rebooted ??= lab.host(host).reboot();
        },
      },
    );
    expect(rebooted).toBeDefined();
    await rebooted;
    await migration.must('rollback', { 'force-unlock': 'true' });
    expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
    for (const id of ids) expect([id, await copies(here, 'old', id)]).toEqual([id, 1]);
    expect(await lab.host('old').mustSh(view, [user])).toBe(seen);
  },
);
