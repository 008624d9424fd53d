import { command, script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';

/**
 * The key that joins source and target for one pass. It is made on the source, in memory-backed
 * storage; on the target it may do one thing, write into the listed trees through rsync's own
 * server, from the source's addresses, until its lease ends (sshd's `expiry-time`, sshd(8)
 * AUTHORIZED_KEYS FILE FORMAT).
 */
export interface PassKey {
  /** Words for rsync's `-e`, as one shell line. */
  readonly remoteShell: string;
  readonly destination: string;
  /** rsync module name of each tree. */
  module(path: string): string;
  remove(): Promise<void>;
}

const leaseMinutes = 30;

export async function createPassKey(options: {
  source: Host;
  target: Host;
  targetPort: number;
  migration: string;
  /** Directories that may be written. */
  directories: readonly string[];
}): Promise<PassKey> {
  const { source, target, migration } = options;
  const folder = `/run/mail-cutover-${migration}`;
  const publicKey = (
    await source.change(
      script(makeKey, [folder, migration], { purpose: 'make the key of this pass' }),
    )
  ).stdout
    .toString('utf8')
    .trim();
  const addresses = await sourceAddresses(source);
  const hostKeys = (
    await target.read(
      script('cat /etc/ssh/ssh_host_*_key.pub', [], { purpose: "read the host's public keys" }),
    )
  ).stdout.toString('utf8');
  await source.change(
    script('umask 077; cat > "$1/known_hosts"', [folder], {
      stdin: knownHosts(target.address, options.targetPort, hostKeys),
      purpose: 'pin the host key for this pass',
    }),
  );
  await target.change(
    script(admitKey, [folder, migration, addresses, publicKey, String(leaseMinutes)], {
      stdin: rsyncdConfig(options.directories),
      purpose: 'admit the key of this pass',
    }),
  );
  return {
    remoteShell: [
      'ssh',
      '-i',
      `${folder}/key`,
      '-p',
      String(options.targetPort),
      '-o',
      `UserKnownHostsFile=${folder}/known_hosts`,
      '-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes -o ForwardAgent=no',
      '-o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ConnectTimeout=15',
      '-c aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr',
      '-l root',
    ].join(' '),
    destination: target.address.includes(':') ? `[${target.address}]` : target.address,
    module: (path) => moduleName(options.directories.indexOf(path)),
    remove: () => removePassKey(source, target, migration),
  };
}

/** Removes whatever a pass left behind, on both hosts. Safe to call when there is nothing. */
export async function removePassKey(source: Host, target: Host, migration: string): Promise<void> {
  const folder = `/run/mail-cutover-${migration}`;
  await target.change(
    script(dismissKey, [folder, migration], { purpose: 'dismiss the key of this pass' }),
  );
  await source.change(
    command(['rm', '-rf', '--', folder], { purpose: 'delete the key of this pass' }),
  );
}

const makeKey = String.raw`
umask 077
rm -rf -- "$1"
mkdir -p -- "$1"
ssh-keygen -q -t ed25519 -N '' -C "mail-cutover $2 pass" -f "$1/key"
cat "$1/key.pub"`;

const withoutOurLine = String.raw`
file=/root/.ssh/authorized_keys
umask 077
mkdir -p /root/.ssh
[ -e "$file" ] || : > "$file"
cp -a -- "$file" "$file.mail-cutover.$$"
awk -v tag=" mail-cutover $2 pass" 'substr($0, length($0) - length(tag) + 1) != tag' "$file" > "$file.mail-cutover.$$"`;

const admitKey = String.raw`
mkdir -p -m 700 -- "$1"
cat > "$1/rsyncd.conf"
expiry=$(date -u -d "+$5 minutes" +%Y%m%d%H%M%SZ)
${withoutOurLine}
printf 'restrict,from="%s",expiry-time="%s",command="rsync --config=%s/rsyncd.conf --server --daemon ." %s\n' \
  "$3" "$expiry" "$1" "$4" >> "$file.mail-cutover.$$"
mv -f -- "$file.mail-cutover.$$" "$file"`;

const dismissKey = String.raw`${withoutOurLine}
mv -f -- "$file.mail-cutover.$$" "$file"
rm -rf -- "$1"`;

async function sourceAddresses(source: Host): Promise<string> {
  const result = await source.read(
    script('ip -o addr show scope global', [], { purpose: 'read its own addresses' }),
  );
  const addresses = result.stdout
    .toString('utf8')
    .split('\n')
    .map((line) => /inet6? ([0-9a-f.:]+)/.exec(line)?.[1])
    .filter((address) => address !== undefined);
  return [...new Set([...addresses, source.address])].join(',');
}

function knownHosts(address: string, port: number, publicKeys: string): string {
  const name = port === 22 ? address : `[${address}]:${port}`;
  return publicKeys
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${name} ${line.split(' ').slice(0, 2).join(' ')}\n`)
    .join('');
}

function moduleName(index: number): string {
  return `tree${index}`;
}

/** rsyncd.conf(5): write only, these directories, owners by name. */
function rsyncdConfig(directories: readonly string[]): string {
  const modules = directories.map((path, index) => `[${moduleName(index)}]\npath = ${path}\n`);
  return `uid = 0\ngid = 0\nuse chroot = no\nread only = no\nwrite only = yes\nnumeric ids = no\nmunge symlinks = no\nlist = no\n${modules.join('')}`;
}
