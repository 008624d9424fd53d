import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { UserError } from '../../errors.ts';
import { parseIni, type RelayIni } from './ini.ts';

/** A user's checkout of chatmail/relay: what `cmdeploy` is run from. */
export interface Checkout {
  readonly folder: string;
  readonly ini: RelayIni;
  /** git revision, which `cmdeploy` writes to the host. Empty where it is no git repository. */
  readonly revision: string;
}

/** Throws `UserError` with one line where it can't be used. Nothing is run from it. */
export async function readCheckout(path: string | undefined): Promise<Checkout> {
  if (path === undefined)
    throw new UserError(
      'input cmdeploy: is missing, and the migration file asks for cmdeploy. Give the path of your checkout of the relay repository, or set NEW up yourself and write provision: prepared',
    );
  const folder = resolve(path);
  const text = await readFile(join(folder, 'scripts/cmdeploy'), 'utf8').catch(() => undefined);
  if (text === undefined)
    throw new UserError(
      `input cmdeploy: ${path} holds no scripts/cmdeploy. Check out github.com/chatmail/relay there before this stage`,
    );
  if (text.includes('venv/bin/activate') && !(await exists(join(folder, 'venv/bin/cmdeploy'))))
    throw new UserError(
      `input cmdeploy: ${path} was not set up. Run its scripts/initenv.sh before this stage`,
    );
  const settings = await readFile(join(folder, 'chatmail.ini'), 'utf8').catch(() => undefined);
  const ini = settings === undefined ? undefined : parseIni(settings);
  if (ini === undefined)
    throw new UserError(
      `input cmdeploy: ${path} has no chatmail.ini with a mail_domain. Put the one that OLD was deployed with there`,
    );
  return { folder, ini, revision: await revisionOf(folder) };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function revisionOf(folder: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', folder, 'rev-parse', 'HEAD']);
    return stdout.trim();
  } catch {
    return '';
  }
}
