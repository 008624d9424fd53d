import { createConnection } from 'node:net';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Lab } from './lab.ts';
import { answers } from './lab-host.ts';
import { mustRun, waitFor } from './process.ts';
import { startMailLab } from './profile-postfix-dovecot.ts';
import { leftovers } from './sweep.ts';
import { mailName, password, special, virtualUser } from './world.ts';

let lab: Lab;

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 10, messagesPerMailbox: 20 }));
}, 300_000);

afterAll(async () => {
  const folder = lab.folder;
  await lab.stop();
  expect(await leftovers(folder)).toEqual([]);
}, 60_000);

function imap(user: string): ImapFlow {
  return new ImapFlow({
    host: lab.host('old').address,
    port: 993,
    secure: true,
    servername: mailName,
    tls: { ca: lab.ca.text },
    auth: { user, pass: password },
    logger: false,
  });
}

async function countMessages(user: string, id: string): Promise<number> {
  const client = imap(user);
  await client.connect();
  try {
    await client.mailboxOpen('INBOX');
    const found = await client.search({ header: { 'message-id': id } });
    return found ? found.length : 0;
  } finally {
    await client.logout();
  }
}

async function send(to: string): Promise<string> {
  const transport = createTransport({
    host: lab.host('old').address,
    port: 25,
    tls: { ca: lab.ca.text, servername: mailName },
  });
  const from = 'friend@elsewhere.example';
  const sent = await transport.sendMail({ from, to, subject: 'to the lab', text: 'hello' });
  return sent.messageId;
}

test('mail given to OLD by SMTP is found there by IMAP', async () => {
  const id = await send(virtualUser(1));
  await waitFor('the message', 20, async () => (await countMessages(virtualUser(1), id)) === 1);
});

test('a system user logs in by address', async () => {
  const id = await send(special.localUsers[0]);
  const arrived = async () => (await countMessages(special.localUsers[0], id)) === 1;
  await waitFor('the message', 20, arrived);
});

test('an over-quota mailbox is refused with 5xx', async () => {
  await expect(send(special.full)).rejects.toMatchObject({ responseCode: 552 });
});

test('NEW reboots', async () => {
  await lab.host('new').reboot();
  expect(await answers(lab.host('new').address, 25)).toBe(true);
});

test('OLD survives a power cut, and a reset forgets', async () => {
  const old = lab.host('old');
  await old.mustSh('touch /marker; sync');
  await old.powerCut();
  expect(await answers(old.address, 22)).toBe(false);
  await old.boot();
  await old.mustSh('test -e /marker');
  await old.reset();
  await old.mustSh('test ! -e /marker');
});

test('a host can be cut off, from all or from one', async () => {
  const old = lab.host('old');
  const canReach = (address: string) =>
    old.sh('timeout 1 bash -c ": </dev/tcp/$1/22"', [address]).then(({ code }) => code === 0);
  await old.cutOffFrom('new');
  expect(await canReach(lab.host('new').address)).toBe(false);
  expect(await answers(old.address, 22)).toBe(true);
  await old.reconnectTo('new');
  expect(await canReach(lab.host('new').address)).toBe(true);
  await old.cutOff();
  expect(await answers(old.address, 22)).toBe(false);
  await old.reconnect();
  await waitFor('OLD to be back', 10, () => answers(old.address, 22));
});

test('a disk can be filled', async () => {
  const host = lab.host('new');
  await host.powerOff();
  await host.boot({ disk: '64m' });
  await host.fill();
  const { stderr } = await host.sh('head -c 1000000 /dev/zero > /root/more');
  expect(stderr).toContain('No space left on device');
  await host.reset();
}, 30_000);

test('a snapshot is where a host goes on', async () => {
  const host = lab.host('new');
  await host.mustSh('touch /kept');
  await host.snapshot('kept');
  await host.boot();
  await host.mustSh('touch /forgotten');
  await host.powerCut();
  await host.boot({ layer: 'kept' });
  await host.mustSh('test -e /kept; test ! -e /forgotten');
}, 30_000);

test('no packet leaves', async () => {
  expect(await mustRun(['ip', 'route', 'show', 'default'])).toBe('');
  const outcome = await new Promise<string>((resolve) => {
    // An address for documentation (RFC 5737): nobody is there, and nothing must try.
    const socket = createConnection({ host: '192.0.2.1', port: 80 });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.once('connect', () => resolve('connected'));
  });
  expect(outcome).toBe('ENETUNREACH');
});
