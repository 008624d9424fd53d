import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { debug } from '@actions/core';
import type { MailHostConfig } from '../config/schema.ts';
import { UserError } from '../errors.ts';
import { askedOnce } from './asked-once.ts';
import { type Command, command, type Result, script } from './command.ts';
import type { Host, Role, Tunnel } from './host.ts';
import { hostScript } from './hostctl/hostctl.ts';
import { printable } from './printable.ts';
import { redact } from './redaction.ts';
import { ConnectionLost, SshConnection } from './ssh-connection.ts';

/** Secrets of one host; none of them is ever put on it. */
export interface Credentials {
  readonly key: string;
  readonly passphrase?: string | undefined;
  readonly sudoPassword?: string | undefined;
}

/** A word of hostctl with its arguments, and what it reads. */
export interface Edit {
  readonly words: readonly string[];
  readonly stdin?: string;
}

/** A command ended with an exit code that was not allowed. */
export class CommandFailed extends UserError {
  override readonly name = 'CommandFailed';
  readonly result: Result;

  constructor(message: string, result: Result) {
    super(message);
    this.result = result;
  }
}

/** hostctl's exit code for a lock number that another run has overtaken. */
const overtaken = 91;
const reconnectSeconds = [1, 2, 4, 8];

/** A mail host over SSH, as root or through sudo. */
export class MailHost implements Host {
  readonly role: Role;
  readonly address: string;
  readonly port: number;
  readonly publicAddresses: readonly string[];
  /** The folder of this migration on the host. */
  readonly folder: string;
  readonly #connection: SshConnection;
  readonly #sudoPassword: string | undefined;
  readonly #user: string;
  #sudo: Promise<Sudo> | undefined;
  #lockNumber: number | undefined;

  constructor(role: Role, config: MailHostConfig, migration: string, credentials: Credentials) {
    this.role = role;
    this.address = config.address;
    this.port = config.port;
    this.publicAddresses = config['public-addresses'] ?? [];
    this.folder = `/var/lib/mail-cutover/${migration}`;
    this.#user = config.user;
    this.#sudoPassword = credentials.sudoPassword;
    this.#connection = new SshConnection({
      label: `${role.toUpperCase()} (${config.address})`,
      endpoint: config,
      jump: config.jump,
      key: credentials.key,
      passphrase: credentials.passphrase,
      legacyAlgorithms: config['legacy-algorithms'] ?? false,
    });
  }

  /** How messages name the host. */
  get label(): string {
    return this.#connection.label;
  }

  get hostctl(): string {
    return `${this.folder}/bin/hostctl`;
  }

  /** From now on changes are made under this lock number. */
  holdLock(number: number | undefined): void {
    this.#lockNumber = number;
  }

  async read(toRun: Command): Promise<Result> {
    for (const seconds of reconnectSeconds) {
      try {
        return await this.#run(toRun, []);
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
        await sleep(seconds * 1000);
      }
    }
    return this.#run(toRun, []);
  }

  async change(toRun: Command): Promise<Result> {
    return this.#run(toRun, this.#guard(describe(toRun)));
  }

  /** A word of hostctl that changes the host, under the lock. */
  async edit(
    word: string,
    args: readonly string[],
    options: Omit<Command, 'argv'> = {},
  ): Promise<string> {
    const result = await this.change(command([this.hostctl, word, ...args], options));
    return result.stdout.toString('utf8').trim();
  }

  /** Several of them, one after the other, in one trip. One that fails is the last. */
  async edits(all: readonly Edit[], options: Omit<Command, 'argv' | 'stdin'> = {}): Promise<void> {
    const words = all.flatMap(({ words, stdin = '' }) => [
      ...[Buffer.byteLength(stdin), words.length].map(String),
      ...words,
    ]);
    const stdin = all.map((edit) => edit.stdin ?? '').join('');
    await this.edit('several', words, { ...options, stdin });
  }

  /**
   * For a tool that speaks with the host by itself: a local port of which each connection is a run of a
   * program there. None begins once the lock is another's, and what runs by then is ended with all that
   * it has started. Close it when done.
   */
  async program(argv: readonly string[]): Promise<Tunnel> {
    const { prefix } = await this.#privileged();
    return this.#connection.program([...prefix, ...this.#guard(argv.join(' ')), ...argv]);
  }

  /** A word of hostctl that takes or gives up the lock itself. */
  async lockWord(
    word: string,
    args: readonly string[],
    allow: readonly number[] = [0],
  ): Promise<Result> {
    return this.#run(command([this.hostctl, word, ...args], { allow, purpose: word }), []);
  }

  /**
   * Waits until no change is under way here, and ends what takes longer than a minute: the reply to one
   * may have been lost, and not the change.
   */
  async settled(): Promise<void> {
    if (this.#lockNumber === undefined) return;
    await this.read(
      command([this.hostctl, 'settled', String(this.#lockNumber)], {
        timeout: 180,
        purpose: 'wait for what was under way when the connection was lost',
      }),
    );
  }

  /** hostctl's `release`: under its exclusive lock, so that it and a thaw exclude each other. */
  release(): Promise<string> {
    return this.#ownership('release');
  }

  /** hostctl's `take`, in the same way. Returns when it was taken. */
  take(): Promise<string> {
    return this.#ownership('take');
  }

  async #ownership(word: 'release' | 'take'): Promise<string> {
    if (this.#lockNumber === undefined) throw new Error(`${this.label}: ${word} without the lock`);
    const result = await this.lockWord(word, [String(this.#lockNumber)]);
    return result.stdout.toString('utf8').trim();
  }

  /** Asks early what `install` has to know. */
  lookForHostctl(): void {
    // Whoever installs it is told of a failure.
    this.#isInstalled().catch(() => undefined);
  }

  /** Puts the host-side program in place, if it is not there as it should be. Needs no lock. */
  async install(): Promise<void> {
    if (await this.#isInstalled()) return;
    await this.read(
      script(
        `umask 077
         mkdir -p "$1"
         cat > "$1/.hostctl.$$"
         chmod 700 "$1/.hostctl.$$"
         mv -f "$1/.hostctl.$$" "$1/hostctl"`,
        [`${this.folder}/bin`],
        { stdin: hostScript, purpose: 'install hostctl' },
      ),
    );
  }

  readonly #isInstalled = askedOnce(async () => {
    const { stdout } = await this.read(
      script('[ ! -e "$1" ] || sha256sum < "$1"', [this.hostctl], { purpose: 'look for hostctl' }),
    );
    const digest = createHash('sha256').update(hostScript).digest('hex');
    return stdout.toString('utf8').startsWith(digest);
  });

  tunnelBack(port: number): Promise<Tunnel> {
    return this.#connection.tunnelBack(port);
  }

  tunnel(address: string, port: number): Promise<Tunnel> {
    return this.#connection.tunnel(address, port);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Words under which the host refuses what is to run, once the lock is another's. */
  #guard(what: string): readonly string[] {
    if (this.#lockNumber === undefined)
      throw new Error(`${this.label}: a change without the lock: ${what}`);
    return [this.hostctl, 'run', String(this.#lockNumber)];
  }

  #privileged(): Promise<Sudo> {
    this.#sudo ??=
      this.#user === 'root' ? Promise.resolve({ prefix: [], stdin: '' }) : this.#findSudo();
    return this.#sudo;
  }

  async #run(toRun: Command, guard: readonly string[]): Promise<Result> {
    const sudo = await this.#privileged();
    const stdin =
      sudo.stdin === ''
        ? toRun.stdin
        : Buffer.concat([Buffer.from(sudo.stdin), Buffer.from(toRun.stdin ?? '')]);
    const began = performance.now();
    const result = await this.#connection.exec(toRun, [...sudo.prefix, ...guard], stdin);
    debug(`${this.label}: ${describe(toRun)}: ${Math.round(performance.now() - began)} ms`);
    if ((toRun.allow ?? [0]).includes(result.code)) return result;
    throw this.#failure(toRun, result);
  }

  #failure(toRun: Command, result: Result): Error {
    const said = redact(lastLine(result.stderr) || lastLine(result.stdout.toString('utf8')));
    if (result.code === overtaken)
      return new UserError(
        `${this.label}: ${said}. This run must not go on; look at the other one`,
      );
    const how = result.signal
      ? `was killed by ${result.signal}`
      : `failed with exit code ${result.code}`;
    const what = describe(toRun);
    return new CommandFailed(`${this.label}: ${what} ${how}${said ? `: ${said}` : ''}`, result);
  }

  /**
   * How sudo lets this user in; asked once. A given password is tried at once, never after an attempt
   * without: sudo writes a mail to the administrator about each attempt that fails (`mail_badpass`),
   * and a mail in a queue is a change.
   */
  async #findSudo(): Promise<Sudo> {
    return this.#sudoPassword === undefined
      ? this.#freeSudo()
      : this.#askedSudo(this.#sudoPassword);
  }

  async #freeSudo(): Promise<Sudo> {
    const free = await this.#connection.exec(command(['sudo', '-n', 'true']), english, undefined);
    if (free.code === 0) return { prefix: ['sudo', '-n', '--'], stdin: '' };
    if (free.code === 127) throw noSudo(this.label, this.#user);
    throw new UserError(
      `${this.label}: sudo wants a password of ${this.#user}, or does not let this user in. Set the input sudo-password, or let ${this.#user} run sudo without one`,
    );
  }

  async #askedSudo(secret: string): Promise<Sudo> {
    const stdin = `${secret}\n`;
    // -k: never a cached credential, so the first line of standard input is always the password.
    const prefix = ['sudo', '-k', '-S', '-p', '', '--'];
    const asked = await this.#connection.exec(
      command(['wc', '-c']),
      [...english, ...prefix],
      stdin,
    );
    if (asked.code === 127) throw noSudo(this.label, this.#user);
    if (asked.code !== 0) throw sudoRefusal(this.label, this.#user, asked.stderr);
    // The command got the line itself: sudo wants no password here.
    const isFree = asked.stdout.toString('utf8').trim() !== '0';
    return isFree ? { prefix: ['sudo', '-n', '--'], stdin: '' } : { prefix, stdin };
  }
}

/** sudo's reasons are told apart by their English text. */
const english = ['env', 'LC_ALL=C'];

function noSudo(label: string, user: string): UserError {
  return new UserError(
    `${label}: sudo is not installed there, and ${user} is not root. Install sudo, or set user: root in the migration file`,
  );
}

/** sudo(8) says only on standard error why it refuses. */
function sudoRefusal(label: string, user: string, said: string): UserError {
  if (/not in the sudoers|may not run sudo|is not allowed to/.test(said))
    return new UserError(
      `${label}: ${user} may not use sudo there. Allow it in sudoers (\`${user} ALL=(ALL) ALL\`), or use another user`,
    );
  if (/must have a (?:tty|terminal)|no tty present/.test(said))
    return new UserError(
      `${label}: sudo wants a terminal. Write \`Defaults:${user} !requiretty\` in sudoers`,
    );
  return new UserError(
    `${label}: sudo refused the password of ${user}. Check the input sudo-password`,
  );
}

interface Sudo {
  readonly prefix: readonly string[];
  readonly stdin: string;
}

/** What a command is for, in a few words that hold no secret. */
function describe(toRun: Command): string {
  return redact(toRun.purpose ?? toRun.argv.slice(0, 3).join(' '));
}

function lastLine(text: string): string {
  return printable(text.trimEnd().split('\n').at(-1)?.trim() ?? '');
}
