import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/** An flock(2) on a file. The kernel frees it when this process dies, however it dies. */
export interface Lock {
  release(): Promise<void>;
}

/** Waits for the lock. A helper holds it for as long as our end of its input is open. */
export async function lock(file: string): Promise<Lock> {
  mkdirSync(dirname(file), { recursive: true });
  const holder = spawn('flock', ['--no-fork', file, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(holder, 'exit');
  const answered = once(holder.stdout, 'data');
  await Promise.race([
    answered,
    ended.then(([code]) => Promise.reject(new Error(`flock ${file}: exit code ${code}`))),
  ]);
  return {
    async release() {
      holder.stdin.end();
      await ended;
    },
  };
}

/** Runs `work` while holding the lock. */
export async function withLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  const held = await lock(file);
  try {
    return await work();
  } finally {
    await held.release();
  }
}
