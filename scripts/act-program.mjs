/*
 * act (github.com/nektos/act) runs the workflows in tests. Plain JavaScript, since it runs before
 * anything is installed, on whatever Node the machine has.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** What the tests were written against. Go checks the sum of its source. */
export const actVersion = '0.2.89';

/** Milliseconds that building may take. */
const limit = 15 * 60_000;

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

/**
 * Builds act where it is missing, at low priority: other work may go on beside it. Resolves to
 * undefined, or to one line that says why it can't be had.
 */
export async function installAct() {
  if (actProgram() !== undefined) return undefined;
  const go = inPath('go', ['/usr/local/go/bin']);
  if (go === undefined) return 'act is not installed, and there is no Go to build it with';
  const source = `github.com/nektos/act@v${actVersion}`;
  console.error(`building act for the tests of the workflows, once: go install ${source}`);
  const folder = join(own(), '../new');
  mkdirSync(folder, { recursive: true });
  const said = await run('nice', ['-n', '19', go, 'install', '-trimpath', source], {
    ...process.env,
    GOBIN: folder,
    CGO_ENABLED: '0',
  });
  if (said !== undefined) return `act could not be built: ${said}`;
  renameSync(join(folder, 'act'), own());
  return undefined;
}

/** Undefined when the program ended well, else its last line. */
function run(program, args, env) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: limit,
    });
    let text = '';
    child.stderr.on('data', (piece) => {
      text += piece;
    });
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code) =>
      resolve(code === 0 ? undefined : text.trim().split('\n').at(-1) || 'it took too long'),
    );
  });
}
