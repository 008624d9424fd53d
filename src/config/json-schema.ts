import { z } from 'zod';
import { migrationSchema } from './schema.ts';
import type { Path } from './source.ts';

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
}

/** JSON Schema (draft 2020-12) of the migration file, for editors; `migration.schema.json` is it. */
export function migrationJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(migrationSchema, { io: 'input' });
  return { $schema, title: 'mail-cutover migration', ...rest };
}

/** Keys that the file may have in the mapping at `path`. */
export function knownKeys(path: Path): readonly string[] {
  let node: SchemaNode | undefined = migrationJsonSchema() as SchemaNode;
  for (const part of path) {
    node = typeof part === 'number' ? node?.items : node?.properties?.[part];
  }
  return Object.keys(node?.properties ?? {});
}
