import { existsSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { mustRun } from '../lab/process.ts';

/**
 * A file system of its own for the stores of one host: ext4 in a file on the machine's disk, past the
 * page cache of that. A disk that has seen many deletions can be ten times as slow at making files, for
 * minutes, whoever makes them; on this one nothing is ever deleted.
 */
export interface BenchDisk {
  mount(at: string): Promise<void>;
  release(): Promise<void>;
}

const folder = join(homedir(), '.cache/mail-cutover-bench');

/** One that outlives the run: stores are made once. Takes only what is written. */
export async function keptDisk(name: string): Promise<BenchDisk> {
  const file = join(folder, `${name}.ext4`);
  if (!existsSync(file)) {
    await format(`${file}.new`, async (path) => truncateSync(path, 60 * 2 ** 30));
    await mustRun(['mv', `${file}.new`, file]);
  }
  return disk(file, () => {});
}

/** A fresh one of so many GB, whose blocks are set aside on the machine's disk. */
export async function freshDisk(name: string, gigabytes: number): Promise<BenchDisk> {
  const file = join(folder, `${name}.ext4`);
  rmSync(file, { force: true });
  await format(file, (path) => mustRun(['fallocate', '-l', `${gigabytes}GiB`, path]));
  return disk(file, () => rmSync(file));
}

async function format(file: string, grow: (path: string) => Promise<unknown>): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, '');
  await grow(file);
  // Everything that would else be done later, while something is measured.
  const now = 'lazy_itable_init=0,lazy_journal_init=0';
  await mustRun(['mkfs.ext4', '-q', '-F', '-i', '8192', '-m', '0', '-E', now, file]);
}

function disk(file: string, end: () => void): BenchDisk {
  let device = '';
  let mounted = '';
  return {
    mount: async (at) => {
      const words = ['losetup', '--find', '--show', '--direct-io=on', file];
      device = (await mustRun(words)).trim();
      await mustRun(['mount', device, at]);
      mounted = at;
    },
    release: async () => {
      if (mounted) await mustRun(['umount', mounted]);
      if (device) await mustRun(['losetup', '--detach', device]);
      end();
    },
  };
}
