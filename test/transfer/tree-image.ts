import { createHash } from 'node:crypto';
import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * All that a file system tells of a tree, one line an entry, sorted by bytes: kind, mode, owner, mtime
 * to the nanosecond, and of files the size, a digest of the contents and the first path that is the
 * same file. Paths are bytes, shown as latin1.
 */
export function treeImage(root: string): readonly string[] {
  const lines: string[] = [];
  const first = new Map<string, string>();
  const add = (path: Buffer, shown: string) => {
    const stat = lstatSync(path, { bigint: true });
    lines.push(`${shown} ${attributes(stat)} ${what(path, shown, stat, first)}`);
    if (!stat.isDirectory()) return;
    const names = readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare);
    for (const name of names) {
      add(Buffer.concat([path, Buffer.from('/'), name]), `${shown}/${name.toString('latin1')}`);
    }
  };
  add(Buffer.from(root), '.');
  return lines;
}

function attributes(stat: BigIntStats): string {
  return `${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeNs}`;
}

function what(path: Buffer, shown: string, stat: BigIntStats, first: Map<string, string>): string {
  if (stat.isSymbolicLink()) return readlinkSync(path, { encoding: 'latin1' });
  if (!stat.isFile()) return '';
  const file = `${stat.dev} ${stat.ino}`;
  const same = first.get(file) ?? shown;
  first.set(file, same);
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12);
  return `${stat.size} ${stat.nlink} ${digest} ${same}`;
}
