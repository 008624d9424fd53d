import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { CommandFailed } from '../hosts/mail-host.ts';
import { ConnectionLost } from '../hosts/ssh-connection.ts';
import { addressesIn, admissionWords, admit, admitting, dismissing } from './admission.ts';
import { type Endpoint, greet, lastLine, NotJoined, pin, shared, ssh } from './connecting.ts';
import { makingKey, prepareSource, prepareTarget } from './ends.ts';
import { meetingProgram } from './meeting-program.ts';
import { mirrorProgram } from './mirror-program.ts';
import { folderOf } from './pass-folder.ts';
import { hostKeys, knownHosts, type Way, waysBetween } from './way.ts';

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
 * Makes both ends ready and joins them, by the first way on which the key is let in: the source connects where
 * it can, else the target, else the connection goes through the runner.
 */
export async function join(options: JoinOptions): Promise<Joint> {
  const ways = waysBetween(options.source, options.target);
  const [sourceEnd, keysOfTarget, first] = await Promise.all([
    readySource(options),
    hostKeys(options.target),
    ways.next(),
  ]);
  const ends = { options, sourceEnd, keysOfTarget };
  const failures = first.value?.by === 'source' ? [] : [unanswered(options)];
  for (let next = first; !next.done; next = await ways.next()) {
    for (const { title, open } of attempts(ends, next.value)) {
      const joint = await open().catch((error: unknown) => {
        if (!(error instanceof NotJoined)) throw error;
        failures.push(error.message);
      });
      if (!joint) continue;
      return failures.length === 0
        ? joint
        : { ...joint, detour: `${failures.join('; ')}: ${title}` };
    }
  }
  throw new UserError(`the hosts can't be joined for a pass: ${failures.join('; ')}`);
}

function unanswered({ source, target }: JoinOptions): string {
  return `${source.address} gets no answer from sshd at ${target.address}`;
}

/** What all attempts to join the hosts know. */
interface Ends {
  readonly options: JoinOptions;
  readonly sourceEnd: End;
  readonly keysOfTarget: readonly string[];
}

/** How to go a way, and what that is called. */
interface Attempt {
  readonly title: string;
  open(): Promise<Joint>;
}

/** Through the runner either host may connect: the other one's sshd may let nobody in. */
function attempts(ends: Ends, way: Way): readonly Attempt[] {
  switch (way.by) {
    case 'source':
      return [{ title: `it connects to ${way.address}`, open: () => push(ends, way) }];
    case 'target':
      return [{ title: 'the other one connects to it', open: () => pull(ends, way) }];
    case 'runner':
      return [push, pull].map((connect) => ({
        title: 'the pass goes through the runner',
        open: () => throughRunner(ends, connect),
      }));
  }
}

/** The source connects, with the key that it has made. `from`: what the target sees, if not the source's own. */
async function push(
  { options, sourceEnd, keysOfTarget }: Ends,
  { address, port }: Endpoint,
  from?: string,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  const addresses = from ?? addressesOf(source, sourceEnd);
  const opened = await target.change(
    script(
      `${prepareTarget}
       shift 5
       ${admitting}
       admit "$@"`,
      [
        ...targetWords(options),
        ...admissionWords({
          migration,
          folder,
          addresses,
          publicKey: sourceEnd.publicKey,
          command: `sh ${folder}/forced-command`,
        }),
      ],
      { stdin: targetInput(options), purpose: 'admit the key of this pass' },
    ),
  );
  const targetEnd = endOf(opened.stdout);
  const remoteShell = ssh(folder, port, sourceEnd.aes && targetEnd.aes);
  const sharedShell = shared(remoteShell, folder);
  const isMirrored = canMirror(sourceEnd, targetEnd);
  // The greeting opens the connection that is shared: the pass goes on with it.
  await orDismiss(target, migration, () =>
    greet(source, folder, { shell: sharedShell, address }, knownHosts(address, port, keysOfTarget)),
  ).catch(saying(`${source.address} is not let in by sshd at ${at(target, address)}`, addresses));
  return {
    remoteShell,
    sharedShell,
    host: address,
    canMirror: isMirrored,
    throughRunner: false,
    close: async () => {},
  };
}

/**
 * A port on the host that connects leads over the runner's two connections to the other one's sshd, which sees
 * itself.
 */
async function throughRunner(ends: Ends, connect: typeof push | typeof pull): Promise<Joint> {
  const { source, target } = ends.options;
  const [from, to] = connect === push ? [source, target] : [target, source];
  const there = await to.tunnel('127.0.0.1', to.port);
  const back = await from.tunnelBack(there.port).catch(async (error: unknown) => {
    await there.close();
    // Its sshd forwards no port; the other one's may.
    const isRefused = error instanceof UserError && !(error instanceof ConnectionLost);
    throw isRefused ? new NotJoined(error.message) : error;
  });
  const close = async () => {
    await Promise.allSettled([back.close(), there.close()]);
  };
  try {
    const endpoint = { address: '127.0.0.1', port: back.port };
    const joint = await connect(ends, endpoint, '127.0.0.1,::1');
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
  { options, sourceEnd }: Ends,
  { address, port }: Endpoint,
  from?: string,
): Promise<Joint> {
  const { source, target, migration } = options;
  const folder = folderOf(migration);
  demandPerl(source, sourceEnd);
  const [opened, keysOfSource] = await Promise.all([
    target.change(
      script(`${prepareTarget}\n${makingKey}\nmake_key "$1" "$2"`, targetWords(options), {
        stdin: targetInput(options),
        purpose: 'make the key of this pass',
      }),
    ),
    hostKeys(source).catch((error: unknown) => {
      if (error instanceof CommandFailed) throw new NotJoined(error.message);
      throw error;
    }),
  ]);
  const targetEnd = endOf(opened.stdout);
  demandPerl(target, targetEnd);
  const addresses = from ?? addressesOf(target, targetEnd);
  const admission = {
    migration,
    folder,
    addresses,
    publicKey: targetEnd.publicKey,
    command: `perl ${folder}/meet.pl wait ${folder}`,
  };
  await Promise.all([
    source.change(admit(admission, 'admit the key of this pass')),
    pin(target, folder, knownHosts(address, port, keysOfSource)),
  ]);
  const shell = ssh(folder, port, sourceEnd.aes && targetEnd.aes);
  await orDismiss(source, migration, () => answerCalls(target, folder, { shell, address })).catch(
    saying(`${target.address} is not let in by sshd at ${at(source, address)}`, addresses),
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

/** Returns when the first connection stands. */
async function answerCalls(
  target: Host,
  folder: string,
  { shell, address }: { readonly shell: string; readonly address: string },
): Promise<void> {
  const result = await target.change(
    script(
      `if ! perl "$1/meet.pl" answer "$1" ${shell} "$2" < /dev/null > /dev/null 2> "$1/fault"
       then cat "$1/fault" >&2; exit 5; fi`,
      [folder, address],
      { allow: [0, 5], timeout: 60, purpose: 'connect to the other host' },
    ),
  );
  if (result.code !== 0) throw new NotJoined(lastLine(result.stderr));
}

/** A key that is of no use is not left admitted. */
async function orDismiss(host: Host, migration: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof NotJoined)
      await host.change(
        script(`${dismissing}\ndismiss "$1"`, [migration], {
          purpose: 'dismiss a key that is not let in',
        }),
      );
    throw error;
  }
}

/** Why a log-in failed, and from where the key was good: behind NAT the other host sees another address. */
function saying(what: string, addresses: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof NotJoined)) throw error;
    throw new NotJoined(`${what} (${error.message}; the key is good from ${addresses})`);
  };
}

function at(host: Host, address: string): string {
  return address === host.address ? address : `${address}, which is ${host.address}`;
}

function demandPerl({ address }: Host, { can }: End): void {
  if (can === 'no') throw new NotJoined(`perl is missing on ${address}`);
}

function addressesOf({ address, publicAddresses = [] }: Host, { addressLines }: End): string {
  return addressesIn(addressLines, [...publicAddresses, address]);
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

/** rsync module name of a tree. */
export function moduleOf(path: string, directories: readonly string[]): string {
  return `tree${directories.indexOf(path)}`;
}

/** rsyncd.conf(5): write only, these directories, owners by name; nobody's name is asked for. */
function rsyncdConfig(directories: readonly string[]): string {
  const modules = directories.map((path) => `[${moduleOf(path, directories)}]\npath = ${path}\n`);
  return `uid = 0\ngid = 0\nuse chroot = no\nread only = no\nwrite only = yes\nnumeric ids = no\nmunge symlinks = no\nlist = no\nreverse lookup = no\n${modules.join('')}`;
}
