import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCheckout, writeRelayFiles } from './chatmail/checkout.ts';
import { chatmailLayer } from './chatmail/layer.ts';
import { probeUser, relay, relayUser } from './chatmail/relay.ts';
import { configuredFiles, installedFiles } from './chatmail/relay-files.ts';
import { extraLayer } from './extra-layer.ts';
import { identityFile, identityFiles, identityHash } from './identity.ts';
import { imageFolder } from './image.ts';
import { type HostName, Lab, type LabHost } from './lab.ts';
import { withLock } from './lock.ts';
import { seedMaildir } from './postfix-dovecot/seed.ts';
import { all, mustRun } from './process.ts';
import { password } from './world.ts';

/**
 * OLD as a chatmail relay in use, and NEW as a host that was just rented: the same packages lie on its
 * disk, because hosts of the lab reach no mirror, but nothing is configured, enabled or running, and
 * there is no relay. `cmdeploy` makes one of it.
 */

export interface RelayOptions {
  /** Plain mailboxes u001 …; default 30. */
  readonly mailboxes?: number;
  /** Messages in each of them; default 20. */
  readonly messagesPerMailbox?: number;
  /** Told what takes long. Default: standard error. */
  readonly log?: (line: string) => void;
}

interface Size {
  readonly mailboxes: number;
  readonly messagesPerMailbox: number;
}

const mailHosts: readonly HostName[] = ['old', 'new'];

/** Users of a relay are made by its tool, with the next free number. NEW has taken some already. */
const opendkimIdOnNew = 391;
const takenOnNew = 'systemd-coredump-lab';

/** In the unbooted OLD: what `cmdeploy` does beside putting files. $1 the domain, $2 the folder of the certificate. */
const setUpOld = `
groupadd --system -g 995 vmail
useradd --system -u 995 -g vmail vmail
useradd --system iroh
usermod -a -G opendkim postfix
sh /stand-in-configure.sh "$1"
rm /stand-in-configure.sh
chmod 600 "/var/lib/acme/certs/$2/privkey"
systemctl enable -q doveauth chatmail-metadata lastlogin chatmail-expire.timer chatmail-fsreport.timer \\
  filtermail filtermail-incoming filtermail-transport turnserver iroh-relay acmetool-redirector \\
  acmetool-reconcile.timer opendkim dovecot postfix nginx fcgiwrap.socket unbound
`;

const setUpNew = `
systemctl disable -q postfix.service dovecot.service dovecot.socket opendkim.service 2>/dev/null
groupmod -g ${opendkimIdOnNew} opendkim
usermod -u ${opendkimIdOnNew} -g ${opendkimIdOnNew} opendkim
useradd --system ${takenOnNew}
rm -f /etc/dkimkeys/*.private
`;

function inside(root: string, text: string, ...args: readonly string[]): Promise<string> {
  return mustRun(['chroot', root, 'sh', '-euc', text, 'sh', ...args]);
}

/** acmetool's state: `live` names certificates, `accounts` hold the key that CAA pins. */
function writeAcmeState(root: string, role: 'old' | 'new'): void {
  const state = join(root, 'var/lib/acme');
  const certificate = join(state, 'certs', relay.certificate);
  mkdirSync(certificate, { recursive: true });
  const copy = (name: string, to: string) =>
    copyFileSync(identityFile(name), join(certificate, to));
  copy(identityFiles.certificate[role], 'fullchain');
  copy(identityFiles.certificate[role], 'cert');
  copy(identityFiles.certificateKey[role], 'privkey');
  mkdirSync(join(state, 'live'), { recursive: true });
  symlinkSync(`../certs/${relay.certificate}`, join(state, 'live', relay.domain));
  const account = join(state, 'accounts/acme-v02.api.letsencrypt.org%2fdirectory/lab0account');
  mkdirSync(account, { recursive: true });
  writeFileSync(join(account, 'url'), `${relay.acmeAccount}\n`);
  writeFileSync(join(account, 'privkey'), 'not a key\n', { mode: 0o600 });
}

async function configureOld(root: string, revision: string): Promise<void> {
  writeRelayFiles(root, installedFiles());
  writeRelayFiles(root, configuredFiles());
  writeAcmeState(root, 'old');
  mkdirSync(join(root, 'etc/dkimkeys'), { recursive: true });
  copyFileSync(
    identityFile(identityFiles.dkim.old),
    join(root, `etc/dkimkeys/${relay.dkimSelector}.private`),
  );
  copyFileSync(
    join(import.meta.dirname, 'chatmail/stand-ins/configure.sh'),
    join(root, 'stand-in-configure.sh'),
  );
  writeFileSync(join(root, 'etc/chatmail-version'), `${revision}\n`);
  await inside(root, setUpOld, relay.domain, relay.certificate);
}

function accounts(size: Size): string[] {
  const plain = Array.from({ length: size.mailboxes }, (_, index) => relayUser(index + 1));
  return [...plain, probeUser];
}

/** Day on which the account number `index` was last used; `password` bears it (user.py of chatmaild). */
function lastLogin(index: number): number {
  return Date.UTC(2026, 0, 1 + (index % 250)) / 1000;
}

/** Mailboxes with all that a relay keeps in them. */
async function seed(root: string, size: Size): Promise<void> {
  const argv = ['openssl', 'passwd', '-6', '-salt', 'mailcutover', '-stdin'];
  const hash = (await mustRun(argv, { stdin: password })).trim();
  const store = join(root, relay.mailboxes);
  const notices = join(store, 'pending_notifications');
  mkdirSync(notices, { recursive: true });
  for (const [index, address] of accounts(size).entries()) {
    const home = join(store, address);
    seedMaildir(home, address, { messages: index < size.mailboxes ? size.messagesPerMailbox : 3 });
    writeFileSync(join(home, 'password'), `{SHA512-CRYPT}${hash}`);
    utimesSync(join(home, 'password'), lastLogin(index), lastLogin(index));
    writeFileSync(join(home, 'enforceE2EEincoming'), '');
    if (index % 3 === 0) {
      const tokens = { devicetoken: { [`openpgp:token-${index}`]: 1795000000 } };
      writeFileSync(join(home, 'metadata.json'), JSON.stringify(tokens));
      const notice = createHash('md5').update(address).digest('hex');
      writeFileSync(join(notices, notice), `${address}\n1795000000\nopenpgp:token-${index}`);
    }
  }
  await inside(root, 'chown -R vmail:vmail /home/vmail');
}

/** Lets Dovecot give every message its UID. Without fsync: a crash now leaves no half-made layer. */
const assignUids = `
until doveadm user "$1" > /dev/null 2>&1; do sleep 0.1; done
find "$2" -maxdepth 1 -name '*@*' -printf '%f\\n' > /run/lab-accounts
doveadm -o mail_fsync=never mailbox status -F /run/lab-accounts "messages uidnext highestmodseq" "*" > /dev/null
doveadm -o mail_fsync=never index -F /run/lab-accounts INBOX
rm /run/lab-accounts
`;

/** Changes whenever what stands here, or in the files it is made of, does. */
function recipeKey(size: Size): string {
  const here = import.meta.dirname;
  const below = (folder: string) =>
    readdirSync(join(here, folder), { recursive: true, withFileTypes: true, encoding: 'utf8' })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  const sources = [
    join(here, 'world.ts'),
    join(here, 'profile-chatmail.ts'),
    join(here, 'postfix-dovecot/seed.ts'),
    ...below('chatmail'),
  ];
  const hash = createHash('sha256').update(identityHash()).update(JSON.stringify(size));
  hash.update(extraLayer(chatmailLayer));
  for (const source of sources.sort()) hash.update(readFileSync(source));
  return hash.digest('hex').slice(0, 16);
}

async function makeOld(host: LabHost, target: string, size: Size): Promise<void> {
  host.layers = [extraLayer(chatmailLayer)];
  await host.renew();
  const folder = mkdtempSync(join(tmpdir(), 'mail-cutover-relay-'));
  try {
    await configureOld(host.root, await makeCheckout(folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
  await seed(host.root, size);
  await host.boot();
  await host.mustSh(assignUids, [probeUser, relay.mailboxes], { timeout: 900 });
  await keep(host, target);
}

async function makeNew(host: LabHost, target: string): Promise<void> {
  host.layers = [extraLayer(chatmailLayer)];
  await host.renew();
  await inside(host.root, setUpNew);
  await host.boot();
  await keep(host, target);
}

/** Keeps a host as a layer, without the log of its making. */
async function keep(host: LabHost, target: string): Promise<void> {
  await host.keepAs(target);
  await mustRun(['find', join(target, 'var/log/journal'), '-mindepth', '1', '-delete']);
}

async function makeLayers(lab: Lab, folder: string, size: Size): Promise<void> {
  await Promise.all(mailHosts.map((name) => lab.host(name).powerCut()));
  const others = lab.hosts.filter(({ name, running }) => !mailHosts.includes(name) && !running);
  await all(others.map((host) => host.boot()));
  const part = `${folder}.part`;
  rmSync(part, { recursive: true, force: true });
  await all([
    makeOld(lab.host('old'), join(part, 'old'), size),
    makeNew(lab.host('new'), join(part, 'new')),
  ]);
  renameSync(part, folder);
}

/** A lab with a relay on OLD and a bare NEW, booted. */
export async function startRelayLab(options: RelayOptions = {}): Promise<Lab> {
  const { mailboxes = 30, messagesPerMailbox = 20 } = options;
  const { log = (line: string) => process.stderr.write(`lab: ${line}\n`) } = options;
  const size: Size = { mailboxes, messagesPerMailbox };
  const lab = await Lab.start({ boot: false });
  try {
    const folder = join(imageFolder(), 'layers', `chatmail-${recipeKey(size)}`);
    await withLock(`${folder}.lock`, async () => {
      if (existsSync(folder)) return;
      log(
        `making a relay of OLD, with ${mailboxes} mailboxes of ${messagesPerMailbox} messages, once`,
      );
      await makeLayers(lab, folder, size);
    });
    await all(
      mailHosts.map(async (name) => {
        const host = lab.host(name);
        await host.powerCut();
        host.layers = [join(folder, name), extraLayer(chatmailLayer)];
        await host.renew();
      }),
    );
    await lab.bootAll();
    return lab;
  } catch (error) {
    await lab.abandon();
    throw error;
  }
}
