/*
 * Writes every file that is made from another one; with --check only says which are not as they
 * should be, and fails then. With `--repository owner/name` every file that names where the suite
 * lives names that place first.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { generatedFiles } from './generated-files.ts';
import { moveTo } from './repository.ts';

const root = join(import.meta.dirname, '..');
const { check: checkOnly, repository } = parseArgs({
  options: { check: { type: 'boolean' }, repository: { type: 'string' } },
}).values;
const stale: string[] = [];

if (repository !== undefined)
  console.log(`${repository} is named in ${moveTo(root, repository).join(', ') || 'all files'}`);

for (const { path, content } of await generatedFiles(root)) {
  const target = join(root, path);
  const current = await readFile(target, 'utf8').catch(() => undefined);
  if (current === content) continue;
  stale.push(path);
  if (checkOnly) continue;
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, content);
}

if (!checkOnly)
  console.log(stale.length === 0 ? 'all as it should be' : `wrote ${stale.join(', ')}`);
else if (stale.length > 0) {
  console.error(`not as generated: ${stale.join(', ')}; run "npm run generate"`);
  process.exitCode = 1;
}
