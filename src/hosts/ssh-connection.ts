import { createHash } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { NodeSSH } from 'node-ssh';
import type { ClientChannel, Client as SshClient } from 'ssh2';
import { UserError } from '../errors.ts';
import { type Command, commandLine, type Result } from './command.ts';
import type { Tunnel } from './host.ts';

/** A host of the migration file, as SSH connects to it. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly 'host-keys': readonly string[];
}

/** How one host is connected to. */
export interface SshOptions {
  /** How messages name the host: "OLD (192.0.2.1)". */
  readonly label: string;
  readonly endpoint: Endpoint;
  readonly jump?: Endpoint | undefined;
  readonly key: string;
  readonly passphrase?: string | undefined;
  /** Offer what only an OpenSSH from before 2013 needs, after everything better. */
  readonly legacyAlgorithms?: boolean;
}

/** The connection ended while a command was under way: whether the command took effect is unknown. */
export class ConnectionLost extends UserError {
  override readonly name = 'ConnectionLost';
}

/** Host key types in the order of preference; each is tried until one is pinned. */
const hostKeyTypes = [
  ['ssh-ed25519'],
  ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521'],
  ['rsa-sha2-512', 'rsa-sha2-256'],
] as const;

/** Appended to what ssh2 offers by itself. */
const legacy = {
  kex: {
    append: [
      'diffie-hellman-group14-sha1',
      'diffie-hellman-group-exchange-sha1',
      'diffie-hellman-group1-sha1',
    ],
  },
  cipher: { append: ['aes256-cbc', 'aes192-cbc', 'aes128-cbc', '3des-cbc'] },
  hmac: { append: ['hmac-sha1', 'hmac-md5'] },
} as const;

const legacyHostKeyTypes = [['ssh-rsa'], ['ssh-dss']] as const;

const keepaliveSeconds = 5;
const keepaliveMisses = 3;
const connectSeconds = 15;

/** The fingerprint as OpenSSH prints it: SHA256, base64, no padding. */
export function fingerprint(hostKey: Buffer): string {
  return `SHA256:${createHash('sha256').update(hostKey).digest('base64').replace(/=+$/, '')}`;
}

/** One SSH connection with pinned host keys. Connects on first use and again after it was lost. */
export class SshConnection {
  readonly #options: SshOptions;
  #ssh: Promise<SshClient> | undefined;
  /** Those that are still connecting too: one that nobody ends would keep the process alive. */
  #sessions: NodeSSH[] = [];
  #closed = false;

  constructor(options: SshOptions) {
    this.#options = options;
  }

  get label(): string {
    return this.#options.label;
  }

  async exec(
    command: Command,
    prefix: readonly string[],
    stdin: Command['stdin'],
  ): Promise<Result> {
    const client = await this.#client();
    return execute(client, commandLine([...prefix, ...command.argv]), command, stdin, this.label);
  }

  /** A local TCP port whose connections come out at `port` of `address`, as the host sees it. */
  tunnel(address: string, port: number): Promise<Tunnel> {
    return this.#listen((client, opened) =>
      client.forwardOut('127.0.0.1', 0, address, port, opened),
    );
  }

  /** A local TCP port of which each connection is a run of a program on the host, by its standard input and output. */
  program(argv: readonly string[]): Promise<Tunnel> {
    return this.#listen((client, opened) =>
      client.exec(commandLine(argv), (error, channel) => {
        channel?.stderr.resume();
        opened(error, channel);
      }),
    );
  }

  async #listen(
    open: (
      client: SshClient,
      opened: (error: Error | undefined, stream: ClientChannel) => void,
    ) => void,
  ): Promise<Tunnel> {
    const client = await this.#client();
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      open(client, (error, stream) => {
        if (error) socket.destroy();
        else join(socket, stream);
      });
    });
    const localPort = await listen(server);
    return {
      port: localPort,
      close: () =>
        new Promise((resolve) => {
          for (const socket of sockets) socket.destroy();
          server.close(() => resolve());
        }),
    };
  }

  /** A port on the host's loopback whose connections come out at `port` of the runner's. */
  async tunnelBack(port: number): Promise<{ port: number; close(): Promise<void> }> {
    const client = await this.#client();
    const there = await forwardIn(client, this.label);
    const carry = (
      { destPort }: { readonly destPort: number },
      accept: () => ClientChannel,
      reject: () => void,
    ) => {
      if (destPort !== there) return reject();
      const socket = connect({ host: '127.0.0.1', port, noDelay: true });
      socket.on('error', () => socket.destroy());
      join(socket, accept());
    };
    client.on('tcp connection', carry);
    return {
      port: there,
      close: () =>
        new Promise((resolve) => {
          client.off('tcp connection', carry);
          client.unforwardIn('127.0.0.1', there, () => resolve());
        }),
    };
  }

  /** For good: a command that is still under way must not connect again. */
  async close(): Promise<void> {
    this.#closed = true;
    const sessions = this.#sessions;
    this.#sessions = [];
    this.#ssh = undefined;
    for (const session of sessions.reverse()) session.dispose();
  }

  #client(): Promise<SshClient> {
    if (this.#closed) return Promise.reject(new UserError(`${this.label}: the run has ended`));
    this.#ssh ??= this.#connect().catch((error: unknown) => {
      this.#ssh = undefined;
      throw error;
    });
    return this.#ssh;
  }

  async #connect(): Promise<SshClient> {
    const { endpoint, jump, label } = this.#options;
    const session = jump
      ? await this.#connectPinned(endpoint, label, await this.#throughJump(jump, endpoint))
      : await this.#connectPinned(endpoint, label);
    const client = session.connection;
    if (!client) throw new ConnectionLost(`${label} closed the connection`);
    client.on('error', () => undefined);
    client.on('close', () => {
      this.#ssh = undefined;
    });
    return client;
  }

  /** Every attempt at another host key type needs a fresh stream through the jump host. */
  async #throughJump(jump: Endpoint, target: Endpoint): Promise<() => Promise<Duplex>> {
    const session = await this.#connectPinned(jump, `jump host ${jump.address}`);
    session.connection?.on('error', () => undefined);
    return () => session.forwardOut('127.0.0.1', 0, target.address, target.port);
  }

  async #connectPinned(
    endpoint: Endpoint,
    label: string,
    stream?: () => Promise<Duplex>,
  ): Promise<NodeSSH> {
    const seen: string[] = [];
    const isLegacy = this.#options.legacyAlgorithms === true && endpoint === this.#options.endpoint;
    const allTypes = isLegacy ? [...hostKeyTypes, ...legacyHostKeyTypes] : hostKeyTypes;
    let unmatched: string | undefined;
    for (const types of allTypes) {
      const session = new NodeSSH();
      const before = seen.length;
      this.#sessions.push(session);
      try {
        const through = stream && (await stream());
        await session.connect({
          host: endpoint.address,
          port: endpoint.port,
          username: endpoint.user,
          privateKey: this.#options.key,
          // Nothing else is there to offer; ssh2 would first ask whether it may come in without.
          authHandler: ['publickey'],
          ...(this.#options.passphrase ? { passphrase: this.#options.passphrase } : {}),
          // Made here: whoever hears its errors must be there when they come.
          sock: (through ?? withoutNagle(endpoint)) as never,
          readyTimeout: connectSeconds * 1000,
          keepaliveInterval: keepaliveSeconds * 1000,
          keepaliveCountMax: keepaliveMisses,
          algorithms: {
            serverHostKey: [...types],
            ...(isLegacy ? structuredClone(legacy) : {}),
          } as never,
          hostVerifier: (key: Buffer) => {
            seen.push(fingerprint(key));
            return endpoint['host-keys'].includes(fingerprint(key));
          },
        });
        return session;
      } catch (error) {
        session.dispose();
        const refusedByUs =
          seen.length > before && !endpoint['host-keys'].includes(seen.at(-1) ?? '');
        const lacking = noCommon(error);
        if (!refusedByUs && lacking === undefined) throw connectFault(error, endpoint, label);
        unmatched = lacking ?? unmatched;
      }
    }
    if (seen.length === 0 && !isLegacy)
      throw new UserError(
        `${label}: its SSH server offers only old algorithms (${unmatched ?? 'no host key of a known type'}). If it can't be updated, set legacy-algorithms: true for this host in the migration file`,
      );
    throw new UserError(
      `${label}: host key refused: saw ${seen.join(', ') || 'no key of a known type'}, but the migration file pins ${endpoint['host-keys'].join(', ')}. ` +
        "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's own console before you change host-keys",
    );
  }
}

/**
 * Small requests and replies: Nagle's algorithm would hold each back for a delayed acknowledgement, from
 * the first packet of the handshake on.
 */
function withoutNagle({ address, port }: Endpoint): Socket {
  return connect({ host: address, port, noDelay: true });
}

/** ssh2's words for a handshake without a common algorithm: what is lacking. */
function noCommon(error: unknown): string | undefined {
  const message = error instanceof Error ? error.message : '';
  return /no matching (.*)/i.exec(message)?.[1];
}

function connectFault(error: unknown, endpoint: Endpoint, label: string): UserError {
  const where = `${endpoint.user}@${endpoint.address} port ${endpoint.port}`;
  const message = error instanceof Error ? error.message : String(error);
  if (/authentication methods failed/i.test(message))
    return new UserError(
      `${label}: ${where} refused the SSH key. Add its public half to authorized_keys of ${endpoint.user}, or check the input ssh-key`,
      { cause: error },
    );
  if (/passphrase|bad decrypt|integrity check/i.test(message))
    return new UserError(
      `${label}: the SSH key is encrypted and its passphrase is missing or wrong. Set the input ssh-passphrase`,
      { cause: error },
    );
  if (/cannot parse privateKey|unsupported key format/i.test(message))
    return new UserError(
      `${label}: the SSH key can't be read. The input ssh-key takes a private key in OpenSSH or PEM form`,
      { cause: error },
    );
  return new UserError(
    `${label}: can't connect to ${where}: ${message}. Check the address, the firewall and that sshd runs`,
    { cause: error },
  );
}

function execute(
  client: SshClient,
  line: string,
  command: Command,
  stdin: Command['stdin'],
  label: string,
): Promise<Result> {
  const seconds = command.timeout ?? 300;
  return new Promise((resolve, reject) => {
    const lost = () => reject(new ConnectionLost(`${label}: the connection was lost`));
    client.once('close', lost);
    client.exec(line, (error, channel) => {
      if (error) {
        client.off('close', lost);
        reject(new ConnectionLost(`${label}: ${error.message}`, { cause: error }));
        return;
      }
      const timer = setTimeout(() => {
        reject(
          new Error(
            `${label}: no end after ${seconds} s: ${command.purpose ?? line.slice(0, 120)}`,
          ),
        );
        channel.destroy();
      }, seconds * 1000);
      collect(channel, command, (result) => {
        clearTimeout(timer);
        client.off('close', lost);
        if (result) resolve(result);
        else lost();
      });
      channel.end(stdin);
    });
  });
}

function collect(
  channel: ClientChannel,
  command: Command,
  settle: (result: Result | undefined) => void,
): void {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  let exit: { code: number; signal: string | undefined } | undefined;
  channel.on('data', (chunk: Buffer) => {
    if (command.onStdout) command.onStdout(chunk);
    else stdout.push(chunk);
  });
  channel.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  channel.on('error', () => undefined);
  channel.on('exit', (code: number | null, signal?: string) => {
    exit = { code: code ?? 128, signal: signal ?? undefined };
  });
  channel.on('close', () => {
    settle(
      exit && {
        ...exit,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString('utf8'),
      },
    );
  });
}

function join(socket: Socket, stream: Duplex): void {
  stream.on('error', () => socket.destroy());
  stream.on('close', () => socket.destroy());
  socket.on('close', () => stream.destroy());
  socket.pipe(stream).pipe(socket);
}

function forwardIn(client: SshClient, label: string): Promise<number> {
  return new Promise((resolve, reject) => {
    client.forwardIn('127.0.0.1', 0, (error, port) => {
      if (error)
        reject(
          new UserError(
            `${label}: its sshd forwards no port (${error.message}). Set AllowTcpForwarding to yes until the migration is finished`,
            { cause: error },
          ),
        );
      else resolve(port);
    });
  });
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address && typeof address === 'object') resolve(address.port);
      else reject(new Error('no local port'));
    });
  });
}
