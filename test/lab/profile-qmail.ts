import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { extraLayer, qmailLayer } from './extra-layer.ts';
import { imageFolder } from './image.ts';
import { Lab, type LabHost, type LabOptions } from './lab.ts';
import { withLock } from './lock.ts';
import { seedMaildir } from './postfix-dovecot/seed.ts';
import { all, mustRun } from './process.ts';
import {
  assign,
  checkPassword,
  controlFiles,
  dotQmail,
  homeOf,
  maildirOf,
  mailRoot,
  popUsers,
  qmailIds,
  type Role,
  type Supervisor,
  services,
  tables,
  virtualMailboxes,
} from './qmail/qmail-files.ts';
import { makeCdb, vdelivermail, vpopmailDomain, vpopmailFiles } from './qmail/vpopmail-files.ts';
import { special } from './world.ts';

/**
 * OLD as a qmail server in full use and NEW as its administrator prepared it: the same users under
 * other numbers, services running, no mail. With the variable QMAIL_TREE both run the installed tree
 * that it names, a real /var/qmail whose files carry the numbers of its users; without it a stand-in
 * (qmail/stand-in.pl), which is told by its name.
 */
export interface QmailOptions {
  readonly mailboxes?: number;
  readonly messagesPerMailbox?: number;
  readonly supervisor?: Supervisor;
  readonly variant?: 'files' | 'mysql' | undefined;
  readonly log?: (line: string) => void;
}

interface Size {
  readonly mailboxes: number;
  readonly messagesPerMailbox: number;
  readonly supervisor: Supervisor;
  readonly variant: 'files' | 'mysql';
}

const here = dirname(fileURLToPath(import.meta.url));
export const qmailTree = process.env.QMAIL_TREE;
export const isStandIn = qmailTree === undefined;

const programs = [
  ...['qmail-start', 'qmail-send', 'qmail-local', 'qmail-remote', 'qmail-queue', 'qmail-inject'],
  ...['qmail-smtpd', 'qmail-popup', 'qmail-pop3d', 'qmail-newu', 'qmail-newmrh'],
  ...['qmail-qstat', 'qmail-qread', 'qmail-tcpok', 'forward'],
];

function write(root: string, path: string, text: string, mode = 0o644): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
}

/** A real tree, or the stand-in. Returns the numbers of qmail's own users. */
function installTree(root: string): readonly number[] {
  const target = join(root, 'var/qmail');
  if (qmailTree !== undefined) {
    cpSync(qmailTree, target, {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
    return treeIds(qmailTree);
  }
  mkdirSync(join(target, 'bin'), { recursive: true });
  for (const folder of ['alias', 'control', 'users']) mkdirSync(join(target, folder));
  write(target, 'bin/stand-in.pl', readFileSync(join(here, 'qmail/stand-in.pl'), 'utf8'), 0o755);
  for (const name of programs) symlinkSync('stand-in.pl', join(target, 'bin', name));
  return [7790, 7791, 7794, 7795, 7796];
}

/** Of a real tree: group qmail, then alias, qmailq, qmailr, qmails. */
function treeIds(tree: string): readonly number[] {
  const uid = (path: string) => statSync(join(tree, path)).uid;
  const ids = [
    statSync(join(tree, 'queue/mess')).gid,
    uid('alias'),
    uid('queue/mess'),
    uid('queue/lock/tcpto'),
    uid('queue/info'),
  ];
  if (ids.includes(0))
    throw new Error(`QMAIL_TREE=${tree}: its files belong to root, not to qmail's users`);
  return ids;
}

/** In the unbooted host. `$1` group qmail, `$2` alias, `$3` qmailq, `$4` qmailr, `$5` qmails, then vmail, vpopmail, anna, bert. */
const setUp = `
groupadd -g $1 qmail
groupadd -g 7999 nofiles
user() { useradd -u "$2" -g "$3" -d "$4" -M -s /usr/sbin/nologin "$1"; }
user alias $2 nofiles /var/qmail/alias
user qmailq $3 qmail /var/qmail
user qmailr $4 qmail /var/qmail
user qmails $5 qmail /var/qmail
user qmaild 7997 nofiles /var/qmail
user qmaill 7998 nofiles /var/qmail
user qmailp 7999 nofiles /var/qmail
groupadd -g $6 vmail
user vmail $6 vmail ${mailRoot}
groupadd -g $7 vpopmail
user vpopmail $7 vpopmail /home/vpopmail
useradd -u $8 -U -m -s /bin/bash anna
useradd -u $9 -U -m -s /bin/bash bert
install -d -m 755 ${mailRoot}
install -d -m 755 /home/vpopmail /home/vpopmail/domains
if [ -d ${vpopmailDomain} ]; then ( cd ${vpopmailDomain}; chmod 700 .; ${makeCdb}; chmod 600 vpasswd vpasswd.cdb ); fi
chown -R vmail:vmail ${mailRoot}
chown -R vpopmail:vpopmail /home/vpopmail
chown -R anna: /home/anna
chown -R bert: /home/bert
chown alias:qmail /var/qmail/alias
/var/qmail/bin/qmail-newu
/var/qmail/bin/qmail-newmrh`;

/** The queue of a real tree keeps its owners; a copy as root has them all. */
async function keepOwners(root: string): Promise<void> {
  if (qmailTree === undefined) return;
  await mustRun(['cp', '-a', `${qmailTree}/.`, join(root, 'var/qmail')]);
}

function supervise(root: string, role: Role, supervisor: Supervisor): void {
  const smtpUser = isStandIn ? '' : '-u 7997 -g 7999';
  const wants = 'etc/systemd/system/multi-user.target.wants';
  mkdirSync(join(root, wants), { recursive: true });
  const enable = (unit: string, text: string) => {
    write(root, `etc/systemd/system/${unit}`, text);
    symlinkSync(`/etc/systemd/system/${unit}`, join(root, wants, unit));
  };
  // runit's package makes it a link to a folder of its own.
  rmSync(join(root, 'etc/service'), { recursive: true, force: true });
  for (const [name, start] of Object.entries(services(role, smtpUser))) {
    if (supervisor === 'systemd') {
      write(root, `usr/local/lib/${name}`, `#!/bin/sh\n${start}\n`, 0o755);
      const line = start.replace(/^exec /, '').replace(/ 2>&1$/, '');
      enable(
        `${name}.service`,
        `[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/sh -c 'exec ${line}'\nRestart=always\nRestartSec=1\nKillMode=mixed\n[Install]\nWantedBy=multi-user.target\n`,
      );
      continue;
    }
    write(root, `var/qmail/supervise/${name}/run`, `#!/bin/sh\n${start}\n`, 0o755);
    if (name !== 'qmail-send') {
      const keep = supervisor === 'runit' ? 'svlogd -tt' : 'multilog t';
      const folder = `/var/log/qmail/${name}`;
      write(
        root,
        `var/qmail/supervise/${name}/log/run`,
        `#!/bin/sh\nmkdir -p ${folder}\nexec ${keep} ${folder}\n`,
        0o755,
      );
    }
    mkdirSync(join(root, 'etc/service'), { recursive: true });
    symlinkSync(`/var/qmail/supervise/${name}`, join(root, 'etc/service', name));
  }
  if (supervisor === 'systemd') return;
  const scan = supervisor === 'runit' ? 'runsvdir -P /etc/service' : 'svscan /etc/service';
  enable(
    'supervisor.service',
    `[Unit]\nAfter=network.target\n[Service]\nEnvironment=PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\nExecStart=/usr/bin/${scan}\nRestart=always\nKillMode=control-group\n[Install]\nWantedBy=multi-user.target\n`,
  );
}

async function configure(root: string, role: Role, size: Size): Promise<void> {
  const isMysql = size.variant === 'mysql';
  const addresses = virtualMailboxes(size.mailboxes);
  const own = installTree(root);
  await keepOwners(root);
  for (const [name, text] of Object.entries(controlFiles(role, isMysql))) {
    write(root, `var/qmail/control/${name}`, text);
  }
  write(root, 'var/qmail/users/assign', assign(role, addresses, isMysql));
  write(root, 'etc/lab-pop3', popUsers(role, addresses), 0o600);
  write(root, 'usr/local/bin/checkpassword', checkPassword, 0o755);
  for (const user of ['anna', 'bert']) mkdirSync(join(root, 'home', user), { recursive: true });
  for (const [path, text] of Object.entries(dotQmail())) {
    if (role === 'old' || !path.startsWith(mailRoot)) write(root, path, text);
  }
  write(root, vdelivermail, readFileSync(join(here, 'qmail/vdelivermail'), 'utf8'), 0o755);
  if (role === 'old') seed(root, size, addresses);
  supervise(root, role, size.supervisor);
  const { vmail, vpopmail, anna, bert } = qmailIds[role];
  const ids = [...own, vmail, vpopmail, anna, bert].map(String);
  await mustRun(['chroot', root, 'sh', '-euc', setUp, 'sh', ...ids]);
}

function seed(root: string, size: Size, addresses: readonly string[]): void {
  for (const [path, text] of Object.entries(vpopmailFiles())) write(root, path, text);
  for (const address of [...addresses, ...special.localUsers, ...special.atticUsers]) {
    const isPlain = addresses.indexOf(address) < size.mailboxes && addresses.includes(address);
    const messages = isPlain ? size.messagesPerMailbox : 5;
    seedMaildir(join(root, maildirOf(address)), address, { messages });
  }
  for (const name of ['team', 'forward'])
    mkdirSync(join(root, mailRoot, name), { recursive: true });
}

const makeDatabase =
  'mariadb-install-db --user=mysql --skip-test-db > /dev/null; systemctl enable -q --now mariadb; mariadb';

async function make(host: LabHost, role: Role, target: string, size: Size): Promise<void> {
  host.layers = [extraLayer(qmailLayer)];
  await host.renew();
  await configure(host.root, role, size);
  await host.boot();
  if (size.variant === 'mysql')
    await host.mustSh(makeDatabase, [], { stdin: tables(role, virtualMailboxes(size.mailboxes)) });
  await host.keepAs(target);
  await mustRun(['find', join(target, 'var/log/journal'), '-mindepth', '1', '-delete']);
}

/** Changes whenever what the hosts are made of does. */
function recipeKey(size: Size): string {
  const hash = createHash('sha256').update(JSON.stringify(size)).update(extraLayer(qmailLayer));
  const sources = [
    join(here, 'world.ts'),
    fileURLToPath(import.meta.url),
    join(here, 'postfix-dovecot/seed.ts'),
    ...readdirSync(join(here, 'qmail')).map((name) => join(here, 'qmail', name)),
  ];
  for (const source of sources.sort()) hash.update(readFileSync(source));
  for (const file of qmailTree === undefined ? [] : readdirSync(join(qmailTree, 'bin')).sort()) {
    const { size: bytes, mtimeMs } = statSync(join(qmailTree ?? '', 'bin', file));
    hash.update(`${file} ${bytes} ${mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

/** A lab with two such servers, booted. */
export async function startQmailLab(
  options: Omit<LabOptions, 'boot'> & QmailOptions = {},
): Promise<{ lab: Lab }> {
  const {
    mailboxes = 20,
    messagesPerMailbox = 10,
    supervisor = 'daemontools',
    variant = 'files',
  } = options;
  const size: Size = { mailboxes, messagesPerMailbox, supervisor, variant };
  const lab = await Lab.start({ ...options, boot: false });
  try {
    const folder = join(imageFolder(), 'layers', `qmail-${recipeKey(size)}`);
    await withLock(`${folder}.lock`, async () => {
      if (existsSync(folder)) return;
      options.log?.(`making OLD and NEW with ${isStandIn ? 'the stand-in for qmail' : qmailTree}`);
      const part = `${folder}.part`;
      rmSync(part, { recursive: true, force: true });
      const others = lab.hosts.filter(({ name }) => name !== 'old' && name !== 'new');
      await all(others.map((host) => host.boot()));
      await all([
        make(lab.host('old'), 'old', join(part, 'old'), size),
        make(lab.host('new'), 'new', join(part, 'new'), size),
      ]);
      renameSync(part, folder);
    });
    for (const role of ['old', 'new'] as const) {
      const host = lab.host(role);
      await host.powerCut();
      host.layers = [join(folder, role), extraLayer(qmailLayer)];
      await host.renew();
    }
    await lab.bootAll();
    return { lab };
  } catch (error) {
    await lab.abandon();
    throw error;
  }
}

export { homeOf, maildirOf };
