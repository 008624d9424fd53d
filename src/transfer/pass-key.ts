import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import {
  addressesIn,
  admissionWords,
  admit,
  admitting,
  ceasing,
  dismissing,
  renewal,
} from './admission.ts';
import { makingKey, openDoor, prepareSource } from './door.ts';
import { meetingProgram } from './meeting-program.ts';
import { mirrorProgram } from './mirror-program.ts';
import { findWay, hostKeys, knownHosts } from './way.ts';

/**
 * The key that joins source and target for one pass. It is made in memory-backed storage by the host that
 * connects, which is the source where it can. There it may do one thing: change the listed trees of the
 * target through our own program or rsync's own server, from the addresses of its host, until its lease
 * ends (sshd's `expiry-time`, sshd(8) AUTHORIZED_KEYS FILE FORMAT).
 */
export interface PassKey {
  /** Words that start a program on the target, as one shell line; the host and a request follow. */
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
  /** For people, where the source does not connect by itself: why, and how it goes. */
  readonly detour?: string;
  /** rsync module name of each tree. */
  module(path: string): string;
  /** Puts the end of the lease off, to a full lease from now. */
  renew(): Promise<void>;
  remove(): Promise<void>;
}

export interface PassKeyOptions {
  readonly source: Host;
  readonly target: Host;
  readonly migration: string;
  /** Directories that rsync may write. */
  readonly directories: readonly string[];
  /** What the mirror program may change, in its own form; see there. */
  readonly mirrorItems?: string;
}

/** How source and target are joined. */
interface Joint extends Pick<PassKey, 'remoteShell' | 'sharedShell' | 'host' | 'throughRunner'> {
  readonly detour?: string;
  readonly targetEnd: End;
  close(): Promise<void>;
}

/** What a host says of itself when its end is made ready. */
interface End {
  readonly can: string;
  readonly aes: boolean;
  readonly publicKey: string;
  readonly addressLines: readonly string[];
}

export async function createPassKey(options: PassKeyOptions): Promise<PassKey> {
  const { source, target, migration } = options;
  const [sourceEnd, keysOfTarget, way] = await Promise.all([
    readySource(options),
    hostKeys(target),
    findWay(source, target),
  ]);
  const unreached = `${source.address} gets no answer from sshd at ${target.address}`;
  let joint: Joint | undefined;
  let pulled = '';
  if (way.by === 'source') joint = await push(options, sourceEnd, keysOfTarget, way);
  else if (way.by === 'target' && sourceEnd.can !== 'no') {
    try {
      joint = {
        ...(await pull(options, sourceEnd.aes, way)),
        detour: `${unreached}: the other one connects to it`,
      };
    } catch (error) {
      pulled = `, nor can that one use its own (${error instanceof Error ? error.message : error})`;
    }
  }
  joint ??= {
    ...(await throughRunner(options, sourceEnd, keysOfTarget)),
    detour: `${unreached}${pulled}: the pass goes through the runner`,
  };
  const { targetEnd, close, ...rest } = joint;
  return {
    ...rest,
    destination: joint.host.includes(':') ? `[${joint.host}]` : joint.host,
    canMirror: sourceEnd.can === 'mirror' && targetEnd.can === 'mirror',
    folder: folderOf(migration),
    module: (path) => moduleName(options.directories.indexOf(path)),
    renew: () => renewPassKey(source, target, migration),
    remove: async () => {
      await removePassKey(source, target, migration);
      await close();
    },
  };
}

function folderOf(migration: string): string {
  return `/run/mail-cutover-${migration}`;
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** The source connects, with the key that it has made. `from`: what the target sees, if not the source's own. */
async function push(
  options: PassKeyOptions,
  sourceEnd: End,
  keysOfTarget: readonly string[],
  { address, port }: Endpoint,
  from?: string,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  const admission = {
    migration,
    addresses: from ?? addressesIn(sourceEnd.addressLines, source.address),
    publicKey: sourceEnd.publicKey,
    command: `exec sh ${folder}/door`,
  };
  const [, opened] = await Promise.all([
    pin(source, folder, knownHosts(address, port, keysOfTarget)),
    target.change(
      script(
        `${openDoor}
         shift 5
         ${admitting}
         admit "$@"`,
        [...doorWords(options), ...admissionWords(admission)],
        { stdin: doorInput(options), purpose: 'admit the key of this pass' },
      ),
    ),
  ]);
  const [can = '', aes = ''] = lines(opened.stdout);
  const targetEnd = { can, aes: aes === 'aes', publicKey: '', addressLines: [] };
  const remoteShell = ssh(folder, port, sourceEnd.aes && targetEnd.aes);
  return {
    remoteShell,
    sharedShell: `${remoteShell} -o ControlMaster=auto -o ControlPath=${folder}/shared -o ControlPersist=15`,
    host: address,
    throughRunner: false,
    targetEnd,
    close: async () => {},
  };
}

/** A port on the source leads over the runner's two connections to the target's sshd, which sees itself. */
async function throughRunner(
  options: PassKeyOptions,
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
 * What calls is the same as what would connect, and finds the same door.
 */
async function pull(
  options: PassKeyOptions,
  sourceHasAes: boolean,
  { address, port }: Endpoint,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  const [opened, keysOfSource] = await Promise.all([
    target.change(
      script(`${openDoor}\n${makingKey}\nmake_key "$1" "$2"`, doorWords(options), {
        stdin: doorInput(options),
        purpose: 'make the key of this pass',
      }),
    ),
    hostKeys(source),
  ]);
  const [can = '', aes = '', publicKey = '', ...addressLines] = lines(opened.stdout);
  const targetEnd = { can, aes: aes === 'aes', publicKey, addressLines };
  if (can === 'no') throw new Error('perl is missing there');
  const admission = {
    migration,
    addresses: addressesIn(addressLines, target.address),
    publicKey,
    command: `exec perl ${folder}/meet.pl wait ${folder}`,
  };
  await Promise.all([
    source.change(admit(admission, 'admit the key of this pass')),
    pin(target, folder, knownHosts(address, port, keysOfSource)),
  ]);
  await target.change(
    script(
      `if ! perl "$1/meet.pl" answer "$1" ${ssh(folder, port, sourceHasAes && targetEnd.aes)} "$2" < /dev/null > /dev/null 2> "$1/fault"
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
    throughRunner: false,
    targetEnd,
    close: async () => {},
  };
}

async function readySource(options: PassKeyOptions): Promise<End> {
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
  const [can = '', aes = '', publicKey = '', ...addressLines] = lines(made.stdout);
  return { can, aes: aes === 'aes', publicKey, addressLines };
}

const mirrorLength = Buffer.byteLength(mirrorProgram);

function itemsOf({ mirrorItems = '' }: PassKeyOptions): Buffer {
  return Buffer.from(mirrorItems);
}

function doorWords(options: PassKeyOptions): readonly string[] {
  const config = Buffer.from(rsyncdConfig(options.directories));
  const lengths = [config.length, itemsOf(options).length, mirrorLength];
  return [folderOf(options.migration), options.migration, ...lengths.map(String)];
}

function doorInput(options: PassKeyOptions): Buffer {
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

/** For the key of a pass that is under way, whoever made it. */
export async function renewPassKey(source: Host, target: Host, migration: string): Promise<void> {
  const command = renewal(folderOf(migration), migration);
  await Promise.all([source, target].map((host) => host.change(command)));
}

/**
 * Removes the key of a pass and what belongs to it, on both hosts. Safe to call when there is nothing.
 * A connection that stands goes on.
 */
export async function removePassKey(source: Host, target: Host, migration: string): Promise<void> {
  await Promise.all(
    [source, target].map((host) =>
      host.change(
        script(
          `${dismissing}\n${ceasing}\ndismiss "$2"\ncease "$1"\nrm -rf -- "$1"`,
          [folderOf(migration), migration],
          { purpose: 'dismiss the key of this pass' },
        ),
      ),
    ),
  );
}

function lines(output: Buffer): readonly string[] {
  return output.toString('utf8').trim().split('\n');
}

function moduleName(index: number): string {
  return `tree${index}`;
}

/** rsyncd.conf(5): write only, these directories, owners by name; nobody's name is asked for. */
function rsyncdConfig(directories: readonly string[]): string {
  const modules = directories.map((path, index) => `[${moduleName(index)}]\npath = ${path}\n`);
  return `uid = 0\ngid = 0\nuse chroot = no\nread only = no\nwrite only = yes\nnumeric ids = no\nmunge symlinks = no\nlist = no\nreverse lookup = no\n${modules.join('')}`;
}
