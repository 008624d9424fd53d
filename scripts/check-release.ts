import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { filesThatPeopleCopy, repositoryOf } from './repository.ts';

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
  const lives = repositoryOf(root);
  if (lives !== repository)
    return [
      `package.json: the suite lives in ${lives}, the release is of ${repository}; run \`npm run generate -- --repository ${repository}\`, build, and commit`,
    ];
  return [
    ...packages,
    ...filesThatPeopleCopy(root).flatMap((path) => faultsIn(root, path, tag, repository)),
  ];
}

function faultsIn(root: string, path: string, tag: string, repository: string): readonly string[] {
  // A reference to the suite: its owner, what of it, and the version.
  const [, name = ''] = repositoryOf(root).split('/');
  const reference = new RegExp(
    `([\\w.-]+/${name.replaceAll('.', '\\.')})(?:/[\\w./-]+)?@(v?[\\w.-]+)`,
    'g',
  );
  const lines = readFileSync(join(root, path), 'utf8').split('\n');
  return lines.flatMap((line, index) =>
    [...line.matchAll(reference)].flatMap(([, place = '', version = '']) => {
      const at = `${path}:${index + 1}`;
      return [
        ...(place === repository ? [] : [`${at}: names ${place}; the release is of ${repository}`]),
        ...(version === tag ? [] : [`${at}: names ${version}; the release is ${tag}`]),
      ];
    }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [tag = '', repository = ''] = process.argv.slice(2);
  const faults = releaseFaults(resolve(import.meta.dirname, '..'), tag, repository);
  for (const fault of faults) console.error(fault);
  console.log(faults.length === 0 ? `${tag} may be released` : `${tag} may not be released`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
