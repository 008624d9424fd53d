import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { addressesIn, admissionWords, admit, admitting } from './admission.ts';
import { makingKey, prepareSource, prepareTarget } from './ends.ts';
import { meetingProgram } from './meeting-program.ts';
import { mirrorProgram } from './mirror-program.ts';
import { folderOf } from './pass-folder.ts';
import { findWay, hostKeys, knownHosts } from './way.ts';

/** The two hosts of a pass, and what may be changed on the target. */
export interface JoinOptions {
  readonly source: Host;
  readonly target: Host;
  readonly migration: string;
  /** Directories that rsync may write. */
  readonly directories: readonly string[];
  /** What the mirror program may change, in its own form; see there. */
  readonly mirrorItems?: string;
}

/** How source and target are joined. */
export interface Joint {
  /** Words that start a program on the target, as one shell line; the host and a request follow. */
  readonly remoteShell: string;
  /** The same for rsync's `-e`: connections that follow each other closely share one. */
  readonly sharedShell: string;
  /** The target as ssh(1) takes it. */
  readonly host: string;
  /** Whether both hosts can run the mirror program. */
  readonly canMirror: boolean;
  /** Whether the connection goes over the runner: then nothing outlives this job. */
  readonly throughRunner: boolean;
  /** For people, where the source does not connect by itself: why, and how it goes. */
  readonly detour?: string;
  /** Gives back what the runner lends to it. */
  close(): Promise<void>;
}

/** What a host says of itself when its end is made ready. */
interface End {
  /** `mirror`: perl, and the mirror program; `perl` alone; `no`. */
  readonly can: string;
  /** Whether its processor has instructions for AES. */
  readonly aes: boolean;
  readonly publicKey: string;
  readonly addressLines: readonly string[];
}

/**
 * Makes both ends ready and joins them: the source connects where it can, else the target, else the
 * connection goes through the runner.
 */
export async function join(options: JoinOptions): Promise<Joint> {
  const { source, target } = options;
  const [sourceEnd, keysOfTarget, way] = await Promise.all([
    readySource(options),
    hostKeys(target),
    findWay(source, target),
  ]);
  if (way.by === 'source') return push(options, sourceEnd, keysOfTarget, way);
  const unreached = `${source.address} gets no answer from sshd at ${target.address}`;
  let failed = '';
  if (way.by === 'target' && sourceEnd.can !== 'no') {
    try {
      const joint = await pull(options, sourceEnd, way);
      return { ...joint, detour: `${unreached}: the other one connects to it` };
    } catch (error) {
      failed = `, nor can that one use its own (${error instanceof Error ? error.message : error})`;
    }
  }
  const joint = await throughRunner(options, sourceEnd, keysOfTarget);
  return { ...joint, detour: `${unreached}${failed}: the pass goes through the runner` };
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** The source connects, with the key that it has made. `from`: what the target sees, if not the source's own. */
async function push(
  options: JoinOptions,
  sourceEnd: End,
  keysOfTarget: readonly string[],
  { address, port }: Endpoint,
  from?: string,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  const admission = {
    migration,
    folder,
    addresses: from ?? addressesIn(sourceEnd.addressLines, [source.address]),
    publicKey: sourceEnd.publicKey,
    command: `sh ${folder}/forced-command`,
  };
  const [, opened] = await Promise.all([
    pin(source, folder, knownHosts(address, port, keysOfTarget)),
    target.change(
      script(
        `${prepareTarget}
         shift 5
         ${admitting}
         admit "$@"`,
        [...targetWords(options), ...admissionWords(admission)],
        { stdin: targetInput(options), purpose: 'admit the key of this pass' },
      ),
    ),
  ]);
  const targetEnd = endOf(opened.stdout);
  const remoteShell = ssh(folder, port, sourceEnd.aes && targetEnd.aes);
  return {
    remoteShell,
    sharedShell: `${remoteShell} -o ControlMaster=auto -o ControlPath=${folder}/shared -o ControlPersist=15`,
    host: address,
    canMirror: canMirror(sourceEnd, targetEnd),
    throughRunner: false,
    close: async () => {},
  };
}

/** A port on the source leads over the runner's two connections to the target's sshd, which sees itself. */
async function throughRunner(
  options: JoinOptions,
  sourceEnd: End,
  keysOfTarget: readonly string[],
): Promise<Joint> {
  const there = await options.target.tunnel('127.0.0.1', options.target.port);
  const back = await options.source.tunnelBack(there.port);
  const close = async () => {
    await Promise.allSettled([back.close(), there.close()]);
  };
  const endpoint = { address: '127.0.0.1', port: back.port };
  try {
    const joint = await push(options, sourceEnd, keysOfTarget, endpoint, '127.0.0.1,::1');
    return { ...joint, throughRunner: true, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * The target connects, with a key of its own that may do nothing on the source but wait there for a call.
 * What calls is the same as what would connect, and starts the same there.
 */
async function pull(
  options: JoinOptions,
  sourceEnd: End,
  { address, port }: Endpoint,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  const [opened, keysOfSource] = await Promise.all([
    target.change(
      script(`${prepareTarget}\n${makingKey}\nmake_key "$1" "$2"`, targetWords(options), {
        stdin: targetInput(options),
        purpose: 'make the key of this pass',
      }),
    ),
    hostKeys(source),
  ]);
  const targetEnd = endOf(opened.stdout);
  if (targetEnd.can === 'no') throw new Error('perl is missing there');
  const admission = {
    migration,
    folder,
    addresses: addressesIn(targetEnd.addressLines, [target.address]),
    publicKey: targetEnd.publicKey,
    command: `perl ${folder}/meet.pl wait ${folder}`,
  };
  await Promise.all([
    source.change(admit(admission, 'admit the key of this pass')),
    pin(target, folder, knownHosts(address, port, keysOfSource)),
  ]);
  await target.change(
    script(
      `if ! perl "$1/meet.pl" answer "$1" ${ssh(folder, port, sourceEnd.aes && targetEnd.aes)} "$2" < /dev/null > /dev/null 2> "$1/fault"
       then cat "$1/fault" >&2; exit 5; fi`,
      [folder, address],
      { timeout: 60, purpose: 'connect to the other host' },
    ),
  );
  const remoteShell = `perl ${folder}/meet.pl call ${folder}`;
  return {
    remoteShell,
    sharedShell: remoteShell,
    host: 'target',
    canMirror: canMirror(sourceEnd, targetEnd),
    throughRunner: false,
    close: async () => {},
  };
}

async function readySource(options: JoinOptions): Promise<End> {
  const items = itemsOf(options);
  const made = await options.source.change(
    script(
      prepareSource,
      [folderOf(options.migration), options.migration, String(items.length), String(mirrorLength)],
      {
        stdin: Buffer.concat([items, Buffer.from(mirrorProgram + meetingProgram)]),
        purpose: 'make the key of this pass',
      },
    ),
  );
  return endOf(made.stdout);
}

/** What a host prints when its end is ready; only the one that connects makes a key. */
function endOf(output: Buffer): End {
  const lines = output.toString('utf8').trim().split('\n');
  const [can = '', aes = '', publicKey = '', ...addressLines] = lines;
  return { can, aes: aes === 'aes', publicKey, addressLines };
}

function canMirror(...ends: readonly End[]): boolean {
  return ends.every(({ can }) => can === 'mirror');
}

const mirrorLength = Buffer.byteLength(mirrorProgram);

function itemsOf({ mirrorItems = '' }: JoinOptions): Buffer {
  return Buffer.from(mirrorItems);
}

function targetWords(options: JoinOptions): readonly string[] {
  const config = Buffer.from(rsyncdConfig(options.directories));
  const lengths = [config.length, itemsOf(options).length, mirrorLength];
  return [folderOf(options.migration), options.migration, ...lengths.map(String)];
}

function targetInput(options: JoinOptions): Buffer {
  const config = Buffer.from(rsyncdConfig(options.directories));
  return Buffer.concat([config, itemsOf(options), Buffer.from(mirrorProgram + meetingProgram)]);
}

async function pin(host: Host, folder: string, hostKeyLines: string): Promise<void> {
  await host.change(
    script('umask 077; cat > "$1/known_hosts"', [folder], {
      stdin: hostKeyLines,
      purpose: 'pin the host key for this pass',
    }),
  );
}

function ssh(folder: string, port: number, hasFastAes: boolean): string {
  return [
    'ssh',
    '-i',
    `${folder}/key`,
    '-p',
    String(port),
    '-o',
    `UserKnownHostsFile=${folder}/known_hosts`,
    '-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes -o ForwardAgent=no',
    '-o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ConnectTimeout=15',
    `-c ${(hasFastAes ? [...aesCiphers, chacha] : [chacha, ...aesCiphers]).join(',')}`,
    '-l root',
  ].join(' ');
}

/** AES costs a fraction of the other where processors have instructions for it, and several times as much where not. */
const aesCiphers = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr'];
const chacha = 'chacha20-poly1305@openssh.com';

/** rsync module name of a tree. */
export function moduleOf(path: string, directories: readonly string[]): string {
  return `tree${directories.indexOf(path)}`;
}

/** rsyncd.conf(5): write only, these directories, owners by name; nobody's name is asked for. */
function rsyncdConfig(directories: readonly string[]): string {
  const modules = directories.map((path) => `[${moduleOf(path, directories)}]\npath = ${path}\n`);
  return `uid = 0\ngid = 0\nuse chroot = no\nread only = no\nwrite only = yes\nnumeric ids = no\nmunge symlinks = no\nlist = no\nreverse lookup = no\n${modules.join('')}`;
}
