import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Lab, LabHost } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { startQmailLab } from '../lab/profile-qmail.ts';
import { network, password } from '../lab/world.ts';
import { openSession } from '../rehearsal/transaction.ts';

/*
 * What the adapter relies on, each with the manual page that promises it. The same tests run against
 * the stand-in and, with the variable QMAIL_TREE, against a real one: where the two differ, the
 * stand-in is wrong.
 */

let lab: Lab;
let old: LabHost;

beforeAll(async () => {
  ({ lab } = await startQmailLab({ mailboxes: 6, messagesPerMailbox: 5 }));
  old = lab.host('old');
}, 300_000);

afterAll(async () => lab?.stop(), 60_000);

const control = (name: string, text: string) =>
  old.mustSh(
    'cat > "/var/qmail/control/$1.new"; mv "/var/qmail/control/$1.new" "/var/qmail/control/$1"',
    [name],
    {
      stdin: text,
    },
  );
const signal = (name: 'HUP' | 'ALRM') => old.mustSh('pkill "-$1" -x qmail-send', [name]);
const qread = async () => (await old.sh('/var/qmail/bin/qmail-qread')).stdout;
const log = async () =>
  (
    await old.sh('journalctl --no-pager -o cat -t qmail; cat /var/log/qmail-send.log 2>/dev/null')
  ).stdout.replaceAll('_', ' ');

async function restart(): Promise<void> {
  const pid = (await old.mustSh('pgrep -x qmail-send')).trim();
  await old.mustSh('pkill -TERM -x qmail-send');
  await waitFor('qmail-send started again', 30, async () => {
    const now = (await old.sh('pgrep -x qmail-send')).stdout.trim();
    return now !== '' && now !== pid;
  });
}

let count = 0;
/** Hands a message over on OLD itself; returns its Message-ID. */
async function inject(to: string, sender = 'post@elsewhere.example'): Promise<string> {
  count += 1;
  const id = `<behaviour-${count}@elsewhere.example>`;
  await old.mustSh('/var/qmail/bin/qmail-inject -f "$2" -- "$1"', [to, sender], {
    stdin: `To: <${to}>\nMessage-ID: ${id}\n\nx\n`,
  });
  return id;
}

async function copies(id: string): Promise<number> {
  const { stdout } = await old.sh(
    'find /mail /home -path "*/new/*" -type f -exec grep -lF -- "$1" {} + | wc -l',
    [id],
  );
  return Number(stdout.trim());
}

const delivered = (id: string) => waitFor(id, 30, async () => (await copies(id)) > 0);

test('a sticky home makes mail wait, and ALRM tries it at once (dot-qmail(5), qmail-send(8))', async () => {
  await old.mustSh('chmod +t /mail/u001');
  const id = await inject('u001@orchard.example');
  await waitFor('the deferral', 30, async () => /sticky.*4\.2\.1/s.test(await log()));
  expect(await qread()).toMatch(/^\tlocal\tmail-u001@orchard\.example$/m);
  await old.mustSh('chmod -t /mail/u001');
  await signal('ALRM');
  await delivered(id);
  expect(await copies(id)).toBe(1);
}, 90_000);

test('HUP reads locals and virtualdomains again, and nothing else (qmail-send(8))', async () => {
  const names = await old.mustSh('cat /var/qmail/control/virtualdomains');
  await control('concurrencyremote', '0\n');
  await control('smtproutes', `orchard.example:${network.new.v4}\n`);
  await control('virtualdomains', '');
  await restart();
  const held = await inject('u002@orchard.example');
  await waitFor('it is remote', 30, async () =>
    /^\tremote\tu002@orchard\.example$/m.test(await qread()),
  );
  // Put on hold by concurrencyremote 0; raising it counts only after a restart.
  await control('concurrencyremote', '5\n');
  await control('virtualdomains', names);
  await signal('HUP');
  const local = await inject('u002@orchard.example');
  await delivered(local);
  await signal('ALRM');
  await old.mustSh('sleep 2');
  expect(await qread()).toMatch(/^\tremote\tu002@orchard\.example$/m);
  // And what is remote stays remote, although the name is local again.
  expect(await copies(held)).toBe(0);
  await control('smtproutes', 'orchard.example:127.0.0.1\n');
  await restart();
  await delivered(held);
  expect(await copies(held)).toBe(1);
  await old.mustSh('rm /var/qmail/control/smtproutes /var/qmail/control/concurrencyremote');
  await restart();
}, 120_000);

test('a name that is local no more bounces where the MX is this host, 5.4.6 (qmail-remote(8))', async () => {
  const names = await old.mustSh('cat /var/qmail/control/virtualdomains');
  await control('virtualdomains', '');
  await signal('HUP');
  await inject('u003@orchard.example', 'anna@villa.example');
  await waitFor('the bounce', 60, async () => /5\.4\.6/.test(await log()));
  await control('virtualdomains', names);
  await signal('HUP');
}, 90_000);

test('mail for a name without account, assignment or alias bounces (qmail-getpw(9), qmail-local(8))', async () => {
  await inject('nobody-here@villa.example', 'anna@villa.example');
  await waitFor('the bounce', 30, async () => /no mailbox here by that name/.test(await log()));
  await old.mustSh('chown root /home/bert');
  const before = (await log()).split('no mailbox here').length;
  await inject('bert@villa.example', 'anna@villa.example');
  await waitFor(
    'a home that belongs to another',
    30,
    async () => (await log()).split('no mailbox here').length > before,
  );
  await old.mustSh('chown bert /home/bert');
}, 90_000);

test('users/assign counts once qmail-newu has run (qmail-users(9))', async () => {
  await old.mustSh(
    'mkdir -p /mail/fresh/Maildir/new /mail/fresh/Maildir/cur /mail/fresh/Maildir/tmp; chown -R vmail: /mail/fresh; sed -i "\\$d" /var/qmail/users/assign; printf "=mail-fresh:vmail:5000:5000:/mail/fresh:::\\n.\\n" >> /var/qmail/users/assign; /var/qmail/bin/qmail-newu',
  );
  await delivered(await inject('fresh@orchard.example'));
}, 60_000);

async function answers(recipient: string): Promise<number> {
  const smtp = await openSession({
    ...{
      address: network.old.v4,
      port: 25,
      timeout: 10_000,
      heloName: 'x.example',
      serverName: 'x',
    },
    plain: true,
  });
  try {
    await smtp.command('MAIL FROM:<a@x.example>');
    return (await smtp.command(`RCPT TO:<${recipient}>`)).code;
  } finally {
    await smtp.quit();
  }
}

test('without rcpthosts it relays for everybody (qmail-smtpd(8))', async () => {
  expect(await answers('a@relay-check.invalid')).toBe(553);
  expect(await answers('anna@villa.example')).toBe(250);
  expect(await answers('carla@attic.example')).toBe(250);
  await old.mustSh('mv /var/qmail/control/rcpthosts /var/qmail/control/rcpthosts.away');
  expect(await answers('a@relay-check.invalid')).toBe(250);
  await old.mustSh('mv /var/qmail/control/rcpthosts.away /var/qmail/control/rcpthosts');
}, 60_000);

test('morercpthosts counts once qmail-newmrh has run (qmail-newmrh(9))', async () => {
  await old.mustSh('printf "more.example\\n" >> /var/qmail/control/morercpthosts');
  expect(await answers('a@more.example')).toBe(553);
  await old.mustSh('/var/qmail/bin/qmail-newmrh');
  expect(await answers('a@more.example')).toBe(250);
}, 60_000);

test("the UIDL is the file name up to the colon, and never root's (qmail-pop3d(8), maildir(5))", async () => {
  const { stdout } = await old.sh(
    `perl -MIO::Socket::INET -e '
       my $s = IO::Socket::INET->new("127.0.0.1:110") or die;
       my $say = sub { print {$s} "$_[0]\\r\\n"; scalar <$s> };
       scalar <$s>; $say->("USER u004\\@orchard.example"); print $say->("PASS $ARGV[0]"); print $say->("UIDL");
       while (<$s>) { last if /^\\./; print } $say->("QUIT")' "$1"
     printf -- '--\\n'; ls /mail/u004/Maildir/new /mail/u004/Maildir/cur | sed -n 's/:.*//; /^[0-9]/p'`,
    [password],
  );
  const [told = '', files = ''] = stdout.split('--\n');
  const names = [...told.matchAll(/^\d+ (\S+)\r?$/gm)].map((match) => match[1]);
  expect(names.length).toBeGreaterThan(2);
  expect(names.toSorted()).toEqual(files.trim().split('\n').toSorted());
}, 60_000);
