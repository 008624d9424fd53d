import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import packet from 'dns-packet';
import { query, type ServerAddress } from '../../src/dns/query.ts';
import { baseTree } from '../lab/image.ts';

/**
 * A primary and its secondary, two real name servers on the loopback: the primary on 127.0.0.1, the
 * secondary on ::1, one high port for both. The secondary transfers the zones when it starts and
 * then lags until `notify`.
 */
export interface Site {
  readonly primary: ServerAddress;
  readonly secondary: ServerAddress;
  /** Tells the secondary of a change (RFC 1996), as the primary is configured not to. */
  notify(): Promise<void>;
  stop(): Promise<void>;
}

export const zones = {
  /** May be changed with `key`; name servers ns1 (127.0.0.1) and ns2 (::1), both within the zone. */
  open: 'change.example',
  /** `key` has no right to change it. */
  closed: 'closed.example',
  /** Its second name server has no address anywhere. */
  lost: 'lost.example',
} as const;

export const key = { name: 'cutover-test', secret: secretOf('the right one') } as const;

/** A secret that no server knows. */
export const wrongSecret = secretOf('a wrong one');

/** One kind of name server: its program, and the configuration of each role. */
export interface ServerKind {
  readonly program: string;
  args(configFile: string): string[];
  config(
    role: 'primary' | 'secondary',
    at: ServerAddress,
    folder: string,
    primary: ServerAddress,
  ): string;
}

function secretOf(text: string): string {
  return Buffer.from(text.padEnd(32, '!')).toString('base64');
}

const zoneText = (zone: string) => `$ORIGIN ${zone}.
$TTL 300
@ IN SOA ns1 host\\.master 1 3600 600 86400 60
@ IN NS ns1
@ IN NS ${zone === zones.lost ? 'ns.nowhere.invalid.' : 'ns2'}
ns1 IN A 127.0.0.1
ns2 IN AAAA ::1
mail IN A 10.77.0.11
mail IN AAAA fd77::11
alias IN CNAME mail
*.wild IN A 10.77.0.11
`;

export const bind: ServerKind = {
  program: '/usr/sbin/named',
  args: (file) => ['-g', '-c', file],
  config: (role, at, folder, primary) => `
    options {
      directory "${folder}"; pid-file none; session-keyfile none; recursion no; notify no;
      listen-on port ${at.port} { ${role === 'primary' ? at.address : 'none'}; };
      listen-on-v6 port ${at.port} { ${role === 'primary' ? 'none' : at.address}; };
      allow-transfer { 127.0.0.1; }; allow-notify { ::1; };
    };
    controls { };
    key "${key.name}" { algorithm hmac-sha256; secret "${key.secret}"; };
    ${Object.values(zones)
      .map((zone) =>
        role === 'primary'
          ? `zone "${zone}" { type primary; file "${zone}.zone";
             ${zone === zones.closed ? '' : `allow-update { key "${key.name}"; };`} };`
          : `zone "${zone}" { type secondary; file "${zone}.copy";
             primaries { ${primary.address} port ${primary.port}; }; };`,
      )
      .join('\n')}
  `,
};

export const knot: ServerKind = {
  program: '/usr/sbin/knotd',
  args: (file) => ['-c', file],
  config: (role, at, folder, primary) => `
server:
  rundir: ${folder}
  listen: ${at.address}@${at.port}
database:
  storage: ${folder}/db
log:
  - target: stderr
    any: info
key:
  - id: ${key.name}
    algorithm: hmac-sha256
    secret: ${key.secret}
remote:
  - id: primary
    address: ${primary.address}@${primary.port}
acl:
  - id: update
    key: ${key.name}
    action: update
  - id: transfer
    address: 127.0.0.1
    action: transfer
  - id: notify
    address: ::1
    action: notify
zone:
${Object.values(zones)
  .map((zone) =>
    role === 'primary'
      ? `  - domain: ${zone}
    file: ${folder}/${zone}.zone
    acl: [transfer${zone === zones.closed ? '' : ', update'}]`
      : `  - domain: ${zone}
    file: ${folder}/${zone}.copy
    master: primary
    acl: notify`,
  )
  .join('\n')}
`,
};

/** Starts both servers of a site in a new folder, and waits until both answer for every zone. */
export async function startSite(kind: ServerKind): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'dns-site-'));
  const port = await freePort();
  const primary = { address: '127.0.0.1', port };
  const secondary = { address: '::1', port };
  const running: Running[] = [];
  const stop = async () => {
    await Promise.all(running.map(end));
    await rm(folder, { recursive: true });
  };
  try {
    running.push(await start(kind, 'primary', primary, folder, primary));
    await ready(primary, running);
    running.push(await start(kind, 'secondary', secondary, folder, primary));
    await ready(secondary, running);
  } catch (error) {
    await stop();
    throw error;
  }
  return { primary, secondary, notify: () => notify(secondary, zones.open), stop };
}

interface Running {
  readonly child: ChildProcess;
  readonly log: string;
}

async function start(
  kind: ServerKind,
  role: 'primary' | 'secondary',
  at: ServerAddress,
  site: string,
  primary: ServerAddress,
): Promise<Running> {
  const folder = join(site, role);
  await mkdir(join(folder, 'db'), { recursive: true });
  const program = join(folder, 'server');
  // AppArmor ties Ubuntu's profile for named, which forbids this folder, to the program's path.
  await copyFile(join(baseTree(), kind.program), program);
  for (const zone of Object.values(zones)) {
    await writeFile(join(folder, `${zone}.zone`), zoneText(zone));
  }
  await writeFile(join(folder, 'server.conf'), kind.config(role, at, inside, primary));

  const log = join(folder, 'log');
  // Dies with this process, also when that is killed.
  const args = ['--pdeathsig', 'KILL', 'unshare', '--mount', 'sh', '-euc', inBaseTree, 'sh'];
  const command = [`${inside}/server`, ...kind.args(`${inside}/server.conf`)];
  return {
    child: spawn('setpriv', [...args, baseTree(), folder, log, ...command], { stdio: 'ignore' }),
    log,
  };
}

/** Where a server finds its folder. */
const inside = '/mnt';

/**
 * The lab's image has the programs and their libraries; the machine need not. `$1` the image, `$2` the folder,
 * `$3` the log, then the command. The mounts end with it.
 */
const inBaseTree = `
base=$1; mount --bind "$2" "$base${inside}"; mount --rbind /dev "$base/dev"
exec > "$3" 2>&1
shift 3
exec chroot "$base" "$@"`;

async function end({ child }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function ready(server: ServerAddress, running: readonly Running[]): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (const zone of Object.values(zones)) {
    while (!(await serves(server, zone))) {
      const { child, log } = running.at(-1) as Running;
      if (Date.now() > deadline || child.exitCode !== null) {
        throw new Error(`the name server does not serve ${zone}:\n${await readFile(log, 'utf8')}`);
      }
      await sleep(50);
    }
  }
}

async function serves(server: ServerAddress, zone: string): Promise<boolean> {
  const options = { timeout: 500, attempts: 1 };
  const reply = await query(server, zone, 'SOA', options).catch(() => undefined);
  return reply?.aa === true;
}

async function notify(server: ServerAddress, zone: string): Promise<void> {
  const opcode = 4 << 11;
  const message = packet.encode({
    type: 'query',
    id: 1,
    flags: opcode | packet.AUTHORITATIVE_ANSWER,
    questions: [{ type: 'SOA', name: zone }],
  });
  const socket = createSocket('udp6');
  socket.send(message, server.port, server.address);
  await once(socket, 'message');
  socket.close();
}

/** A port that is free on both addresses, for UDP and TCP, as far as one look can tell. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no TCP port');
  return address.port;
}
