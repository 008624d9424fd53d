import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { stripVTControlCharacters } from 'node:util';
import { UserError } from '../../errors.ts';
import { quote, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { redact } from '../../hosts/redaction.ts';
import { fingerprint } from '../../hosts/ssh-connection.ts';
import type { MailContext } from '../mail-system.ts';
import { readCheckout } from './checkout.ts';

/** Installing packages takes its time. */
const limitSeconds = 3600;

/**
 * Runs `cmdeploy run` against a host, from the user's own checkout, on the runner. Its output goes
 * into the log as it comes, and is kept beside the reports. Nothing of it asks: the host's keys are
 * the pinned ones, and the key to log in with is in an agent that lives as long as this run. It gets
 * to the host by our own connection, through a jump host too, and only as long as we hold the lock.
 * Throws `UserError` when it fails.
 */
export async function runCmdeploy(
  context: MailContext,
  host: MailHost,
  stages: string,
  options: readonly string[] = [],
): Promise<string> {
  const checkout = await readCheckout(context.runner.checkout);
  const home = await mkdtemp(join(process.env.RUNNER_TEMP ?? tmpdir(), 'mail-cutover-ssh-'));
  const server = await host.program(ownServer);
  let agent: ChildProcess | undefined;
  try {
    const socket = join(home, 'agent');
    agent = await startAgent(socket, home, context, host.role);
    await writeSshFiles(home, server.port, host, context.migration[host.role]['host-keys']);
    const words = ['run', '--ssh-host', host.address, '--skip-dns-check', ...options];
    const log = join(
      process.env.RUNNER_TEMP ?? tmpdir(),
      `mail-cutover-${context.migration.name}-cmdeploy-${stages.replaceAll(',', '-')}.log`,
    );
    const said = await run(context, {
      folder: checkout.folder,
      words,
      log,
      env: {
        PATH: `${join(home, 'bin')}:${process.env.PATH ?? '/usr/bin:/bin'}`,
        HOME: home,
        LANG: 'C.UTF-8',
        SSH_AUTH_SOCK: socket,
        CMDEPLOY_STAGES: stages,
        // Its own lines and those of what it runs in their order.
        PYTHONUNBUFFERED: '1',
      },
    });
    return `${said} lines, kept in ${log}`;
  } finally {
    agent?.kill();
    await server.close();
    await rm(home, { recursive: true, force: true });
  }
}

/** An ssh-agent with the one key. The key never lies in a file, and its passphrase in no command line. */
async function startAgent(
  socket: string,
  home: string,
  { runner }: MailContext,
  role: 'old' | 'new',
): Promise<ChildProcess> {
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] });
  const failed = once(agent, 'error').then(() => {
    throw new UserError('ssh-agent is not there. Install OpenSSH on the runner');
  });
  await Promise.race([once(agent.stdout, 'data'), failed]);
  failed.catch(() => undefined);
  const ask = join(home, 'ask');
  await writeFile(ask, '#!/bin/sh\nprintf \'%s\\n\' "$PASSPHRASE"\n', { mode: 0o700 });
  const env = {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOME: home,
    SSH_AUTH_SOCK: socket,
    SSH_ASKPASS: ask,
    SSH_ASKPASS_REQUIRE: 'force',
    PASSPHRASE: runner.sshPassphrase ?? '',
  };
  const add = execFile('ssh-add', ['-q', '-'], { env });
  add.stdin?.end(runner.sshKeys[role]);
  const [code] = await once(add, 'close');
  if (code === 0) return agent;
  agent.kill();
  throw new UserError(
    'the SSH key can not be given to ssh-agent, which cmdeploy needs. Use a key in OpenSSH or PEM form',
  );
}

/**
 * The server that `cmdeploy` speaks with: an sshd(8) of its own on the host, which runs under our lock's
 * number. hostctl's umask is for its own files.
 */
const ownServer = ['sh', '-c', 'umask 022; exec "$(command -v sshd || echo /usr/sbin/sshd)" -i'];

/**
 * OpenSSH looks for its files in the home of the user's entry, not in `HOME`; the library that
 * `cmdeploy` logs in with besides looks in `HOME`. So there are both: files below `HOME`, and an `ssh`
 * in `PATH` that is told to read them. Whatever they call the host, they get to `port` of the runner: a
 * port, because with a `ProxyCommand` the library breaks off in the middle of a large upload.
 */
async function writeSshFiles(
  home: string,
  port: number,
  host: MailHost,
  keys: readonly string[],
): Promise<void> {
  const folder = join(home, '.ssh');
  const config = [
    'Host *',
    '  HostName 127.0.0.1',
    `  Port ${port}`,
    '  User root',
    '  StrictHostKeyChecking yes',
    `  UserKnownHostsFile ${folder}/known_hosts`,
    '  GlobalKnownHostsFile /dev/null',
    '  BatchMode yes',
    '',
  ];
  const write = async (path: string, text: string, mode: number) => {
    await writeFile(path, text, { mode });
    await chmod(path, mode);
  };
  await mkdir(folder, { mode: 0o700 });
  await mkdir(join(home, 'bin'), { mode: 0o700 });
  await write(join(folder, 'config'), config.join('\n'), 0o600);
  await write(join(folder, 'known_hosts'), await knownHosts(host, port, keys), 0o600);
  const ssh = await findSsh();
  const wrapper = `#!/bin/sh\nexec ${quote(ssh)} -F ${quote(join(folder, 'config'))} "$@"\n`;
  await write(join(home, 'bin/ssh'), wrapper, 0o700);
}

async function findSsh(): Promise<string> {
  const found = await new Promise<string>((resolve) => {
    execFile('sh', ['-c', 'command -v ssh'], (_, stdout) => resolve(stdout.trim()));
  });
  if (found === '') throw new UserError('ssh is not there. Install OpenSSH on the runner');
  return found;
}

/** The host's own public keys, read over the pinned connection: those of them that are pinned. */
async function knownHosts(
  host: MailHost,
  port: number,
  pinned: readonly string[],
): Promise<string> {
  const result = await host.read(
    script('cat /etc/ssh/ssh_host_*_key.pub', [], { purpose: 'read its public host keys' }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, blob = '']) => pinned.includes(fingerprint(Buffer.from(blob, 'base64'))))
    .map(([type, blob]) => `[127.0.0.1]:${port} ${type} ${blob}\n`)
    .join('');
}

interface Run {
  readonly folder: string;
  readonly words: readonly string[];
  readonly env: Record<string, string>;
  /** Where the whole output is kept. */
  readonly log: string;
}

/** Returns how many lines it said. */
async function run(context: MailContext, { folder, words, env, log }: Run): Promise<number> {
  const child = spawn('scripts/cmdeploy', words, {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitSeconds * 1000,
  });
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (line) => {
      const clean = redact(printable(stripVTControlCharacters(line)));
      lines.push(clean);
      context.log.info(`cmdeploy: ${clean}`);
    });
  }
  const [code, signal] = await once(child, 'close').catch((error: Error) => {
    throw new UserError(`cmdeploy can not be started: ${error.message}`, { cause: error });
  });
  await writeFile(log, lines.map((line) => `${line}\n`).join(''));
  if (code !== 0)
    throw new UserError(
      `cmdeploy ended with ${signal ?? code}: ${lines.findLast((line) => !/^\s*$|^Deploy failed$/.test(line))?.trim() ?? 'it said nothing'}. Its output stands above and in ${log}. Mend what it names, then run this stage again`,
    );
  return lines.length;
}
