import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { version } from '../src/actions/version.ts';
import { releaseFaults } from './check-release.ts';

const tag = `v${version}`;
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'release-'));
  for (const name of [
    '.github',
    'actions',
    'docs',
    'README.md',
    'package.json',
    'package-lock.json',
  ])
    cpSync(join(import.meta.dirname, '..', name), join(root, name), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

function edit(path: string, from: string | RegExp, to: string): void {
  const text = readFileSync(join(root, path), 'utf8');
  const edited = text.replace(from, to);
  expect(edited).not.toBe(text);
  writeFileSync(join(root, path), edited);
}

it('lets the version go that every file names', () => {
  expect(releaseFaults(root, tag, 'OWNER/mail-cutover')).toEqual([]);
});

it('refuses a tag that is not the version of the package', () => {
  const faults = releaseFaults(root, 'v99.0.0', 'OWNER/mail-cutover');
  expect(faults).toContain(`package.json: version is ${version}, the tag says 99.0.0`);
  expect(
    faults.filter((fault) => fault.startsWith('.github/workflows/migrate.yml:')).length,
  ).toBeGreaterThan(5);
});

it('refuses a floating tag', () => {
  expect(releaseFaults(root, 'v1', 'OWNER/mail-cutover')).toEqual([
    'v1 is not a version such as v1.2.3; a floating tag is never released',
  ]);
});

it('refuses a migrate.yml that calls one sibling by another tag', () => {
  edit('.github/workflows/migrate.yml', `actions/freeze@${tag}`, 'actions/freeze@v1');
  expect(releaseFaults(root, tag, 'OWNER/mail-cutover')).toEqual([
    expect.stringMatching(
      new RegExp(`^\\.github/workflows/migrate\\.yml:\\d+: names v1; the release is ${tag}$`),
    ),
  ]);
});

it('refuses a README of an action that shows another', () => {
  edit('actions/freeze/README.md', `@${tag}`, '@v0.0.9');
  expect(releaseFaults(root, tag, 'OWNER/mail-cutover')).toEqual([
    expect.stringContaining('actions/freeze/README.md:'),
  ]);
});

it('refuses to be made before the files name where the suite lives', () => {
  const faults = releaseFaults(root, tag, 'orchard/mail-cutover');
  expect(faults).toContainEqual(
    expect.stringContaining('names OWNER/mail-cutover; the release is of orchard/mail-cutover'),
  );
});
