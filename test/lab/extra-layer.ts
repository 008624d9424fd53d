import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { baseTree, imageFolder } from './image.ts';
import { withLock } from './lock.ts';
import { mustRun } from './process.ts';

/**
 * Packages that only some profiles need, as a layer over the base tree, so that the base stays small.
 * Built outside of the lab's namespaces, from which no packet leaves.
 */
export interface ExtraLayer {
  readonly name: string;
  readonly packages: readonly string[];
  /** Shell text that runs in the tree after the packages are there. */
  readonly finish: string;
}

/** What supervises and serves a qmail, and a database for its variant; qmail itself no registry has. */
export const qmailLayer: ExtraLayer = {
  name: 'qmail',
  packages: ['daemontools', 'runit', 'ucspi-tcp', 'tinycdb', 'mariadb-server', 'mariadb-client'],
  finish: `
systemctl disable -q mariadb.service postfix.service dovecot.service dovecot.socket opendkim.service
systemctl mask -q postfix.service dovecot.service dovecot.socket opendkim.service
rm -f /usr/sbin/sendmail /usr/lib/sendmail
rm -rf /var/lib/mysql/*`,
};

/** The folder that holds the layer, once it is built. */
export function extraLayer(layer: ExtraLayer): string {
  const key = createHash('sha256').update(JSON.stringify(layer)).digest('hex').slice(0, 12);
  return join(imageFolder(), 'extra', `${layer.name}-${key}`);
}

/** In a mount namespace of its own: `$1` base, `$2` upper, `$3` work, `$4` root, then packages. */
const build = `
base=$1; upper=$2; work=$3; root=$4; shift 4
finish=$(cat)
mount -t overlay -o "redirect_dir=on,index=off,metacopy=off,lowerdir=$base,upperdir=$upper,workdir=$work" overlay "$root"
mount -t proc proc "$root/proc"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\\nexit 101\\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq -y --no-install-recommends \\
  -o Dpkg::Options::=--path-exclude='/usr/share/man/*' -o Dpkg::Options::=--path-exclude='/usr/share/doc/*' \\
  -o Dpkg::Options::=--path-exclude='/usr/share/locale/*' -o Dpkg::Options::=--path-exclude='/usr/share/mysql/[a-z]*/*' -o Dpkg::Options::=--path-include='/usr/share/mysql/english/*' -o Dpkg::Options::=--path-include='/usr/share/mysql/charsets/*' \\
  install "$@"
chroot "$root" sh -euc "$finish"
rm -rf "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin
umount "$root/proc"
umount "$root"`;

/** Builds the layer if it is not there. Two builders wait for each other. */
export async function ensureExtraLayer(
  layer: ExtraLayer,
  log: (line: string) => void,
): Promise<string> {
  const target = extraLayer(layer);
  if (existsSync(target)) return target;
  mkdirSync(join(target, '..'), { recursive: true });
  await withLock(`${target}.lock`, async () => {
    if (existsSync(target)) return;
    const started = Date.now();
    log(`building the layer "${layer.name}" over the base image (once)`);
    const part = `${target}.part`;
    rmSync(part, { recursive: true, force: true });
    const folders = ['upper', 'work', 'root'].map((name) => join(part, name));
    for (const folder of folders) mkdirSync(folder, { recursive: true });
    await mustRun(
      [
        ...['unshare', '--mount', 'sh', '-euc', build, 'sh', baseTree(), ...folders],
        ...layer.packages,
      ],
      { stdin: layer.finish, timeout: 900 },
    );
    renameSync(join(part, 'upper'), target);
    rmSync(part, { recursive: true, force: true });
    log(`layer "${layer.name}" built in ${Math.round((Date.now() - started) / 1000)} s`);
  });
  return target;
}
