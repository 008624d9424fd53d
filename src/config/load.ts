import { readFile } from 'node:fs/promises';
import { UserError } from '../errors.ts';
import { crossFaults } from './cross-checks.ts';
import { type Migration, migrationSchema } from './schema.ts';
import { schemaFaults } from './schema-faults.ts';
import { type Fault, type Path, parseSource, type Source } from './source.ts';

/** Reads and validates a migration file. Throws `UserError` naming every fault at once. */
export async function loadMigration(path: string): Promise<Migration> {
  return parseMigration(await readMigrationFile(path), path);
}

async function readMigrationFile(path: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
  } catch (error) {
    throw new UserError(`${path}: ${readFault(error)}`, { cause: error });
  }
}

function readFault(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') {
    return 'there is no migration file; create it (migration.schema.json says what it may hold), check it out before this step, or name another with the input "config"';
  }
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not UTF-8 text';
  if (code === 'EISDIR') return 'is a folder; name the migration file itself';
  return `can't be read (${code ?? String(error)})`;
}

/**
 * Validates the text of a migration file; `fileName` is what messages call it. Throws `UserError`
 * with one line for each fault: `file:line:column: path: what is wrong`.
 */
export function parseMigration(text: string, fileName: string): Migration {
  const source = parseSource(text);
  if (source.faults.length > 0) throw refusal(fileName, source, source.faults);
  if (source.value === null || source.value === undefined) {
    throw new UserError(`${fileName}:1:1: the file is empty; describe a migration in it`);
  }
  const result = migrationSchema.safeParse(source.value);
  const found = result.success ? [] : schemaFaults(result.error.issues, source.value);
  const between = isMapping(source.value) ? crossFaults(source.value) : [];
  const faults = [...found, ...between];
  if (!result.success || faults.length > 0) throw refusal(fileName, source, faults);
  return result.data;
}

function isMapping(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refusal(fileName: string, source: Source, faults: readonly Fault[]): UserError {
  const lines = faults
    .map((fault) => ({ fault, position: source.position(fault) }))
    .sort((a, b) => comparePositions(a.position, b.position))
    .map(({ fault, position }) => `${fileName}:${position}: ${prefix(fault.path)}${fault.message}`);
  return new UserError([...new Set(lines)].join('\n'));
}

function comparePositions(a: string, b: string): number {
  const [lineA = 0, columnA = 0] = a.split(':').map(Number);
  const [lineB = 0, columnB = 0] = b.split(':').map(Number);
  return lineA - lineB || columnA - columnB;
}

function prefix(path: Path): string {
  if (path.length === 0) return '';
  const words = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${oneLine(part)}`));
  return `${words.join('').replace(/^\./, '')}: `;
}

/** A key as people wrote it, unless it would break the line. */
function oneLine(key: string): string {
  return /^[\w-]{1,60}$/.test(key) ? key : JSON.stringify(key.slice(0, 60));
}

/**
 * The migration as one text that depends on nothing but its meaning: defaults filled in, keys
 * sorted, no spaces. It goes into the plan digest.
 */
export function canonicalMigration(migration: Migration): string {
  return JSON.stringify(sorted(migration));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
