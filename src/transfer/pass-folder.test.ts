import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { script } from '../hosts/command.ts';
import { keepingFolder } from './pass-folder.ts';

let temporary: string;
const folder = () => join(temporary, 'run/mail-cutover-m');

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'folder-'));
  for (const name of ['run', 'shm', 'bin']) mkdirSync(join(temporary, name));
  // In place of stat(1): the last part of a path says what is known of it.
  const stat = join(temporary, 'bin/stat');
  writeFileSync(stat, '#!/bin/sh\nfor path; do :; done\ncat "$path.type"\n');
  chmodSync(stat, 0o755);
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

/** Of which type the file systems are; what is not named is not there. */
function types(types: Readonly<Record<string, string>>): void {
  for (const [name, type] of Object.entries(types))
    writeFileSync(join(temporary, `${name}.type`), `${type}\n`);
}

function run(words: string) {
  const text = `umask 077\n${keepingFolder}\n${words}`.replaceAll(
    '/dev/shm',
    join(temporary, 'shm'),
  );
  const [program = '', ...args] = script(text, [folder()]).argv;
  const env = { ...process.env, PATH: `${join(temporary, 'bin')}:${process.env['PATH']}` };
  const { status, stderr } = spawnSync(program, args, { env, encoding: 'utf8' });
  return { status, stderr };
}

const make = () => run('make_folder "$1"; echo key > "$1/key"');
const well = { status: 0, stderr: '' };

describe('the folder of a key', () => {
  it.each(['tmpfs', 'ramfs'])('lies in /run where that is %s, and is fresh', (type) => {
    types({ run: type });
    expect(make()).toEqual(well);
    writeFileSync(join(folder(), 'old'), '');
    expect(make()).toEqual(well);
    expect(existsSync(join(folder(), 'old'))).toBe(false);
    expect(lstatSync(folder()).isDirectory()).toBe(true);
    expect(lstatSync(folder()).mode & 0o777).toBe(0o700);
  });

  it('is a link to /dev/shm where /run is on a disk, and goes as a whole', () => {
    types({ run: 'overlayfs', shm: 'tmpfs' });
    expect([make(), make()]).toEqual([well, well]);
    const behind = readlinkSync(folder());
    expect(behind.startsWith(`${join(temporary, 'shm')}/mail-cutover.`)).toBe(true);
    expect(lstatSync(behind).mode & 0o777).toBe(0o700);
    expect(existsSync(join(behind, 'key'))).toBe(true);
    expect(run('drop_folder "$1"')).toEqual(well);
    expect([existsSync(behind), existsSync(folder())]).toEqual([false, false]);
    expect(run('drop_folder "$1"')).toEqual(well);
  });

  it.each([{ run: 'ext2/ext3', shm: 'overlayfs' }, { run: 'xfs' }, {}])(
    'is refused where neither is in memory: %j',
    (found) => {
      types(found);
      const { status, stderr } = make();
      expect(status).toBe(5);
      expect(stderr).toMatch(/^neither \S+\/run nor \S+ is kept in memory \(tmpfs\)/);
      expect(existsSync(folder())).toBe(false);
    },
  );
});
