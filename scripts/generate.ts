/*
 * Writes every file that is made from another one; with --check only says which are not as they
 * should be, and fails then.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { generatedFiles } from './generated-files.ts';

const root = join(import.meta.dirname, '..');
const checkOnly = process.argv.includes('--check');
const stale: string[] = [];

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
