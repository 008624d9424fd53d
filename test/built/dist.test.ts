import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stageNames } from '../../src/actions/stages.ts';

const root = join(import.meta.dirname, '../..');
const dist = join(root, 'dist');

/** Two builds at once would write over each other's build/, so all of them are made in copies. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'built-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const largeAndNotForBuilding =
  /node_modules\/(node-(linux|darwin)|@biomejs|@?rolldown|lightningcss|\.vite)/;

/** A copy of the project. A link to node_modules would not do: packages are numbered by their place. */
function checkout(name: string): string {
  const copy = join(folder, name);
  for (const path of ['src', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.build.json']) {
    cpSync(join(root, path), join(copy, path), { recursive: true });
  }
  cpSync(join(root, 'node_modules'), join(copy, 'node_modules'), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !largeAndNotForBuilding.test(path),
  });
  return copy;
}

function node(args: readonly string[], cwd: string) {
  return spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
}

function contents(path: string): Map<string, string> {
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).sort();
  const files = names.filter((name) => statSync(join(path, name)).isFile());
  return new Map(files.map((name) => [name, readFileSync(join(path, name), 'latin1')]));
}

describe('dist', () => {
  it('is what src builds, byte for byte, also in another folder; a difference is seen', () => {
    const copy = checkout('a/deeper/folder');
    cpSync(dist, join(copy, 'dist'), { recursive: true });
    rmSync(join(copy, 'dist/plan.cjs'));
    const { status, stderr } = node(['scripts/build.mjs', '--check'], copy);
    expect(stderr).toBe('dist is not what src builds: plan.cjs; run "npm run build"\n');
    expect(status).toBe(1);
  });

  it('has nothing native, no test, no path of a machine', () => {
    for (const [name, text] of contents(dist)) {
      expect(name).not.toMatch(/\.(node|exe|map|ts)$|test/);
      expect(text.includes(root), name).toBe(false);
    }
  });

  it('loads less than 2 MB in every action', () => {
    expect(statSync(join(dist, 'index.cjs')).size).toBeLessThan(2_000_000);
  });

  it('names the licence of what it holds', () => {
    const licences = readFileSync(join(dist, 'licenses/licenses.txt'), 'utf8');
    for (const name of ['@actions/core', 'imapflow', 'ssh2', 'yaml', 'zod']) {
      expect(licences).toMatch(new RegExp(`^== ${name} [0-9.]+: \\S+$`, 'm'));
    }
  });
});

describe('entries', () => {
  const check = (path: string) => node(['scripts/check-entries.mjs', path], root);

  it('and chunks all run from an empty folder', () => {
    const { status, stdout, stderr } = check(dist);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const [, entries, modules] = /^(\d+) entries run, (\d+) modules/.exec(stdout) ?? [];
    // Ten stages, and the post steps of transfer and rollback.
    expect(Number(entries)).toBe(stageNames.length + 2);
    expect(Number(modules)).toBeGreaterThanOrEqual(2);
  });

  it('the check sees an entry and a chunk that do not run', () => {
    const copy = join(folder, 'broken');
    cpSync(dist, copy, { recursive: true });
    rmSync(join(copy, 'index.cjs'));
    cpSync(join(dist, 'plan.cjs'), join(copy, 'index.cjs'));
    expect(check(copy).status).not.toBe(0);
  });
});
