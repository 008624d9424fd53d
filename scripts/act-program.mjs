/*
 * act (github.com/nektos/act) runs the workflows in tests. Plain JavaScript, since it runs before
 * anything is installed, on whatever Node the machine has.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** What the tests were written against. Go checks the sum of its source. */
export const actVersion = '0.2.89';

function own() {
  const { MAIL_CUTOVER_LAB_CACHE: lab, XDG_CACHE_HOME: cache } = process.env;
  const folder = lab || join(cache || join(homedir(), '.cache'), 'mail-cutover-lab');
  return join(folder, `act-${actVersion}`, 'act');
}

function inPath(program, more = []) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...more];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** The path of act: the one that was built here, or else the machine's own. */
export function actProgram() {
  return existsSync(own()) ? own() : inPath('act');
}

/** Builds act where it is missing. Returns undefined, or in one line why it can't be had. */
export function installAct() {
  if (actProgram() !== undefined) return undefined;
  const go = inPath('go', ['/usr/local/go/bin', join(homedir(), 'go/bin')]);
  if (go === undefined) return 'act is not installed, and there is no Go to build it with';
  const source = `github.com/nektos/act@v${actVersion}`;
  console.error(`lab: building act, once: go install ${source} (some minutes)`);
  const folder = join(own(), '../new');
  mkdirSync(folder, { recursive: true });
  const { status, stderr } = spawnSync(go, ['install', source], {
    env: { ...process.env, GOBIN: folder, CGO_ENABLED: '0', GOFLAGS: '-trimpath' },
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    timeout: 15 * 60_000,
  });
  if (status !== 0 || !existsSync(join(folder, 'act')))
    return `act could not be built: ${(stderr ?? '').trim().split('\n').at(-1) || 'go install took too long'}`;
  renameSync(join(folder, 'act'), own());
  return undefined;
}
