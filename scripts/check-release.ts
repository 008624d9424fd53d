import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/*
 *   node scripts/check-release.ts v1.2.3 owner/name
 *
 * Refuses a release whose files name another version or another place than the one it will have. A
 * pinned migrate.yml that called its sibling actions by another tag would run other code than was
 * reviewed.
 */

/** Everything that is wrong, one line each; empty when the release may be made. */
export function releaseFaults(root: string, tag: string, repository: string): readonly string[] {
  if (!/^v\d+\.\d+\.\d+$/.test(tag))
    return [`${tag} is not a version such as v1.2.3; a floating tag is never released`];
  const wanted = tag.slice(1);
  const packages = ['package.json', 'package-lock.json'].flatMap((name) => {
    const { version } = JSON.parse(readFileSync(join(root, name), 'utf8')) as { version: string };
    return version === wanted ? [] : [`${name}: version is ${version}, the tag says ${wanted}`];
  });
  return [
    ...packages,
    ...filesThatPeopleCopy(root).flatMap((path) => faultsIn(root, path, tag, repository)),
  ];
}

/** A reference to the suite: its owner, what of it, and the version. */
const reference = /([\w.-]+)\/mail-cutover((?:\/[\w./-]+)?)@(v?[\w.-]+)/g;

function faultsIn(root: string, path: string, tag: string, repository: string): readonly string[] {
  const lines = readFileSync(join(root, path), 'utf8').split('\n');
  return lines.flatMap((line, index) =>
    [...line.matchAll(reference)].flatMap(([, owner = '', , version = '']) => {
      const at = `${path}:${index + 1}`;
      const place = `${owner}/mail-cutover`;
      return [
        ...(place === repository ? [] : [`${at}: names ${place}; the release is of ${repository}`]),
        ...(version === tag ? [] : [`${at}: names ${version}; the release is ${tag}`]),
      ];
    }),
  );
}

/** Workflows, and documents with examples of them. */
function filesThatPeopleCopy(root: string): readonly string[] {
  const below = (folder: string, ending: RegExp) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => ending.test(name))
      .map((name) => join(folder, name));
  return [
    ...below('.github/workflows', /\.yml$/),
    'README.md',
    ...below('docs', /\.md$/),
    ...below('actions', /\.md$/),
  ].sort();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [tag = '', repository = ''] = process.argv.slice(2);
  const faults = releaseFaults(resolve(import.meta.dirname, '..'), tag, repository);
  for (const fault of faults) console.error(fault);
  console.log(faults.length === 0 ? `${tag} may be released` : `${tag} may not be released`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
