import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dkimSelector, identityFile, identityFiles, identityHash } from './identity.ts';
import { imageFolder, type Suite } from './image.ts';
import { type HostName, Lab, type LabHost, type LabOptions } from './lab.ts';
import { withLock } from './lock.ts';
import { dovecotConf24 } from './postfix-dovecot/dovecot-2.4.ts';
import {
  dovecotConf,
  indexFolder,
  passwdFile,
  sieveScript,
  usersFile,
} from './postfix-dovecot/dovecot-files.ts';
import * as postfix from './postfix-dovecot/postfix-files.ts';
import { seedMaildir } from './postfix-dovecot/seed.ts';
import { all, mustRun } from './process.ts';
import { domains, ids, network, password, special, virtualUser } from './world.ts';

/**
 * OLD as a Postfix and Dovecot server in full use, and NEW as its administrator prepared it: the same
 * configuration and the same users under other numbers, services running, no mail. What NEW must get
 * from OLD besides mail is `carry`: it has a password file without the virtual users' entries, a DKIM
 * key that is not the one in DNS, and a certificate of its own.
 */

export interface ProfileOptions {
  /** Plain mailboxes u001 …; default 300. */
  readonly mailboxes?: number;
  /** Messages in each of them, over all folders; default 60. */
  readonly messagesPerMailbox?: number;
  /** Bytes of one large message in each of the first `count` mailboxes; default none. */
  readonly large?: { readonly count: number; readonly bytes: number };
  /** Debian release of NEW; Debian 13 has Dovecot 2.4. Default: bookworm, as OLD. */
  readonly newSuite?: Suite | undefined;
  /** Told what takes long. Default: standard error. */
  readonly log?: (line: string) => void;
}

export interface Profile {
  /** Login names of all mailboxes, virtual and local, those with a role too. */
  readonly mailboxes: readonly string[];
  /** Paths that must move with the mail, as the migration file's `carry`. */
  readonly carry: readonly string[];
}

type Role = 'old' | 'new';
const mailHosts: readonly HostName[] = ['old', 'new'];

interface Size {
  readonly mailboxes: number;
  readonly messagesPerMailbox: number;
  readonly large: { readonly count: number; readonly bytes: number } | undefined;
  readonly newSuite?: Suite | undefined;
}

export const carry = [usersFile, '/etc/dkimkeys', '/etc/ssl/mail'] as const;

/** Numbers of a service account that differ between the hosts although a package made it. */
const opendkimIdOnNew = 391;

function virtualAddresses(size: Size): string[] {
  const plain = Array.from({ length: size.mailboxes }, (_, index) => virtualUser(index + 1));
  return [...plain, special.probe, special.sieve, special.full, special.piped];
}

function localName(address: string): string {
  return address.slice(0, address.indexOf('@'));
}

/** Writes text files into an unbooted host. */
function writeFiles(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}

async function passwordHash(): Promise<string> {
  const argv = ['openssl', 'passwd', '-6', '-salt', 'mailcutover', '-stdin'];
  return (await mustRun(argv, { stdin: password })).trim();
}

const opendkimConf = `Syslog yes
UMask 007
Canonicalization relaxed/simple
Mode sv
Domain ${domains.virtual}
Selector ${dkimSelector}
KeyFile /etc/dkimkeys/${dkimSelector}.private
UserID opendkim
Socket inet:8891@127.0.0.1
PidFile /run/opendkim/opendkim.pid
Nameservers ${network.resolver.v4}
`;

/** Runs in the unbooted host: $1 vmail's id, $2 anna's, $3 bert's, $4 opendkim's or '', $5 hash. */
const setUp = `
groupadd -g $1 vmail
useradd -u $1 -g $1 -d /var/vmail -M -s /usr/sbin/nologin vmail
useradd -u $2 -U -m -s /bin/bash -p "$5" anna
useradd -u $3 -U -m -s /bin/bash -p "$5" bert
if [ -n "$4" ]; then
  groupmod -g $4 opendkim
  usermod -u $4 -g $4 opendkim
fi
install -d -m 770 -o vmail -g vmail /var/vmail /var/vmail/${domains.virtual} /var/vmail/${domains.attic}
install -d -m 1777 ${indexFolder}
chown -R opendkim:opendkim /etc/dkimkeys
chmod 700 /etc/dkimkeys
chmod 600 /etc/dkimkeys/* /etc/ssl/mail/mail.key
chown root:dovecot ${usersFile}
chmod 640 ${usersFile}
postmap /etc/postfix/vmailbox /etc/postfix/virtual /etc/postfix/transport
newaliases
`;

/** Installs the administrator's configuration into an unbooted host. */
async function configure(root: string, role: Role, size: Size): Promise<void> {
  const hash = await passwordHash();
  const addresses = [...virtualAddresses(size), ...special.atticUsers];
  writeFiles(root, {
    'etc/mailname': `${domains.local}\n`,
    'etc/postfix/main.cf': postfix.mainCf(ids[role].vmail),
    'etc/postfix/vmailbox': postfix.vmailboxMap(addresses),
    'etc/postfix/virtual': postfix.virtualMap,
    'etc/postfix/transport': postfix.transportMap,
    'etc/aliases': postfix.aliasesFile,
    [postfix.listFile]: postfix.listMembers,
    [postfix.pipeProgram]: postfix.pipeScript,
    'etc/dovecot/dovecot.conf':
      role === 'new' && size.newSuite === 'trixie' ? dovecotConf24 : dovecotConf,
    [usersFile]: role === 'old' ? passwdFile(addresses, hash) : '',
    'etc/opendkim.conf': opendkimConf,
  });
  chmodSync(join(root, postfix.pipeProgram), 0o755);
  appendFileSync(join(root, 'etc/postfix/master.cf'), postfix.masterCfAddition);
  mkdirSync(join(root, 'etc/ssl/mail'), { recursive: true });
  const copy = (name: string, path: string) => copyFileSync(identityFile(name), join(root, path));
  copy(identityFiles.certificate[role], 'etc/ssl/mail/mail.pem');
  copy(identityFiles.certificateKey[role], 'etc/ssl/mail/mail.key');
  copy(identityFiles.dkim[role], `etc/dkimkeys/${dkimSelector}.private`);
  const { vmail, anna, bert } = ids[role];
  const numbers = [vmail, anna, bert, role === 'new' ? opendkimIdOnNew : ''].map(String);
  await mustRun(['chroot', root, 'sh', '-euc', setUp, 'sh', ...numbers, hash]);
}

/** Fills OLD's unbooted disk with mail. */
async function seed(root: string, size: Size): Promise<void> {
  const at = (path: string) => join(root, path);
  const { messagesPerMailbox, large } = size;
  const home = (address: string) => at(`/var/vmail/${domains.virtual}/${localName(address)}`);
  for (const [index, address] of virtualAddresses(size).entries()) {
    const isPlain = index < size.mailboxes;
    const messages = isPlain ? messagesPerMailbox : address === special.full ? 20 : 3;
    const bytes = large !== undefined && index < large.count ? { large: large.bytes } : {};
    seedMaildir(`${home(address)}/Maildir`, address, { messages, ...bytes });
  }
  for (const address of special.atticUsers) {
    seedMaildir(at(`/var/vmail/${domains.attic}/${localName(address)}`), address, { messages: 5 });
  }
  for (const address of special.localUsers) {
    seedMaildir(at(`/home/${localName(address)}/Maildir`), address, { messages: 5 });
  }
  mkdirSync(`${home(special.sieve)}/sieve`);
  writeFileSync(`${home(special.sieve)}/sieve/filing.sieve`, sieveScript);
  const owners = `ln -s sieve/filing.sieve "$1/.dovecot.sieve"
chown -R vmail:vmail /var/vmail; chown -R anna: /home/anna; chown -R bert: /home/bert`;
  const sieveHome = `/var/vmail/${domains.virtual}/${localName(special.sieve)}`;
  await mustRun(['chroot', root, 'sh', '-euc', owners, 'sh', sieveHome]);
}

/** Login names as Dovecot knows them. */
function logins(size: Size): string[] {
  return [...virtualAddresses(size), ...special.atticUsers, ...special.localUsers.map(localName)];
}

/** Lets Dovecot give every message its UID, as the clients of an old server know them. */
async function assignUids(old: LabHost, size: Size): Promise<void> {
  const stdin = `${logins(size).join('\n')}\n`;
  await old.mustSh(assignScript, [], { stdin, timeout: 900 });
}

/**
 * Two at a time. Without fsync: a machine that crashes now has no half-made layer to keep, so there
 * is no need to wait for the disk.
 */
const assignScript = `
folder=$(mktemp -d)
cd "$folder"
split -n r/2 - half.
assign() {
  doveadm -o mail_fsync=never mailbox status -F $1 "messages uidnext highestmodseq" "*" > /dev/null
  doveadm -o mail_fsync=never index -F $1 INBOX
}
assign half.aa &
assign half.ab
wait $!
rm -r "$folder"
`;

/** Changes whenever what stands here, or in the files it is made of, does. */
function recipeKey(size: Size): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const sources = [
    join(here, 'world.ts'),
    fileURLToPath(import.meta.url),
    ...readdirSync(join(here, 'postfix-dovecot')).map((name) =>
      join(here, 'postfix-dovecot', name),
    ),
  ];
  const hash = createHash('sha256').update(identityHash()).update(JSON.stringify(size));
  for (const source of sources.sort()) hash.update(readFileSync(source));
  return hash.digest('hex').slice(0, 16);
}

async function makeOld(host: LabHost, target: string, size: Size): Promise<void> {
  host.layers = [];
  await host.renew();
  await configure(host.root, 'old', size);
  await seed(host.root, size);
  await host.boot();
  await assignUids(host, size);
  await keep(host, target);
}

async function makeNew(host: LabHost, target: string, size: Size): Promise<void> {
  host.layers = [];
  await host.renew();
  await configure(host.root, 'new', size);
  await host.boot();
  await keep(host, target);
}

/** Keeps a host as a layer, without the log of its making. */
async function keep(host: LabHost, target: string): Promise<void> {
  await host.keepAs(target);
  await mustRun(['find', join(target, 'var/log/journal'), '-mindepth', '1', '-delete']);
}

async function makeLayers(lab: Lab, folder: string, size: Size): Promise<void> {
  await Promise.all([lab.host('old').powerCut(), lab.host('new').powerCut()]);
  // Services that find no name server take long to start and to stop.
  const others = lab.hosts.filter(({ name, running }) => !mailHosts.includes(name) && !running);
  await all(others.map((host) => host.boot()));
  const part = `${folder}.part`;
  rmSync(part, { recursive: true, force: true });
  await all([
    makeOld(lab.host('old'), join(part, 'old'), size),
    makeNew(lab.host('new'), join(part, 'new'), size),
  ]);
  renameSync(part, folder);
}

function say(line: string): void {
  process.stderr.write(`lab: ${line}\n`);
}

/**
 * Makes OLD and NEW of a started lab such servers and boots everything that is off. The first time
 * takes a while; then both come from the cache, named after this recipe and the numbers.
 */
export async function provision(lab: Lab, options: ProfileOptions = {}): Promise<Profile> {
  const { mailboxes = 300, messagesPerMailbox = 60, large, newSuite, log = say } = options;
  const size: Size = { mailboxes, messagesPerMailbox, large, newSuite };
  const folder = join(imageFolder(), 'layers', recipeKey(size));
  await withLock(`${folder}.lock`, async () => {
    if (existsSync(folder)) return;
    const started = Date.now();
    log(`filling OLD with ${mailboxes} mailboxes of ${messagesPerMailbox} messages, once`);
    await makeLayers(lab, folder, size);
    log(
      `OLD and NEW are ready for every later run (${Math.round((Date.now() - started) / 1000)} s)`,
    );
  });
  await all(
    mailHosts.map(async (role) => {
      const host = lab.host(role);
      await host.powerCut();
      host.layers = [join(folder, role)];
      await host.renew();
    }),
  );
  await lab.bootAll();
  return { mailboxes: logins(size), carry };
}

/** A lab with such servers, booted once: the short way to `Lab.start` and `provision`. */
export async function startMailLab(
  options: Omit<LabOptions, 'boot'> & ProfileOptions = {},
): Promise<{ lab: Lab; profile: Profile }> {
  const lab = await Lab.start({ ...options, boot: false });
  try {
    return { lab, profile: await provision(lab, options) };
  } catch (error) {
    await lab.abandon();
    throw error;
  }
}
