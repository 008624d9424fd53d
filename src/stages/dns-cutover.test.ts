import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moveAddress } from './dns-cutover.ts';
import type { StageContext } from './stage.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'move-address-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Two hosts that answer whether the lock is still this run's, and a journal. */
function context(answer: () => Promise<unknown>): StageContext {
  const host = (role: string) => ({ role, change: answer });
  const parts = { old: host('old'), new: host('new'), dead: undefined };
  return { ...parts, history: () => [{ lock: 6 }, { lock: 7 }] } as unknown as StageContext;
}

const write = (file: string) => ['sh', '-c', 'printf %s "$MAIL_CUTOVER_LOCK" > "$1"', 'sh', file];

describe("the user's command that moves the address", () => {
  it('is told the number of the lock', async () => {
    const file = join(folder, 'number');
    expect(
      await moveAddress(
        context(async () => undefined),
        write(file),
      ),
    ).toBe('sh succeeded');
    expect(readFileSync(file, 'utf8')).toBe('7');
  });

  it('does not run where another run has taken the lock', async () => {
    const file = join(folder, 'number');
    const refused = context(() => Promise.reject(new Error('taken over')));
    await expect(moveAddress(refused, write(file))).rejects.toThrow('taken over');
    expect(() => readFileSync(file)).toThrow('ENOENT');
  });

  it('that fails is named with what it said last', async () => {
    const words = ['sh', '-c', 'echo first >&2; echo "no such address" >&2; exit 3'];
    await expect(
      moveAddress(
        context(async () => undefined),
        words,
      ),
    ).rejects.toThrow(
      'sh failed with exit code 3: no such address. Correct address-command, then run this stage again',
    );
  });
});
