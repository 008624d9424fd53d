import { readdirSync, readFileSync } from 'node:fs';
import { mustRun, run, waitFor } from './process.ts';
import { network } from './world.ts';

/**
 * Everything that a lab makes can be seen from inside the namespaces: processes, mounts under the
 * run folder, links. Used to prove that `stop` left nothing, and to clear away what a killed test did.
 */

interface Nspawn {
  readonly pid: number;
  readonly children: readonly number[];
}

async function nspawns(folder: string): Promise<Nspawn[]> {
  const found: Nspawn[] = [];
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const line = commandLine(name);
    if (!line.startsWith('systemd-nspawn\0') || !line.includes(`--directory=${folder}/`)) continue;
    const { stdout } = await run(['pgrep', '--parent', name]);
    found.push({ pid: Number(name), children: stdout.split('\n').filter(Boolean).map(Number) });
  }
  return found;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function mountsUnder(folder: string): string[] {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  return points.filter((point) => point.startsWith(`${folder}/`)).reverse();
}

async function ports(): Promise<string[]> {
  const { stdout } = await run(['ip', '-json', 'link']);
  const links = JSON.parse(stdout) as { ifname: string }[];
  return links.map((link) => link.ifname).filter((name) => name.startsWith('v-'));
}

/** What of a lab is still there, in words; empty when there is nothing. */
export async function leftovers(folder: string): Promise<string[]> {
  return [
    ...(await nspawns(folder)).map(({ pid }) => `systemd-nspawn ${pid}`),
    ...mountsUnder(folder).map((point) => `mount ${point}`),
    ...(await ports()).map((port) => `link ${port}`),
  ];
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

/** Takes down whatever an earlier lab in these namespaces left. */
export async function sweep(folder: string): Promise<void> {
  await waitFor('hosts of an earlier lab to end', 30, async () => {
    const running = await nspawns(folder);
    for (const pid of running.flatMap(({ children }) => children)) kill(pid);
    return running.length === 0;
  });
  for (const point of mountsUnder(folder)) await mustRun(['umount', point]);
  for (const port of await ports()) await run(['ip', 'link', 'delete', port]);
  for (const name of Object.keys(network)) await run(['ip', 'netns', 'delete', name]);
}
