import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/*
 * Imports point one way. A folder of src/ may import from those named here and from itself;
 * "config types" means types only. What each may not know is the point of it: the engine knows no
 * mail system, no DNS and no SSH, so that it can be tested and trusted by itself.
 */
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  config: ['errors'],
  engine: ['errors'],
  // The hosts keep the engine's files for it: they implement its HostFiles.
  hosts: ['errors', 'config types', 'engine types'],
  dns: ['errors', 'config types'],
  transfer: ['errors', 'hosts', 'engine'],
  'mail-systems': ['errors', 'config', 'hosts', 'engine', 'transfer', 'mail-clients'],
  // Tell what was found, in the words of those who found it.
  report: ['errors', 'engine', 'mail-systems types'],
  github: ['errors', 'engine types'],
  'mail-clients': ['errors'],
  stages: [
    'errors',
    'config',
    'hosts',
    'engine',
    'dns',
    'transfer',
    'mail-systems',
    'mail-clients',
    'report',
    'actions/stages types',
    'actions/inputs types',
  ],
  // One run of one stage: order, lock, digest, gates, and what it hands back.
  run: [
    'errors',
    'config',
    'hosts',
    'engine',
    'github',
    'report',
    'mail-systems',
    'dns types',
    'stages',
    'actions/stages types',
    'actions/inputs',
    'actions/version',
  ],
  main: ['*'],
  actions: ['errors', 'config', 'main', 'run/result types'],
  driver: ['errors', 'actions/metadata', 'actions/stages'],
};

const source = import.meta.dirname;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typesOnly: boolean;
}

function sourceFiles(): string[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
    .sort();
}

/** Relative imports and exports of one file, `import()` included; paths are relative to src/. */
function importsOf(from: string, text: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Expression | undefined, typesOnly: boolean) => {
    if (!specifier || !ts.isStringLiteral(specifier) || !specifier.text.startsWith('.')) return;
    const to = relative(source, resolve(source, dirname(from), specifier.text));
    found.push({ from, to, typesOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(
        node.moduleSpecifier,
        node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword || onlyTypes(node),
      );
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(from, text, ts.ScriptTarget.Latest));
  return found;
}

function onlyTypes(node: ts.ImportDeclaration): boolean {
  const names = node.importClause?.namedBindings;
  if (node.importClause?.name || !names || !ts.isNamedImports(names)) return false;
  return names.elements.length > 0 && names.elements.every((element) => element.isTypeOnly);
}

/** The folder of src/ that a file belongs to; a file at the top counts as one. */
function part(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.ts$/, '');
}

function isAllowed({ from, to, typesOnly }: Import): boolean {
  if (part(from) === part(to)) return true;
  const target = to.replace(/\.ts$/, '');
  return (allowed[part(from)] ?? []).some((rule) => {
    const [name, types] = rule.split(' ');
    if (types === 'types' && !typesOnly) return false;
    return name === '*' || name === part(to) || name === target;
  });
}

const all = sourceFiles().flatMap((path) =>
  importsOf(path, readFileSync(join(source, path), 'utf8')),
);

describe('the parts of src/', () => {
  it('are all in the table', () => {
    const parts = [...new Set(sourceFiles().map(part))];
    expect(parts.filter((name) => !(name in allowed))).toEqual([]);
  });

  it('import one way only', () => {
    const wrong = all.filter((each) => !isAllowed(each));
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
});

describe('this test', () => {
  const judge = (from: string, text: string) => importsOf(from, text).map(isAllowed);

  it('sees every kind of import', () => {
    expect(judge('engine/a.ts', "import { x } from '../hosts/host.ts';")).toEqual([false]);
    expect(judge('engine/a.ts', "export * from '../hosts/host.ts';")).toEqual([false]);
    expect(judge('engine/a.ts', "const x = await import('../dns/query.ts');")).toEqual([false]);
    expect(judge('engine/a.ts', "import { x } from './b.ts'; import 'node:fs';")).toEqual([true]);
  });

  it('tells types from values', () => {
    expect(judge('dns/a.ts', "import type { X } from '../config/schema.ts';")).toEqual([true]);
    expect(judge('dns/a.ts', "import { type X } from '../config/schema.ts';")).toEqual([true]);
    expect(judge('dns/a.ts', "import { type X, y } from '../config/schema.ts';")).toEqual([false]);
  });

  it('looked at something', () => {
    expect(all.length).toBeGreaterThan(10);
  });
});
