/**
 * A command for a host, as a value. Nothing is ever pasted into shell text: every word passes
 * through `quote`, the one quoting function.
 */
export interface Command {
  readonly argv: readonly string[];
  readonly stdin?: string | Buffer;
  /** Exit codes that are no failure. Default: only 0. */
  readonly allow?: readonly number[];
  /** Seconds after which the command counts as hung. Default: 300. */
  readonly timeout?: number;
  /** What the command is for, as messages name it: "read the mail queue". */
  readonly purpose?: string;
  /** Called with each piece of standard output as it comes; the pieces are then not kept. */
  readonly onStdout?: (chunk: Buffer) => void;
}

export interface Result {
  readonly code: number;
  readonly signal: string | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
}

type Options = Omit<Command, 'argv'>;

/** A program with its arguments. */
export function command(argv: readonly string[], options: Options = {}): Command {
  return { argv, ...options };
}

/**
 * POSIX shell text with arguments, which it sees as `$1`, `$2` …. The text is a constant of ours;
 * whatever comes from outside is an argument. Runs under `set -eu`.
 */
export function script(text: string, args: readonly string[] = [], options: Options = {}): Command {
  return { argv: ['sh', '-c', `set -eu\n${text}`, 'sh', ...args], ...options };
}

/** Quotes one word for a POSIX shell (POSIX.1-2017, XCU 2.2.2: single quotes keep every character). */
export function quote(word: string): string {
  if (word.includes('\0')) throw new TypeError('a shell word cannot hold a NUL byte');
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The shell text that runs `argv`. */
export function commandLine(argv: readonly string[]): string {
  return argv.map(quote).join(' ');
}
