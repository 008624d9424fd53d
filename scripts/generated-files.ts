import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import {
  actionFolder,
  actionTexts,
  type InputSpec,
  inputsOf,
  outputsOf,
  stagesWithPost,
} from '../src/actions/metadata.ts';
import { type StageName, stageNames } from '../src/actions/stages.ts';
import { migrationJsonSchema } from '../src/config/json-schema.ts';
import { repositoryOf } from './repository.ts';
import { type Suite, workflowFiles } from './workflows.ts';

/** A file as `npm run generate` would write it. */
export interface GeneratedFile {
  /** From the top of the repository. */
  readonly path: string;
  readonly content: string;
}

const note = 'Written by `npm run generate` from src/actions/metadata.ts.';
const markers = { begin: `<!-- begin: ${note} -->`, end: '<!-- end -->' };

/** Every file that is made from another one, with what it should hold. `root` is the repository. */
export async function generatedFiles(root: string): Promise<readonly GeneratedFile[]> {
  const suite = { repository: repositoryOf(root), version: await packageVersion(root) };
  const files: GeneratedFile[] = [
    { path: 'migration.schema.json', content: json(migrationJsonSchema()) },
    await versionFile(root),
    ...workflowFiles(suite),
  ];
  const shown = 'docs/workflows.md';
  const text = await readFile(join(root, shown), 'utf8').catch(() => undefined);
  if (text !== undefined) files.push({ path: shown, content: withVersion(text, suite) });
  for (const stage of stageNames) {
    files.push({ path: join(actionFolder(stage), 'action.yml'), content: actionYml(stage) });
    const readme = await readmeWithTables(root, stage);
    if (readme) files.push({ ...readme, content: withVersion(readme.content, suite) });
  }
  return files;
}

/** Examples name the version that they are part of: copied later, they still fit their actions. */
function withVersion(readme: string, { repository, version }: Suite): string {
  const before = `(?<=\\b${repository.replaceAll('.', '\\.')}(?:/[\\w./-]+)?@)`;
  return readme.replace(new RegExp(`${before}v[\\w.-]+`, 'g'), `v${version}`);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

async function packageVersion(root: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  return version;
}

async function versionFile(root: string): Promise<GeneratedFile> {
  const version = await packageVersion(root);
  const doc = 'Version of the suite, as package.json says it; written by `npm run generate`.';
  return {
    path: 'src/actions/version.ts',
    content: `/** ${doc} */\nexport const version = '${version}';\n`,
  };
}

function actionYml(stage: StageName): string {
  const dist = stage === 'plan' ? 'dist' : '../../dist';
  const action = {
    name: stage === 'plan' ? 'mail-cutover' : `mail-cutover ${stage}`,
    description: actionTexts[stage],
    author: 'mail-cutover contributors',
    branding: { icon: 'mail', color: 'blue' },
    inputs: Object.fromEntries(inputsOf(stage).map((input) => [input.name, inputEntry(input)])),
    outputs: Object.fromEntries(
      outputsOf(stage).map(({ name, description }) => [name, { description }]),
    ),
    runs: {
      using: 'node24',
      main: `${dist}/${stage}.cjs`,
      ...(stagesWithPost.includes(stage) ? { post: `${dist}/${stage}-post.cjs` } : {}),
    },
  };
  return `# ${note}\n${stringify(action, { lineWidth: 100 })}`;
}

function inputEntry(input: InputSpec): Record<string, unknown> {
  const fallback = input.default === undefined ? {} : { default: input.default };
  return { description: input.description, required: false, ...fallback };
}

/**
 * The README of an action with fresh tables between its markers. The text around them is written
 * by hand; the repository's own README need not have tables.
 */
async function readmeWithTables(
  root: string,
  stage: StageName,
): Promise<GeneratedFile | undefined> {
  const path = join(actionFolder(stage), 'README.md');
  const text = await readFile(join(root, path), 'utf8').catch(() => undefined);
  const begin = text?.indexOf(markers.begin) ?? -1;
  const end = text?.indexOf(markers.end, begin) ?? -1;
  if (text === undefined || begin < 0 || end < 0) {
    if (stage === 'plan') return undefined;
    throw new Error(`${path}: the markers "${markers.begin}" and "${markers.end}" are missing`);
  }
  const before = text.slice(0, begin + markers.begin.length);
  return { path, content: `${before}\n${tables(stage)}\n${text.slice(end)}` };
}

function tables(stage: StageName): string {
  const inputs = inputsOf(stage).map((input) => [
    `\`${input.name}\``,
    input.description,
    input.default ? `\`${input.default}\`` : '',
  ]);
  const outputs = outputsOf(stage).map(({ name, description }) => [`\`${name}\``, description]);
  return [
    '### Inputs',
    table(['input', 'what it is', 'default'], inputs),
    '### Outputs',
    table(['output', 'what it is'], outputs),
  ].join('\n\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
