import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  activate,
  arrived,
  copies,
  folder,
  freeze,
  onceCachesForget,
  queued,
  type Scene,
  scene,
  send,
  serves,
  withoutDns,
} from '../faults/scene.ts';
import { type FileEvent, hasty, hastyLines, traceSshd } from '../faults/strace.ts';
import { usersFile } from '../lab/postfix-dovecot/dovecot-files.ts';
import { waitFor } from '../lab/process.ts';
import { domains, network, outside, password, special, virtualUser } from '../lab/world.ts';
import { SmtpConnection, SmtpGone } from '../rehearsal/smtp-client.ts';
import { answerFor, dialogue } from './ground.ts';
import { endMilter, milterWaits, releaseMilter, startMilter } from './slow-milter.ts';

/*
 * OLD has given service away and still gets mail and clients. It refuses a recipient only when NEW
 * does, says 450 when it can't ask, bounces nothing, and relays for nobody; it carries clients that
 * come by an old address, and nobody can make NEW shut it out by that.
 */

const at = (name: string) => `${name}@${domains.virtual}`;

/** Things that only NEW knows: a mailbox, an alias, that one has gone, that another has room again. */
const newNames = `
hash=$(sed -n 's/^u001@[^:]*:\\([^:]*\\):.*/\\1/p' "$1")
printf '%s\\n' "fresh@${domains.virtual}:$hash::::::" >> "$1"
sed -i '/^u006@/d; s/userdb_quota_rule=.*//' "$1"
printf '%s\\n' "fresh@${domains.virtual} ${domains.virtual}/fresh/" >> /etc/postfix/vmailbox
sed -i '/^u006@/d' /etc/postfix/vmailbox
printf '%s\\n' "novel@${domains.virtual} u001@${domains.virtual}, fresh@${domains.virtual}" >> /etc/postfix/virtual
sed -i '/^team@/d' /etc/postfix/virtual
postmap /etc/postfix/vmailbox /etc/postfix/virtual
postfix reload`;

let here: Scene;
/** Goes to a destination that does not answer. */
let away = '';
/** What hosts wrote and synced from freeze to activation. */
let trace: { readonly old: readonly FileEvent[]; readonly new: readonly FileEvent[] };

beforeAll(async () => {
  here = await scene({ ...withoutDns, 'late-clients': { carry: ['submission', 'imap', 'pop3'] } });
  const { lab, migration } = here;
  await migration.must('prepare');
  await migration.must('transfer', { pass: 'live' });
  // Something for the final pass to bring.
  await arrived(here, 'old', await send(here, 'old', virtualUser(1)));
  const traces = await Promise.all(
    (['old', 'new'] as const).map((side) =>
      traceSshd(lab.host(side), join(lab.folder, `${side}.strace`)),
    ),
  );
  await freeze(here);
  await migration.must('transfer', { pass: 'final' });
  await migration.must('activate');
  const [old = [], target = []] = await Promise.all(traces.map((each) => each.stop()));
  trace = { old, new: target };
  await here.lab.host('new').mustSh(newNames, [usersFile]);
});
afterAll(() => here?.end());

/*
 * A crash in the lab is not a power cut: the kernel lives on and keeps what was only in memory. So
 * strace(1) shows that nothing relies on that: what must outlive a power cut is written, synced,
 * renamed, and its folder synced, before the next thing happens.
 */
describe('from freeze to activation, under strace', () => {
  const ours = [folder, '/etc/postfix', '/etc/systemd/system'];

  test('every change is on disk before the journal says that it was made', () => {
    expect(trace.old.filter(({ kind }) => kind === 'rename').length).toBeGreaterThan(10);
    expect(hasty(trace.old, ours)).toEqual([]);
    expect(hasty(trace.new, ours)).toEqual([]);
  });

  test('every line of the journal is on disk before what it announces', () => {
    const intents = trace.old.filter(({ text }) => text?.includes('"kind":"intent"'));
    expect(intents.length).toBeGreaterThan(8);
    expect(hastyLines(trace.old)).toEqual([]);
    expect(hastyLines(trace.new)).toEqual([]);
  });

  test('the mailboxes are on the disk of NEW before OLD gives service away', () => {
    const released = trace.old.find(
      ({ kind, path }) => kind === 'rename' && path === `${folder}/released`,
    );
    const isMail = ({ kind, path }: FileEvent) =>
      kind !== 'sync' && /^\/(?:var\/vmail|home)\//.test(path);
    const before = trace.new.filter(({ at }) => at < (released?.at ?? 0));
    const last = before.findLastIndex(isMail);
    expect(last).toBeGreaterThan(0);
    expect(before.slice(last).some(({ kind, path }) => kind === 'sync' && path === '/')).toBe(true);
  });
});

test('OLD accepts what only NEW knows, and it arrives', { timeout: 120_000 }, async () => {
  for (const name of ['fresh', 'novel', special.full.split('@')[0] ?? '']) {
    expect([name, await answerFor(here, 'old', at(name))]).toEqual([
      name,
      expect.stringMatching(/^250 /),
    ]);
  }
  const fresh = await send(here, 'old', at('fresh'));
  const novel = await send(here, 'old', at('novel'));
  await arrived(here, 'new', fresh);
  await waitFor('both members have it', 60, async () => (await copies(here, 'new', novel)) === 2);
});

test('an alias that names itself is expanded once', { timeout: 120_000 }, async () => {
  const id = await send(here, 'old', virtualUser(3));
  await waitFor('both have it', 60, async () => (await copies(here, 'new', id)) === 2);
  for (const side of ['new', 'old'] as const)
    await waitFor(`it left ${side}`, 60, async () => (await queued(here, side, id)) === 0);
  expect(await copies(here, 'new', id)).toBe(2);
});

test('OLD refuses what NEW refuses', { timeout: 120_000 }, async () => {
  for (const name of ['u006', 'team', 'never-was']) {
    expect([name, await answerFor(here, 'old', at(name))]).toEqual([
      name,
      expect.stringMatching(/^550 .*undeliverable address/),
    ]);
  }
});

test('neither OLD nor a door relays for strangers', { timeout: 120_000 }, async () => {
  expect(await answerFor(here, 'old', `x@${outside.domain}`)).toMatch(/^(454|554) .*[Rr]elay/);
  for (const port of [10125, 10126]) {
    const said = await dialogue(here.lab.host('new').address, port, [
      'EHLO stranger.example',
      'MAIL FROM:<post@elsewhere.example>',
      'QUIT',
    ]);
    expect(said[2]).toMatch(/^530 .*STARTTLS/);
  }
});

test('OLD says 450 while it can not ask, and keeps what it took', {
  timeout: 180_000,
}, async () => {
  const { lab } = here;
  await lab.host('old').cutOffFrom('new');
  try {
    expect(await answerFor(here, 'old', special.atticUsers[0])).toMatch(/^450 /);
  } finally {
    await lab.host('old').reconnectTo('new');
  }
  // What NEW refuses after OLD took it: it stays in OLD's queue, without a bounce.
  expect(await answerFor(here, 'old', virtualUser(4))).toMatch(/^250 /);
  await lab.host('new').mustSh('postconf -e message_size_limit=600; postfix reload');
  const big = await send(here, 'old', virtualUser(4), 'b'.repeat(900));
  await waitFor('it waits', 60, async () => (await queued(here, 'old', big)) === 1);
  const log = await lab.host('old').mustSh('journalctl -q --no-pager -t postfix/bounce');
  expect(log).not.toContain('non-delivery notification');
  await lab.host('new').mustSh('postconf -e message_size_limit=52428800; postfix reload');
  await lab.host('old').mustSh('postqueue -f');
  await arrived(here, 'new', big);
});

/** Logs in through a port of OLD, and counts the messages of the INBOX. */
async function inboxThrough(
  port: 143 | 993,
  pass = password,
  host: string = network.old.v4,
): Promise<number> {
  const client = new ImapFlow({
    host,
    port,
    secure: port === 993,
    tls: { rejectUnauthorized: false },
    auth: { user: virtualUser(1), pass },
    logger: false,
  });
  await client.connect();
  try {
    return (await client.status('INBOX', { messages: true })).messages ?? -1;
  } finally {
    await client.logout();
  }
}

test('clients that come to OLD reach NEW', { timeout: 120_000 }, async () => {
  const id = await send(here, 'new', virtualUser(1));
  await arrived(here, 'new', id);
  const counts = await here.lab
    .host('new')
    .mustSh('doveadm -f flow mailbox status -u "$1" messages INBOX', [virtualUser(1)]);
  expect(counts).toContain(`messages=${await inboxThrough(993)}`);
  expect(counts).toContain(`messages=${await inboxThrough(143)}`);
  const submitted = await createTransport({
    host: network.old.v4,
    port: 587,
    requireTLS: true,
    tls: { rejectUnauthorized: false },
    auth: { user: virtualUser(1), pass: password },
  }).sendMail({ from: virtualUser(1), to: virtualUser(2), text: 'x' });
  await arrived(here, 'new', submitted.messageId);
  const owner = await here.lab.host('old').mustSh('ss -Hltnp "sport = :25"');
  expect(owner).toContain('"master"');
});

test('nobody can relay through a carried port', { timeout: 120_000 }, async () => {
  for (const [port, secure] of [
    [587, false],
    [465, true],
  ] as const) {
    const transport = createTransport({
      host: network.old.v4,
      port,
      secure,
      tls: { rejectUnauthorized: false },
    });
    const mail = { from: 'post@elsewhere.example', to: `x@${outside.domain}`, text: 'x' };
    await expect(transport.sendMail(mail)).rejects.toThrow(/Access denied|Relay|not logged/i);
  }
  expect(
    (await dialogue(network.old.v4, 587, ['EHLO x.example', 'MAIL FROM:<>', 'QUIT']))[2],
  ).toMatch(/^530 /);
});

test('nobody can make NEW shut OLD out', { timeout: 180_000 }, async () => {
  const greeted = await Promise.all(
    Array.from({ length: 70 }, () => dialogue(network.old.v4, 587, ['QUIT'])),
  );
  expect(greeted.filter(([greeting = '']) => !greeting.startsWith('220 '))).toEqual([]);
  const guesses = await Promise.allSettled(
    Array.from({ length: 12 }, (_, index) => inboxThrough(143, `guess ${index}`)),
  );
  expect(guesses.every(({ status }) => status === 'rejected')).toBe(true);
  // It may have to wait, for at most the 15 s that Dovecot makes a guesser wait.
  expect(await inboxThrough(993)).toBeGreaterThan(0);
  const late = await send(here, 'old', virtualUser(5));
  await arrived(here, 'new', late);
});

test('drain says who comes, and carries no port at which NEW trusts OLD', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  await migration.must('dns-cutover');
  const units = '/etc/systemd/system/mail-cutover-orchard-carry-587';
  await lab.host('old').mustSh(`systemctl disable -q --now ${units}.socket; rm ${units}.*`);
  const before = await lab.host('new').mustSh('postconf -M submission/inet');
  await lab.host('new').mustSh(
    `postconf -P submission/inet/smtpd_relay_restrictions=permit_mynetworks,reject \
       submission/inet/smtpd_recipient_restrictions=permit_mynetworks,reject
     postconf -e 'mynetworks = 127.0.0.0/8 10.77.0.0/24'; postfix reload`,
  );
  const client = connect({ host: network.old.v4, port: 143 });
  await once(client, 'data');
  const drained = await migration.must('drain');
  client.destroy();
  expect(drained.log).toMatch(/without a password \(ports 587\), so these ports are not carried/);
  expect(drained.log).toMatch(/10\.77\.0\.1 on port 143, \d+ connections/);
  expect(drained.log).toMatch(/10\.77\.0\.11 by imap as u001@orchard\.example, \d+ times/);
  expect(drained.log).toMatch(/10\.77\.0\.1 by smtp, \d+ times/);
  await lab
    .host('new')
    .mustSh(`postconf -M submission/inet="$1"; postconf -X mynetworks; postfix reload`, [
      before.trim(),
    ]);
});

/**
 * A client of OLD in mid-message. Its smtpd(8) keeps the options that it began with, whatever Postfix
 * loads meanwhile.
 */
async function slowClient(to: string) {
  const id = `<${randomUUID()}@elsewhere.example>`;
  const open = async () => {
    // Longer than smtpd(8) waits: it is not the client that hangs up.
    const { smtp } = await SmtpConnection.open({
      address: network.old.v4,
      port: 25,
      timeout: 600_000,
    });
    await smtp.command('EHLO stranger.example');
    await smtp.command('MAIL FROM:<post@elsewhere.example>');
    await smtp.command(`RCPT TO:<${to}>`);
    expect(await smtp.command('DATA')).toMatchObject({ code: 354 });
    await smtp.part(Buffer.from(`Message-ID: ${id}\r\nSubject: slow\r\n\r\nfirst line\r\n`));
    return smtp;
  };
  /** Sends the rest. False if it was hung up on before the reply. */
  const end = async (smtp: SmtpConnection) => {
    try {
      const reply = await smtp.body(Buffer.from('last line\r\n'), () => undefined);
      expect(reply).toMatchObject({ code: 250 });
      return true;
    } catch (error) {
      if (error instanceof SmtpGone) return false;
      throw error;
    } finally {
      smtp.close();
    }
  };
  const first = await open();
  return { id, end: () => end(first), again: async () => end(await open()) };
}

/** What clients see of a mailbox: UIDs, flags, keywords. The dates of saving stay behind with the indexes. */
const view = `doveadm -f tab fetch -u "$1" 'mailbox uid guid flags' mailbox '*' all | sort`;
const lastLook = 'Take back what OLD was still accepting for NEW';

/** Shell text: what a crash leaves of a message, in which postcat(1) goes round for ever: its sizes are 0. */
const halfFile = String.raw`half=/var/spool/postfix/incoming/0123456789
perl -e 'print "C_", sprintf("%15d " x 5 . "%15d", (0) x 6), "S\x04post", "M\x00", "N\x05hello"' > "$half"
chmod 600 "$half"; chown postfix "$half"; code=0; timeout 1 postcat -e "$half" > /dev/null 2>&1 || code=$?; [ "$code" -eq 124 ]`;

/** A stand-in: Dovecot on NEW says that it is of another series. */
const upgraded = `cat > /usr/local/sbin/dovecot <<'END'
#!/bin/sh
if [ "$1" = --version ]; then echo '2.4.1 (stand-in)'; else exec /usr/sbin/dovecot "$@"; fi
END
chmod 755 /usr/local/sbin/dovecot`;

test('taken back, OLD delivers what waited for NEW; indexes of another Dovecot stay away', {
  timeout: 300_000,
}, async () => {
  const { lab, migration } = here;
  const user = virtualUser(2);
  await lab
    .host('new')
    .mustSh(`${upgraded}; doveadm flags add -u "$1" '\\Flagged $Later' mailbox INBOX 1:3`, [user]);
  const seen = await lab.host('new').mustSh(view, [user]);
  const index = `md5sum < /var/vmail/${domains.virtual}/u002/Maildir/dovecot.index.log`;
  const indexBefore = await lab.host('old').mustSh(index);
  expect(await answerFor(here, 'old', virtualUser(3))).toMatch(/^250 /);
  away = await send(here, 'new', `forward@${domains.virtual}`);
  await lab.host('new').mustSh('postconf -e message_size_limit=600; postfix reload');
  const waiting = await send(here, 'old', virtualUser(3), 'b'.repeat(900));
  await waitFor('it waits', 60, async () => (await queued(here, 'old', waiting)) === 1);
  await lab.host('old').mustSh(startMilter);
  const slow = await slowClient(virtualUser(5));
  const judged = await slowClient(virtualUser(5));
  const judging = judged.end();
  await waitFor('it is judged', 60, async () => (await lab.host('old').sh(milterWaits)).code === 0);
  await lab.host('old').mustSh(halfFile);
  let released: Promise<string> | undefined;
  const onLine = (line: string) => {
    if (line === `== ${lastLook}`) released ??= lab.host('old').mustSh(releaseMilter);
  };
  const back = await migration.must('rollback', {}, { onLine });
  expect(released).toBeDefined();
  await released;
  // OLD has that message as a whole, whether or not it could still say so: it is not sent again.
  await judging;
  if (!(await slow.end())) expect(await slow.again()).toBe(true);
  expect(back.log).toContain('dovecot.mailbox.log* stay on NEW');
  expect(await lab.host('old').mustSh(index)).toBe(indexBefore);
  expect(await lab.host('old').mustSh(view, [user])).toBe(seen);
  await waitFor('both have it', 60, async () => (await copies(here, 'old', waiting)) === 2);
  await lab.host('new').mustSh('postconf -e message_size_limit=52428800; postfix reload');
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  expect(await queued(here, 'old', waiting)).toBe(0);
  for (const { id } of [slow, judged]) {
    await arrived(here, 'old', id);
    for (const side of ['old', 'new'] as const)
      await waitFor(`it left ${side}`, 30, async () => (await queued(here, side, id)) === 0);
    expect(await copies(here, 'old', id)).toBe(1);
  }
  await lab.host('old').mustSh(endMilter);
  await waitFor('it left NEW', 30, async () => (await queued(here, 'new', away)) === 0);
  expect(await queued(here, 'old', away)).toBe(1);
  // All but the doors for what still comes to NEW, which themselves filter nothing.
  const own = await lab.host('old').mustSh('postconf -M; postconf -n');
  expect(own.replace(/^1012[56] .*\n/gm, '')).not.toMatch(/mail-cutover|unverified/);
  expect(own).not.toContain('content_filter=mail-cutover');
  const units = await lab.host('old').mustSh('ls /etc/systemd/system; ss -Hltnp "sport = :993"');
  expect(units).not.toContain('carry');
  expect(units).toContain('dovecot');
  expect(await lab.host('new').mustSh('cat /etc/dovecot/dovecot.conf; postconf -n')).not.toMatch(
    /remote 10\.77|event_limit/,
  );
  // It is the way round now.
  expect(await inboxThrough(993, password, network.new.v4)).toBeGreaterThan(0);
  expect(await answerFor(here, 'old', at('never-was'))).toMatch(/^550 .*User unknown/);
});

test('done when it is run again, and NEW stays closed over a reboot', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  await migration.must('rollback');
  await Promise.all([lab.host('new').reboot(), lab.host('old').reboot()]);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  const late = await send(here, 'old', virtualUser(5));
  await arrived(here, 'old', late);
  await waitFor('NEW has asked OLD', 60, async () =>
    (await answerFor(here, 'new', virtualUser(5))).startsWith('250 '),
  );
  const stray = await send(here, 'new', virtualUser(5));
  await arrived(here, 'old', stray);
  expect(await copies(here, 'new', stray)).toBe(0);
});

/** Shell text: a program on NEW hands a message to `$1` in as Postfix stops there. */
const lastMoment = `folder=/etc/systemd/system/postfix@-.service.d; mkdir -p "$folder"
printf 'Message-ID: <last@lab>\nSubject: last\n\nx\n' > /root/last
printf '[Service]\nExecStopPost=/bin/sh -c "sendmail -f post@elsewhere.example %s < /root/last"\n' "$1" > "$folder/last.conf"
systemctl daemon-reload`;

test('mail that comes to NEW in the moment when prepare closes it goes on to OLD', {
  timeout: 240_000,
}, async () => {
  const target = here.lab.host('new');
  await target.mustSh(lastMoment, [virtualUser(5)]);
  const refused = await onceCachesForget(here, 'prepare');
  expect(refused.log).toContain(
    'mail came to it in the moment when it was closed (messages: 1), so it sends on to OLD again. Run prepare again',
  );
  await arrived(here, 'old', '<last@lab>');
  expect(await copies(here, 'old', '<last@lab>')).toBe(1);
  await target.mustSh(
    'rm -r /etc/systemd/system/postfix@-.service.d/last.conf; systemctl daemon-reload',
  );
});

test('NEW of a second attempt dies: OLD serves without it, and who said so is on record', {
  timeout: 300_000,
}, async () => {
  const { lab, migration } = here;
  await activate(here);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([false, true]);
  expect((await queued(here, 'old', away)) + (await queued(here, 'new', away))).toBe(1);
  const alive = await migration.run('rollback', { 'declare-dead': 'new' });
  expect(alive.log).toContain('it answers, so it is not dead');
  expect(await serves(here, 'new')).toBe(true);
  await lab.host('new').powerCut();
  // OLD can't ask NEW whether it has the mailbox, so it leaves the mail with its sender.
  await expect(send(here, 'old', virtualUser(2))).rejects.toThrow('450 4.1.1');
  const result = await migration.must('rollback', { 'declare-dead': 'new' });
  expect(result.outputs.state).toBe('rolled-back');
  expect(result.log).toContain('is lost');
  await arrived(here, 'old', await send(here, 'old', virtualUser(2)));
  expect(await serves(here, 'old')).toBe(true);
  const journal = await lab.host('old').mustSh(`cat ${folder}/journal.jsonl`);
  const line = journal
    .split('\n')
    .find((text) => text.includes('"kind":"note"') && text.includes('declare-dead'));
  expect(JSON.parse(line ?? '{}')).toMatchObject({ actor: 'rehearsal', data: { host: 'new' } });
});
