import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** `owner/name` of the repository that the suite lives in: package.json's `repository`. */
export function repositoryOf(root: string): string {
  const { repository } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    repository: string;
  };
  return repository.replace(/^github:/, '');
}

/** Workflows, and documents with examples of them: what people copy, from the top of the repository. */
export function filesThatPeopleCopy(root: string): readonly string[] {
  const below = (folder: string, ending: RegExp) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => ending.test(name))
      .map((name) => join(folder, name));
  return [
    ...below('.github', /\.ya?ml$/),
    ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md'],
    ...below('docs', /\.(md|yml)$/),
    ...below('actions', /\.md$/),
  ].sort();
}

/** Writes another repository wherever the present one is named. Returns the files that it changed. */
export function moveTo(root: string, repository: string): readonly string[] {
  if (!/^[A-Za-z0-9][A-Za-z0-9-]*\/[\w.-]+$/.test(repository))
    throw new Error(`${repository} is not of the form owner/name`);
  const former = repositoryOf(root);
  // Not within a longer name: what follows is a path, a version, or no part of a name.
  const named = new RegExp(`(?<![\\w.-])${former.replaceAll('.', '\\.')}(?![\\w-])`, 'g');
  return ['package.json', ...filesThatPeopleCopy(root)].filter((name) => {
    const path = join(root, name);
    const text = readFileSync(path, 'utf8');
    const moved = text.replace(named, repository);
    if (moved === text) return false;
    writeFileSync(path, moved);
    return true;
  });
}
