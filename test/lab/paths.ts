import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where base images, keys and prepared hosts are kept between runs. */
export function cacheFolder(): string {
  const own = process.env.MAIL_CUTOVER_LAB_CACHE;
  if (own) return own;
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mail-cutover-lab');
}

/** Folders of labs that run now, one each. Beside the cache: a snapshot is a rename. */
export function runsFolder(): string {
  return join(cacheFolder(), 'run');
}

/** Name of the environment variable that tells a command inside the lab where its run folder is. */
export const runVariable = 'MAIL_CUTOVER_LAB_RUN';

/** The run folder of the lab that this process is in. */
export function runFolder(): string {
  const folder = process.env[runVariable];
  if (!folder) {
    throw new Error('not inside the lab; start this with: node test/lab/with-lab.ts COMMAND …');
  }
  return folder;
}
