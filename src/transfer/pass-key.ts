import { command, script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { mirrorProgram } from './mirror-program.ts';
import { openWay } from './way.ts';

/**
 * The key that joins source and target for one pass. It is made on the source, in memory-backed
 * storage; on the target it may do one thing, change the listed trees through our own program or
 * rsync's own server, from the source's addresses, until its lease ends (sshd's `expiry-time`, sshd(8)
 * AUTHORIZED_KEYS FILE FORMAT).
 */
export interface PassKey {
  /** Words that start a connection, as one shell line. */
  readonly remoteShell: string;
  /** The same for rsync's `-e`: connections that follow each other closely share one. */
  readonly sharedShell: string;
  readonly destination: string;
  /** The target as ssh(1) takes it. */
  readonly host: string;
  /** Whether both hosts can run the mirror program, which then lies in `folder` with its items. */
  readonly canMirror: boolean;
  /** Of the key and what belongs to it, on both hosts. */
  readonly folder: string;
  /** Whether the connection goes over the runner: then nothing outlives this job. */
  readonly throughRunner: boolean;
  /** rsync module name of each tree. */
  module(path: string): string;
  /** Puts the end of the lease off, to a full lease from now. */
  renew(): Promise<void>;
  remove(): Promise<void>;
}

export interface PassKeyOptions {
  readonly source: Host;
  readonly target: Host;
  readonly targetPort: number;
  readonly migration: string;
  /** Directories that rsync may write. */
  readonly directories: readonly string[];
  /** What the mirror program may change, in its own form; see there. */
  readonly mirrorItems?: string;
}

/** What the source asks the target for, so that the one forced command knows which end to start. */
export const mirrorRequest = 'mail-cutover mirror';
/** The same for a connection that waits, and takes the lock when it begins. */
export const heldRequest = 'mail-cutover held';
/**
 * The same for tar(1), with the number of a store after it, and the program that has made less of the stream;
 * the mirror program makes it of the other.
 */
const tarRequest = 'mail-cutover tar';

const leaseMinutes = 30;

export async function createPassKey(options: PassKeyOptions): Promise<PassKey> {
  const { source, target, migration } = options;
  const folder = `/run/mail-cutover-${migration}`;
  const items = Buffer.from(options.mirrorItems ?? '');
  const program = Buffer.concat([items, Buffer.from(mirrorProgram)]);
  const [made, published, way] = await Promise.all([
    source.change(
      script(makeKey, [folder, migration, String(items.length)], {
        stdin: program,
        purpose: 'make the key of this pass',
      }),
    ),
    target.read(
      script('cat /etc/ssh/ssh_host_*_key.pub', [], { purpose: "read the host's public keys" }),
    ),
    openWay(source, target, options.targetPort),
  ]);
  const [publicKey = '', sourceCan = '', sourceCipher = '', ...addressLines] = lines(made.stdout);
  const addresses = way.from?.join(',') ?? addressesIn(addressLines, source.address);
  const config = Buffer.from(rsyncdConfig(options.directories));
  const hostKeys = knownHosts(way.address, way.port, published.stdout.toString('utf8'));
  const lease = [folder, migration, addresses, publicKey, String(leaseMinutes)];
  const [, admitted] = await Promise.all([
    source.change(
      script('umask 077; cat > "$1/known_hosts"', [folder], {
        stdin: hostKeys,
        purpose: 'pin the host key for this pass',
      }),
    ),
    target.change(
      script(openDoor, [...lease, String(config.length), String(items.length)], {
        stdin: Buffer.concat([config, program]),
        purpose: 'admit the key of this pass',
      }),
    ),
  ]);
  const [targetCan = '', targetCipher = ''] = lines(admitted.stdout);
  const hasFastAes = sourceCipher === 'aes' && targetCipher === 'aes';
  const remoteShell = [
    'ssh',
    '-i',
    `${folder}/key`,
    '-p',
    String(way.port),
    '-o',
    `UserKnownHostsFile=${folder}/known_hosts`,
    '-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes -o ForwardAgent=no',
    '-o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ConnectTimeout=15',
    `-c ${(hasFastAes ? [...aesCiphers, chacha] : [chacha, ...aesCiphers]).join(',')}`,
    '-l root',
  ].join(' ');
  return {
    remoteShell,
    sharedShell: `${remoteShell} -o ControlMaster=auto -o ControlPath=${folder}/shared -o ControlPersist=15`,
    host: way.address,
    destination: way.address.includes(':') ? `[${way.address}]` : way.address,
    throughRunner: way.throughRunner,
    canMirror: sourceCan === 'mirror' && targetCan === 'mirror',
    folder,
    module: (path) => moduleName(options.directories.indexOf(path)),
    renew: async () => {
      await target.change(script(admitKey, lease, { purpose: 'renew the key of this pass' }));
    },
    remove: async () => {
      await removePassKey(source, target, migration);
      await way.close();
    },
  };
}

/** AES costs a fraction of the other where processors have instructions for it, and several times as much where not. */
const aesCiphers = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr'];
const chacha = 'chacha20-poly1305@openssh.com';

/**
 * Removes the key of a pass and what belongs to it, on both hosts. Safe to call when there is nothing.
 * A connection that stands goes on.
 */
export async function removePassKey(source: Host, target: Host, migration: string): Promise<void> {
  const folder = `/run/mail-cutover-${migration}`;
  await Promise.all([
    target.change(
      script(dismissKey, [folder, migration], { purpose: 'dismiss the key of this pass' }),
    ),
    source.change(command(['rm', '-rf', '--', folder], { purpose: 'delete the key of this pass' })),
  ]);
}

/** Takes the items and the program from standard input, and says whether this host can run it. */
const takeProgram = String.raw`
head -c "$itemsize" > "$1/items"
cat > "$1/mirror.pl"
if perl "$1/mirror.pl" probe 2>/dev/null; then can=mirror; else can=no; fi
if grep -qwm1 aes /proc/cpuinfo; then aes=aes; else aes=no; fi`;

const makeKey = String.raw`
umask 077
rm -rf -- "$1"
mkdir -p -- "$1"
itemsize=$3
${takeProgram}
ssh-keygen -q -t ed25519 -N '' -C "mail-cutover $2 pass" -f "$1/key"
cat "$1/key.pub"
printf '%s\n' "$can" "$aes"
ip -o addr show scope global`;

const withoutOurLine = String.raw`
file=/root/.ssh/authorized_keys
umask 077
mkdir -p /root/.ssh
[ -e "$file" ] || : > "$file"
cp -a -- "$file" "$file.mail-cutover.$$"
awk -v tag=" mail-cutover $2 pass" 'substr($0, length($0) - length(tag) + 1) != tag' "$file" > "$file.mail-cutover.$$"`;

/** `$1` folder, `$2` migration, `$3` addresses, `$4` public key, `$5` minutes of the lease. */
const admitKey = String.raw`
expiry=$(date -u -d "+$5 minutes" +%Y%m%d%H%M%SZ)
${withoutOurLine}
printf 'restrict,from="%s",expiry-time="%s",command="exec sh %s/door" %s\n' \
  "$3" "$expiry" "$1" "$4" >> "$file.mail-cutover.$$"
mv -f -- "$file.mail-cutover.$$" "$file"`;

/**
 * sshd hands the forced command to root's shell, with what the other side asked for in the environment.
 * `$6` and `$7`: bytes of rsyncd.conf and of the items on standard input, before the program.
 */
const openDoor = String.raw`
umask 077
mkdir -p -m 700 -- "$1"
head -c "$6" > "$1/rsyncd.conf"
itemsize=$7
${takeProgram}
# Under the lock's number, where there is one: who takes the lock over ends this end of a pass too. What is
# held open until then takes it when it begins.
lock=$(printenv HOSTCTL_LOCK || :)
run=
if [ -n "$lock" ]; then run="/var/lib/mail-cutover/$2/bin/hostctl run $lock"; fi
cat > "$1/door" <<END
state=/var/lib/mail-cutover/$2
case "\$SSH_ORIGINAL_COMMAND" in
  '${mirrorRequest}') exec $run perl $1/mirror.pl receive "\$state" $1/items ;;
  '${heldRequest}') exec perl $1/mirror.pl receive "\$state" $1/items held ;;
  '${tarRequest} '*) set -f; exec $run perl $1/mirror.pl untar "\$state" $1/items \${SSH_ORIGINAL_COMMAND#'${tarRequest} '} ;;
esac
exec $run rsync --config=$1/rsyncd.conf --server --daemon .
END
${admitKey}
printf '%s\n' "$can" "$aes"`;

const dismissKey = `${withoutOurLine}
mv -f -- "$file.mail-cutover.$$" "$file"
rm -rf -- "$1"`;

function lines(output: Buffer): readonly string[] {
  return output.toString('utf8').trim().split('\n');
}

/** Those that ip(8) lists, and the one by which the source is known here. */
function addressesIn(listed: readonly string[], known: string): string {
  const addresses = listed
    .map((line) => /inet6? ([0-9a-f.:]+)/.exec(line)?.[1])
    .filter((address) => address !== undefined);
  return [...new Set([...addresses, known])].join(',');
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
