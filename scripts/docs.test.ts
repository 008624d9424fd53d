import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { stageNames } from '../src/actions/stages.ts';
import { parseMigration } from '../src/config/load.ts';
import { migrationSchema } from '../src/config/schema.ts';
import { repositoryOf } from './repository.ts';

/*
 * What people copy out of the documents must work, and what the documents quote must be there.
 */

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => join(folder, path));
}

const documents = [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md'],
  ...filesBelow('docs', '.md'),
  ...filesBelow('actions', '.md'),
];

/** The fenced blocks of one language. */
function blocks(path: string, language: string): string[] {
  const found = read(path).matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'));
  return [...found].map((block) => block[1] ?? '');
}

const yamlBlocks = documents.flatMap((path) =>
  blocks(path, 'yaml').map((text) => ({ path, text })),
);
const migrations = yamlBlocks.filter(({ text }) => /^mail-system:/m.test(text));

/** Paths of all keys, `freeze.max-minutes`; a list's items have no step of their own. */
function keysOf(schema: unknown, prefix = ''): string[] {
  const node = schema as { shape?: Record<string, unknown>; def?: Record<string, unknown> };
  if (node.shape) {
    return Object.entries(node.shape).flatMap(([key, inner]) => [
      `${prefix}${key}`,
      ...keysOf(inner, `${prefix}${key}.`),
    ]);
  }
  const inner = node.def?.innerType ?? node.def?.element;
  return inner === undefined ? [] : keysOf(inner, prefix);
}

function keysIn(value: unknown, prefix = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => keysIn(item, prefix));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    `${prefix}${key}`,
    ...keysIn(inner, `${prefix}${key}.`),
  ]);
}

describe('examples', () => {
  it.each(yamlBlocks)('in $path are YAML', ({ text }) => {
    expect(() => parse(text)).not.toThrow();
  });

  it.each(migrations)('of a migration file in $path are valid', ({ path, text }) => {
    expect(() => parseMigration(text, path)).not.toThrow();
  });

  it.each(filesBelow('docs/examples', '.yml'))('%s is a valid migration file', (path) => {
    expect(() => parseMigration(read(path), path)).not.toThrow();
  });

  it('of the migration file show every field', () => {
    const shown = migrations
      .filter(({ path }) => path === 'docs/migration-file.md')
      .flatMap(({ text }) => keysIn(parse(text)));
    expect(keysOf(migrationSchema).length).toBeGreaterThan(30);
    // `new` has the jump host that `old` shows, and `old` the addresses that `new` shows.
    const missing = keysOf(migrationSchema).filter((key) => !shown.includes(key));
    expect(missing.filter((key) => !/^(new\.jump|old\.public-addresses)/.test(key))).toEqual([]);
  });
});

describe('links', () => {
  it.each(documents)('of %s lead to files that are there', (path) => {
    const targets = [...read(path).matchAll(/\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)/g)].map(
      (link) => join(dirname(path), link[1] ?? ''),
    );
    expect(targets.filter((target) => !existsSync(join(root, target)))).toEqual([]);
  });
});

describe('troubleshooting', () => {
  const source = filesBelow('src', '.ts')
    .filter((path) => !path.endsWith('.test.ts'))
    .map(read)
    .join('\n');
  const messages = [...read('docs/troubleshooting.md').matchAll(/^\*\*`(.+)`\*\*$/gm)].map(
    (heading) => heading[1] ?? '',
  );

  it('quotes messages', () => {
    expect(messages.length).toBeGreaterThan(20);
  });

  // "…" stands for what differs from case to case.
  it.each(messages)('"%s" is said by the code', (message) => {
    const parts = message.split('…').map((part) => part.trim());
    expect(parts.filter((part) => !source.includes(part))).toEqual([]);
  });
});

it('README.md tells of every stage', () => {
  const table = read('README.md');
  expect(
    stageNames.filter((stage) => !new RegExp(`^\\| \\[?\`${stage}\``, 'm').test(table)),
  ).toEqual([]);
});

it('decisions are numbered without a gap', () => {
  const numbers = filesBelow('docs/decisions', '.md').map((path) =>
    Number(relative('docs/decisions', path).slice(0, 4)),
  );
  expect(numbers.sort((a, b) => a - b)).toEqual(numbers.map((_, index) => index + 1));
});

it('workflows name actions by full commit SHA', () => {
  const uses = filesBelow('.github/workflows', '.yml').flatMap((path) =>
    [...read(path).matchAll(/\buses:\s*(\S+)/g)].map((found) => found[1] ?? ''),
  );
  expect(
    uses.filter(
      (name) =>
        !/^\.\//.test(name) &&
        !name.replace('@', '/').startsWith(`${repositoryOf(root)}/`) &&
        !/@[0-9a-f]{40}$/.test(name),
    ),
  ).toEqual([]);
});
