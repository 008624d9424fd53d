import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { UserError } from '../errors.ts';
import type { TsigKey } from './credentials.ts';

/** The program `nsupdate`: it signs RFC 2136 updates with TSIG, which no npm library was found to do. */

/** What became of an update; `code` is the server's, with TSIG's own code where there is one. */
export type UpdateOutcome =
  | { readonly code: 'NOERROR' }
  | { readonly code: string; readonly output: string };

/** No reply: the update was made, or not. */
export const unknownOutcome = 'no reply';

/**
 * Sends one update. `commands` are nsupdate's own lines; the key is handed over on standard input,
 * so that no process list or file ever shows it. Ends within `seconds`, give or take a few.
 */
export async function nsupdate(
  key: TsigKey,
  commands: readonly string[],
  seconds: number,
): Promise<UpdateOutcome> {
  const input = [`key ${key.algorithm}:${key.name}. ${key.secret}`, ...commands, 'send', ''];
  // -v: TCP, so that size never matters and the server's address can't be forged.
  const args = ['-v', '-t', String(seconds)];
  const { code, output } = await run('nsupdate', args, input.join('\n'), seconds + 5);
  if (code === 0) return { code: 'NOERROR' };
  // nsupdate repeats a key that it can't read.
  return { code: outcomeCode(output), output: output.replaceAll(key.secret, '***') };
}

function outcomeCode(output: string): string {
  const failed = /update failed: (?:\w+\((\w+)\)|(\w+))/.exec(output);
  const code = failed?.[1] ?? failed?.[2];
  if (code) return code;
  return /Communication with .* failed|timed out|killed/.test(output) ? unknownOutcome : 'unknown';
}

async function run(program: string, args: string[], input: string, limit: number) {
  const child = spawn(program, args, {
    // Nothing of the caller's environment: it may hold secrets, and messages must stay in English.
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: limit * 1000,
    killSignal: 'SIGKILL',
  });
  // It may end before it has read everything; its exit code then tells why.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const texts = Promise.all([text(child.stdout), text(child.stderr)]);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    const output = (await texts).join('\n').trim();
    return { code, output: signal ? `${output}\nkilled after ${limit} s` : output };
  } catch (error) {
    throw startFault(program, error as NodeJS.ErrnoException);
  }
}

function startFault(program: string, error: NodeJS.ErrnoException): UserError {
  const reason =
    error.code === 'ENOENT'
      ? `${program} is missing on this machine: install the package bind9-dnsutils`
      : `${program} can't be started: ${error.message}`;
  return new UserError(`${reason}.`, { cause: error });
}
