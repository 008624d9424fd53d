import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { version } from '../src/actions/version.ts';
import { releaseFaults } from './check-release.ts';
import { generatedFiles } from './generated-files.ts';
import { filesThatPeopleCopy, moveTo, repositoryOf } from './repository.ts';

const tag = `v${version}`;
const repository = repositoryOf(join(import.meta.dirname, '..'));
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'release-'));
  for (const name of [
    '.github',
    'action.yml',
    'actions',
    'docs',
    'migration.schema.json',
    'src',
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
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
  expect(releaseFaults(root, tag, repository)).toEqual([]);
});

it('refuses a tag that is not the version of the package', () => {
  const faults = releaseFaults(root, 'v99.0.0', repository);
  expect(faults).toContain(`package.json: version is ${version}, the tag says 99.0.0`);
  expect(
    faults.filter((fault) => fault.startsWith('.github/workflows/migrate.yml:')).length,
  ).toBeGreaterThan(5);
});

it('refuses a floating tag', () => {
  expect(releaseFaults(root, 'v1', repository)).toEqual([
    'v1 is not a version such as v1.2.3; a floating tag is never released',
  ]);
});

it('refuses a migrate.yml that calls one sibling by another tag', () => {
  edit('.github/workflows/migrate.yml', `actions/freeze@${tag}`, 'actions/freeze@v1');
  expect(releaseFaults(root, tag, repository)).toEqual([
    expect.stringMatching(
      new RegExp(`^\\.github/workflows/migrate\\.yml:\\d+: names v1; the release is ${tag}$`),
    ),
  ]);
});

it('refuses a README of an action that shows another', () => {
  edit('actions/freeze/README.md', `@${tag}`, '@v0.0.9');
  expect(releaseFaults(root, tag, repository)).toEqual([
    expect.stringContaining('actions/freeze/README.md:'),
  ]);
});

it('refuses to be made before the files name where the suite lives, and says how to', () => {
  expect(releaseFaults(root, tag, 'orchard/mail-move')).toEqual([
    `package.json: the suite lives in ${repository}, the release is of orchard/mail-move; run \`npm run generate -- --repository orchard/mail-move\`, build, and commit`,
  ]);
});

describe('npm run generate -- --repository', () => {
  it('writes the place everywhere, so that a release may be made of it', async () => {
    expect(moveTo(root, 'orchard/mail-move')).toContain('.github/workflows/migrate.yml');
    expect(releaseFaults(root, tag, 'orchard/mail-move')).toEqual([]);
    const naming = filesThatPeopleCopy(root).filter((name) =>
      readFileSync(join(root, name), 'utf8').includes(`${repository}`),
    );
    expect(naming).toEqual([]);
    for (const { path, content } of await generatedFiles(root))
      expect(readFileSync(join(root, path), 'utf8')).toBe(content);
  });

  it('takes an owner and a name, and nothing else', () => {
    for (const wrong of ['orchard', 'https://github.com/orchard/mail', 'a/b/c'])
      expect(() => moveTo(root, wrong)).toThrow('is not of the form owner/name');
  });
});
