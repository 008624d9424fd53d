import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock.ts';
import { cacheFolder } from './paths.ts';
import { mustRun } from './process.ts';
import { password } from './world.ts';

/** The base tree of every host: Debian with the mail and DNS programs, nothing configured. */

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

const packages = [
  ...['systemd', 'systemd-sysv', 'dbus', 'cron', 'procps', 'iproute2', 'sudo', 'rsync'],
  ...['openssh-server', 'openssl', 'ca-certificates'],
  ...['postfix', 'opendkim', 'opendkim-tools'],
  ...['dovecot-core', 'dovecot-imapd', 'dovecot-pop3d', 'dovecot-lmtpd'],
  ...['dovecot-sieve', 'dovecot-managesieved'],
  ...['bind9', 'bind9-dnsutils', 'knot', 'knot-dnsutils', 'unbound'],
];

/**
 * Runs in the new tree. mmdebstrap leaves the machine's resolv.conf and host name in it and sshd's
 * package makes host keys: each host gets its own of all of these.
 */
const finish = `
rm -f /etc/resolv.conf /etc/hostname /etc/ssh/ssh_host_* /etc/mailname
: > /etc/machine-id
systemctl disable -q named knot unbound
systemctl mask -q console-getty.service getty.target systemd-logind.service \\
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \\
  e2scrub_reap.service
# A log that outlives a power cut, and ids that leave 1000 and up to the mail users.
mkdir -p /var/log/journal
useradd -m -u 2000 -s /bin/bash admin
printf 'admin ALL=(ALL) NOPASSWD: ALL\\n' > /etc/sudoers.d/admin
# Debian has a group of this name already.
useradd -m -u 2001 -s /bin/bash -g operator -G sudo operator
usermod -p "$(openssl passwd -6 -salt mailcutover -stdin <<'PASSWORD'
${password}
PASSWORD
)" operator
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log
`;

/** Debian releases that a host may run: 12 and 13. */
export const suites = ['bookworm', 'trixie'] as const;
export type Suite = (typeof suites)[number];

const usual: Suite = 'bookworm';

const recipe = {
  suite: usual,
  packages,
  withoutPaths: [
    '/usr/share/man/*',
    '/usr/share/doc/*',
    '/usr/share/info/*',
    '/usr/share/locale/*',
  ],
  finish,
};

/** Name of the recipe: another recipe is another image. */
export const recipeHash: string = createHash('sha256')
  .update(JSON.stringify(recipe) + process.arch)
  .digest('hex')
  .slice(0, 16);

/** Everything made from this recipe. */
export function imageFolder(): string {
  return join(cacheFolder(), recipeHash);
}

/** The base tree, once it is built. */
export function baseTree(suite: Suite = usual): string {
  return join(imageFolder(), suite === usual ? 'base' : suite);
}

/**
 * The machine's own Debian sources (deb822 or one-line), so that its mirror is used. Empty on a
 * machine that is not Debian; mmdebstrap then takes its default mirror. A mirror has every release.
 */
function debianSources(suite: Suite): string {
  const folder = '/etc/apt/sources.list.d';
  const files = ['/etc/apt/sources.list'];
  if (existsSync(folder)) files.push(...readdirSync(folder).map((name) => join(folder, name)));
  return files
    .filter((file) => /\.(list|sources)$/.test(file) && existsSync(file))
    .flatMap((file) => readFileSync(file, 'utf8').split(file.endsWith('.list') ? '\n' : /\n\s*\n/))
    .filter((entry) => entry.includes(keyring) && entry.includes(usual))
    .map((entry) => entry.replaceAll(usual, suite))
    .join('\n\n');
}

async function build(target: string, suite: Suite): Promise<void> {
  const sources = debianSources(suite);
  await mustRun(
    [
      'mmdebstrap',
      '--quiet',
      '--mode=root',
      '--format=directory',
      '--variant=minbase',
      `--keyring=${keyring}`,
      `--include=${packages.join(',')}`,
      ...recipe.withoutPaths.map((path) => `--dpkgopt=path-exclude=${path}`),
      '--aptopt=Acquire::Languages "none"',
      suite,
      target,
      ...(sources === '' ? [] : ['-']),
    ],
    { stdin: sources, timeout: 1800 },
  );
}

/** Builds the base tree if this recipe has none yet. Two builders wait for each other. */
export async function ensureBase(
  log: (line: string) => void,
  suite: Suite = usual,
): Promise<string> {
  const base = baseTree(suite);
  if (existsSync(base)) return base;
  mkdirSync(imageFolder(), { recursive: true });
  await withLock(`${base}.lock`, async () => {
    if (existsSync(base)) return;
    const started = Date.now();
    const target = `${base}.part`;
    log(`building the ${suite} image with mmdebstrap (about a minute, once) in ${imageFolder()}`);
    await mustRun(['rm', '-rf', '--one-file-system', target]);
    await build(target, suite);
    await mustRun(['chroot', target, 'sh', '-eu'], { stdin: recipe.finish });
    renameSync(target, base);
    log(`${suite} image built in ${Math.round((Date.now() - started) / 1000)} s`);
  });
  return base;
}
