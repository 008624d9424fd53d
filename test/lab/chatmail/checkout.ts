import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mustRun } from '../process.ts';
import { chatmailIni, configuredFiles, installedFiles, type RelayFile } from './relay-files.ts';

const standIns = join(import.meta.dirname, 'stand-ins');

/** Writes files below `root`, with their modes. */
export function writeRelayFiles(root: string, files: Readonly<Record<string, RelayFile>>): void {
  for (const [path, { text, mode = 0o644 }] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
    writeFileSync(file, text);
    chmodSync(file, mode);
  }
}

export interface CheckoutOptions {
  /** Text of `chatmail.ini`. Default: that of the lab's relay. */
  readonly ini?: string;
}

/**
 * What stands for a user's checkout of chatmail/relay: a git repository with `scripts/cmdeploy`, the
 * stand-in, and `chatmail.ini`. Returns its revision.
 */
export async function makeCheckout(folder: string, options: CheckoutOptions = {}): Promise<string> {
  mkdirSync(join(folder, 'scripts'), { recursive: true });
  cpSync(join(standIns, 'cmdeploy'), join(folder, 'scripts/cmdeploy'));
  writeRelayFiles(join(folder, 'stand-in/install'), installedFiles());
  writeRelayFiles(join(folder, 'stand-in/configure'), configuredFiles());
  cpSync(join(standIns, 'configure.sh'), join(folder, 'stand-in/configure.sh'));
  writeFileSync(join(folder, '.gitignore'), 'chatmail.ini\n');
  writeFileSync(join(folder, 'chatmail.ini'), options.ini ?? chatmailIni);
  const who = ['-c', 'user.name=lab', '-c', 'user.email=lab@lab.example'];
  const when = {
    GIT_AUTHOR_DATE: '2026-08-01T00:00:00Z',
    GIT_COMMITTER_DATE: '2026-08-01T00:00:00Z',
  };
  const env = { ...when, GIT_CONFIG_GLOBAL: '/dev/null', PATH: process.env.PATH ?? '' };
  const git = (...words: string[]) => mustRun(['git', '-C', folder, ...who, ...words], { env });
  await git('init', '-q', '-b', 'main');
  await git('add', '.');
  await git('commit', '-q', '-m', 'relay');
  return (await git('rev-parse', 'HEAD')).trim();
}
