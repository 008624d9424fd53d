import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrationFile } from '../e2e/migration.ts';
import { differences, traces } from '../e2e/traces.ts';
import { relay, relayUser } from '../lab/chatmail/relay.ts';
import { chatmailIni } from '../lab/chatmail/relay-files.ts';
import { waitFor } from '../lab/process.ts';
import { mailName, network, password } from '../lab/world.ts';
import { relayMigration } from '../rehearsal/systems/chatmail.ts';
import {
  arrived,
  copies,
  everyUnit,
  freezeWhenDue,
  type RelayScene,
  relayScene,
  running,
  send,
  view,
} from './scene.ts';

/*
 * A relay that can't be moved, each for one reason; a cmdeploy that fails half-way; then, with `stop`,
 * the move and the way back, and with `hold` the ways back.
 */

const stop = { freeze: { mode: 'stop', 'max-minutes': 10 }, chatmail: { freeze: 'cmdeploy' } };
const user = relayUser(1);
let here: RelayScene;

beforeAll(async () => {
  here = await relayScene(stop);
  // What a host notes of the first time: sudo of a user, Postfix of a listener.
  await here.lab.host('new').mustSh('su admin -c "sudo -n true"');
  await send('<first@lab>', here.lab.host('old').address);
  await arrived(here, 'old', '<first@lab>');
});
afterAll(() => here?.end());

/** Writes the migration file, with changes. */
function file(changes: Record<string, unknown>): Promise<void> {
  return here.migration.write(
    migrationFile(here.lab, { ...relayMigration(), ...stop, ...changes }),
  );
}

async function refused(...expected: readonly string[]): Promise<void> {
  await refusedWith({}, ...expected);
}

async function refusedWith(inputs: Record<string, string>, ...expected: readonly string[]) {
  const result = await here.run('plan', inputs);
  const lines = result.log.split('\n').filter((line) => line.startsWith('error: '));
  expect(lines).toEqual(expected.map((line) => expect.stringContaining(line)));
  expect(result.code).toBe(1);
}

const dns = (records: readonly { name: string; type: string; values: readonly string[] }[]) => ({
  dns: [{ zone: 'orchard.example', provider: 'rfc2136', server: network.dns.v4, ttl: 5, records }],
});
const a = { name: mailName, type: 'A', values: [network.new.v4] };

it('says in one line what is in the way, and touches nothing', async () => {
  const { lab, checkout } = here;
  const before = await traces(lab);
  const ini = join(checkout, 'chatmail.ini');

  await refusedWith({ cmdeploy: '' }, 'input cmdeploy: is missing');
  await refusedWith({ cmdeploy: lab.folder }, 'holds no scripts/cmdeploy');
  await rm(ini);
  await refused('has no chatmail.ini with a mail_domain');
  await writeFile(ini, chatmailIni.replace(relay.domain, 'other.example'));
  await refused('chatmail.ini is of other.example, not of mail.orchard.example');
  await writeFile(ini, `${chatmailIni}mailboxes_dir = /srv/mail\n`);
  await refused('mailboxes_dir is /srv/mail, on OLD /home/vmail/mail/mail.orchard.example');
  await writeFile(ini, `${chatmailIni}max_message_size = 1\n`);
  const warned = await here.must('plan');
  expect(warned.log).toContain("chatmail.ini differs from OLD's in max_message_size");
  expect(warned.log).toMatch(/OLD holds \d+ files and folders, [\d.]+ MiB of mail/);
  expect(warned.log).toMatch(/orchard.example: prepare lowers TTLs of up to \d+ s to 5 s/);
  expect(warned.log).toContain('other servers give mail back to its sender after 2 days');
  await writeFile(ini, chatmailIni);

  await file({ domains: ['orchard.example'], probe: { mailbox: 'x@orchard.example' } });
  await refused(
    "the relay's mail_domain is mail.orchard.example, the migration file says orchard.example",
  );
  await file(dns([a]));
  await refused(
    'mail.orchard.example has an AAAA record (fd77::11) that the migration file does not change',
  );
  await file(dns([a, { name: mailName, type: 'AAAA', values: [] }]));
  expect((await here.must('plan')).log).toContain(
    'will have no AAAA record, although the relay uses IPv6',
  );
  await file({ provision: 'prepared' });
  await refused('no relay is installed there');
  await file({ new: { ...(migrationFile(lab).new as object), user: 'admin' } });
  await refused('cmdeploy logs in as root, the migration file as admin');
  await file({});

  expect(differences(before, await traces(lab))).toEqual([]);
});

it('refuses a NEW with accounts, and an OLD that is no relay or has no name', async () => {
  const { lab } = here;
  const [old, fresh] = [lab.host('old'), lab.host('new')];
  await fresh.mustSh('mkdir -p "$1/somebody@x"', [relay.mailboxes]);
  await refused('it has accounts already (somebody@x)');
  await fresh.mustSh('rm -r /home/vmail');
  await old.mustSh('mv "$1" "$1.away"', [relay.ini]);
  await refused('it is no chatmail relay');
  await old.mustSh('sed "s/^mail_domain.*/mail_domain = 10.77.0.11/" "$1.away" > "$1"', [
    relay.ini,
  ]);
  await refused('this relay has the address 10.77.0.11 for a domain');
  // Without a public name it has a certificate of its own making; there is none here.
  const selfSigned = '_mail.orchard.example';
  const text = chatmailIni.replace(relay.domain, selfSigned);
  await old.mustSh('cat > "$1"', [relay.ini], { stdin: text });
  await writeFile(join(here.checkout, 'chatmail.ini'), text);
  await file({ domains: [selfSigned], probe: { mailbox: `probe@${selfSigned}` } });
  await refused(
    '/etc/ssl/certs/mailserver.pem does not exist',
    '/etc/ssl/private/mailserver.key does not exist',
  );
  await file({});
  await writeFile(join(here.checkout, 'chatmail.ini'), chatmailIni);
  await old.mustSh('sed "$ a disable_ipv6 = true" "$1.away" > "$1"', [relay.ini]);
  await refused(
    'the relay does not use IPv6 (disable_ipv6), but mail.orchard.example gets an AAAA',
  );
  await old.mustSh('echo 0123456789abcdef > /etc/chatmail-version; mv "$1.away" "$1"', [relay.ini]);
  expect((await here.must('plan')).log).toContain('it runs revision 0123456789ab of the relay');
});

it('shows what a cmdeploy says that fails half-way, and goes on when it is mended', async () => {
  const { lab, checkout } = here;
  await writeFile(join(checkout, 'stand-in/fail-before'), 'configure');
  const result = await here.run('prepare');
  expect(result.code).toBe(1);
  expect(result.log).toContain('cmdeploy: --> install on 10.77.0.12');
  expect(result.log).toContain('cmdeploy: --> Failed: configure');
  expect(result.log).toContain('error: cmdeploy ended with 1: --> Failed: configure. Its output');
  expect(await running(here, 'new')).toEqual([]);
  await rm(join(checkout, 'stand-in/fail-before'));

  // A run that is alive but overtaken: what its cmdeploy had begun ends, and it begins nothing more.
  const hang = join(checkout, 'stand-in/hang-in');
  await writeFile(hang, 'install');
  const overtaken = here.run('prepare');
  const fresh = lab.host('new');
  await waitFor(
    'cmdeploy on NEW',
    60,
    async () => (await fresh.sh('test -e /run/cmdeploy-hangs')).code === 0,
  );
  await rm(hang);
  await here.must('prepare', { 'force-unlock': 'true' });
  const first = await overtaken;
  expect(first.code).toBe(1);
  expect(first.log).toContain('cmdeploy: --> cut off: install');
  expect((await fresh.sh('pgrep -fx "sleep 1234"')).stdout).toBe('');
  expect((await fresh.sh('test -e /run/cmdeploy-goes-on')).code).toBe(1);
  expect(await running(here, 'new')).toEqual([]);
  // Whoever starts it by hand makes no account, and nothing starts anyway.
  await lab
    .host('new')
    .mustSh('test -e /etc/chatmail-nocreate; systemctl start dovecot doveauth postfix');
  expect(await running(here, 'new')).toEqual([]);
});

it('moves by stop and the published command, with the queue, and comes back with what NEW got', {
  timeout: 600_000,
}, async () => {
  const { lab } = here;
  await here.must('transfer', { pass: 'live' });
  // Waits in OLD's queue: nobody answers for its destination.
  await lab.host('old').mustSh(
    `printf 'Subject: waits\nMessage-ID: <waits@lab>\n\nx\n' | sendmail -f "$1" friend@elsewhere.example
     printf 'Subject: early\nMessage-ID: <early@lab>\n\nx\n' | sendmail -f "$1" "$1"`,
    [user],
  );
  await arrived(here, 'old', '<early@lab>');
  const seen = await view(here, 'old', user);
  const frozen = await freezeWhenDue(here);
  expect(frozen.log).toContain('cmdeploy: --> activate on 10.77.0.11');
  expect(await running(here, 'old')).toEqual([]);
  await here.must('transfer', { pass: 'final' });
  const activated = await here.must('activate');
  expect(activated.log).toMatch(/handed in, filtered, delivered and read in \d+ ms/);
  expect(await view(here, 'new', user)).toBe(seen);
  expect(await copies(here, 'new', '<early@lab>')).toBe(1);
  expect(await queued('new')).toContain('friend@elsewhere.example');
  expect(await queued('old')).toBe('');
  const version = await lab.host('new').mustSh('stat -c "%a %U" /etc/chatmail-version');
  expect(version.trim()).toBe('644 root');
  // By OLD's ports, as a client with an old answer of the DNS.
  await mayHandIn({ port: 587, host: lab.host('old').address });

  await send('<late@lab>', lab.host('new').address);
  await arrived(here, 'new', '<late@lab>');
  const there = await view(here, 'new', user);
  await here.must('rollback');
  expect(await view(here, 'old', user)).toBe(there);
  expect(await copies(here, 'old', '<late@lab>')).toBe(1);
  expect(await queued('old')).toContain('friend@elsewhere.example');
  expect(await running(here, 'new')).toEqual([]);
  expect(await running(here, 'old')).toEqual(everyUnit);
  const atBoot = await lab.host('old').mustSh('systemctl is-enabled postfix dovecot');
  expect(atBoot.trim()).toBe('enabled\nenabled');
});

it('comes back from hold too, before and after NEW has served', { timeout: 600_000 }, async () => {
  const { lab } = here;
  const [old, fresh] = [lab.host('old').address, lab.host('new').address];
  await file({ freeze: { mode: 'hold', 'max-minutes': 10 }, chatmail: undefined });
  await here.must('prepare');
  await here.must('transfer', { pass: 'live' });
  await freezeWhenDue(here);
  expect(await running(here, 'old')).toEqual([
    'filtermail-incoming',
    'opendkim',
    'nginx',
    'postfix@-',
  ]);
  await send('<held@lab>', old);
  await here.must('rollback');
  await arrived(here, 'old', '<held@lab>');
  expect(await running(here, 'old')).toEqual(everyUnit);

  await here.must('prepare');
  await here.must('transfer', { pass: 'live' });
  await freezeWhenDue(here);
  await send('<waiting@lab>', old);
  await here.must('transfer', { pass: 'final' });
  await here.must('activate');
  await send('<by-old@lab>', old);
  await arrived(here, 'new', '<waiting@lab>');
  await arrived(here, 'new', '<by-old@lab>');
  const there = await view(here, 'new', user);
  await here.must('rollback');
  expect(await view(here, 'old', user)).toBe(there);
  expect(await running(here, 'old')).toEqual(everyUnit);
  // What still comes to NEW goes on to OLD.
  await send('<stray@lab>', fresh);
  await arrived(here, 'old', '<stray@lab>');
  for (const id of ['<held@lab>', '<waiting@lab>', '<by-old@lab>', '<stray@lab>'])
    expect(await copies(here, 'old', id)).toBe(1);
});

async function queued(host: 'old' | 'new'): Promise<string> {
  return here.lab
    .host(host)
    .mustSh(
      'for queue in incoming active deferred; do find "/var/spool/postfix/$queue" -type f -exec postcat -e {} +; done',
    );
}

/** Logs in for submission, through a host that may carry the port. */
async function mayHandIn({ host, port }: { host: string; port: number }): Promise<void> {
  const transport = createTransport({
    ...{ host, port, requireTLS: true, tls: { rejectUnauthorized: false } },
    auth: { user, pass: password },
  });
  await transport.verify();
  transport.close();
}
