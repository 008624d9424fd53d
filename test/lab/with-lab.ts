/**
 * node test/lab/with-lab.ts COMMAND ARGS…
 *
 * Runs a command inside the lab's namespaces, from which no packet leaves, and passes its exit code
 * on. Inside, `Lab.start` boots hosts. One process tree: whatever ends this process ends every host,
 * mount and link with it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureExtraLayer, qmailLayer } from './extra-layer.ts';
import { ensureBase } from './image.ts';
import { runsFolder, runVariable } from './paths.ts';
import { network } from './world.ts';

const here = dirname(fileURLToPath(import.meta.url));

function say(line: string): void {
  process.stderr.write(`lab: ${line}\n`);
}

function fail(line: string): never {
  say(line);
  process.exit(1);
}

function checkMachine(): void {
  if (process.platform !== 'linux')
    fail('real hosts need Linux; without them: npm test -- --no-lab');
  if (process.getuid?.() !== 0) fail('namespaces and mounts need root; start this with sudo');
  const needs = spawnSync(process.execPath, [join(here, '../../scripts/lab-needs.mjs')], {
    stdio: 'inherit',
  });
  if (needs.status !== 0) process.exit(1);
}

/** Removes the folders of runs that were killed. A run holds the lock on its folder while it lives. */
function sweepRuns(): void {
  mkdirSync(runsFolder(), { recursive: true });
  for (const name of readdirSync(runsFolder())) {
    const folder = join(runsFolder(), name);
    // One that was made just now may not have its lock yet.
    if (Date.now() - (statSync(folder, { throwIfNoEntry: false })?.ctimeMs ?? 0) < 60_000) continue;
    const remove = ['rm', '-rf', '--one-file-system', folder];
    spawnSync('flock', ['--nonblock', join(folder, 'lock'), ...remove], { stdio: 'ignore' });
  }
}

function makeRun(): string {
  const folder = join(runsFolder(), `${process.pid}-${randomBytes(3).toString('hex')}`);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** The process that stands for COMMAND: the first child of the namespaces' first process. */
function commandPid(unshare: number): number | undefined {
  const firstChild = (pid: number): number | undefined => {
    const found = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
    const pids = found.stdout.split('\n').filter(Boolean).map(Number);
    return pids.sort((a, b) => a - b)[0];
  };
  const init = firstChild(unshare);
  return init === undefined ? undefined : firstChild(init);
}

function enter(run: string, command: readonly string[]): ReturnType<typeof spawn> {
  const { bridge, prefix, resolver } = network;
  const argv = [
    ...['flock', '--nonblock', '--no-fork', join(run, 'lock')],
    ...['setpriv', '--pdeathsig', 'KILL'],
    ...['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
    ...['--propagation', 'private', 'sh', join(here, 'with-lab-inner.sh'), run],
    ...[`${bridge.v4}/${prefix.v4}`, `${bridge.v6}/${prefix.v6}`, resolver.v4],
    ...command,
  ];
  const path = [dirname(process.execPath), process.env.PATH ?? '', '/usr/sbin', '/sbin'];
  return spawn(argv[0] ?? '', argv.slice(1), {
    stdio: 'inherit',
    env: { ...process.env, PATH: path.join(delimiter), [runVariable]: run },
  });
}

function forwardSignals(child: ReturnType<typeof enter>): void {
  const forward = (signal: NodeJS.Signals) => {
    // A terminal sends its interrupt to the whole foreground group itself.
    if (signal === 'SIGINT' && process.stdin.isTTY) return;
    const pid = child.pid === undefined ? undefined : commandPid(child.pid);
    if (pid === undefined) child.kill('SIGKILL');
    else process.kill(pid, signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
}

const command = process.argv.slice(2);
if (command.length === 0) fail('usage: node test/lab/with-lab.ts COMMAND ARGS…');
checkMachine();
await ensureBase(say)
  .then(() => ensureExtraLayer(qmailLayer, say))
  .catch((error: Error) => fail(error.message));
sweepRuns();
const run = makeRun();
const child = enter(run, command);
forwardSignals(child);
child.on('error', (error) => fail(`could not start: ${error.message}`));
child.on('exit', (code, signal) => {
  rmSync(run, { recursive: true, force: true });
  process.exit(code ?? 128 + constants.signals[signal ?? 'SIGKILL']);
});
