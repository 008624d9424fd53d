import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The licences of every package that has code in the bundle or in one of its chunks, as one text.
 * ncc's own list is overwritten by each further chunk, so it names only those of the last.
 * `resources` are the paths of all modules.
 */
export function licenseTexts(resources) {
  const folders = resources.map((path) => packageFolder.exec(path)?.[1]).filter(Boolean);
  const sections = [...new Set(folders)].map(section);
  return [...new Set(sections)].sort().join('\n');
}

/** The innermost package that a file belongs to. */
const packageFolder = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;

function section(folder) {
  const { name, version, license, licenses } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  );
  const texts = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(licen[cs]e|notice)/i.test(entry.name))
    .map((entry) => entry.name)
    .sort()
    .map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim());
  return `== ${name} ${version}: ${license ?? licenses?.[0]?.type}\n\n${texts.join('\n\n')}\n`;
}
