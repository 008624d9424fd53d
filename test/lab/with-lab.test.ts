import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { run, waitFor } from './process.ts';

const withLab = fileURLToPath(new URL('with-lab.ts', import.meta.url));

function start(...command: string[]): ChildProcess {
  return spawn(process.execPath, [withLab, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  const ended = once(child, 'exit').then(([code]) => `ended with exit code ${code}`);
  const spoken = once(child.stdout as NodeJS.EventEmitter, 'data').then(String);
  return (await Promise.race([spoken, ended])).trim();
}

async function isRunning(mark: string): Promise<boolean> {
  return (await run(['pgrep', '--full', `sleep ${mark}`])).code === 0;
}

test('passes the exit code on', async () => {
  const [code] = await once(start('sh', '-c', 'exit 7'), 'exit');
  expect(code).toBe(7);
});

test('passes SIGTERM on to the command', async () => {
  const child = start('sh', '-c', 'trap "echo got it; exit 5" TERM; echo up; sleep 61.25 & wait');
  expect(await firstLine(child)).toBe('up');
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect(code).toBe(5);
  expect(await isRunning('61.25')).toBe(false);
});

test('killed, it takes everything inside with it', async () => {
  const child = start('sh', '-c', 'setsid sleep 61.75 & echo up; sleep 61.75');
  expect(await firstLine(child)).toBe('up');
  expect(await isRunning('61.75')).toBe(true);
  child.kill('SIGKILL');
  await waitFor('the end of what ran inside', 10, async () => !(await isRunning('61.75')));
});
