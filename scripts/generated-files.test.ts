import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { inputSpecs, inputsOf, outputsOf, stagesWithPost } from '../src/actions/metadata.ts';
import { stageNames } from '../src/actions/stages.ts';
import { migrationSchema } from '../src/config/schema.ts';
import { generatedFiles } from './generated-files.ts';

const root = join(import.meta.dirname, '..');
const files = await generatedFiles(root);

describe('generated files', () => {
  it.each(files)('$path is as "npm run generate" writes it', async ({ path, content }) => {
    expect(await readFile(join(root, path), 'utf8')).toBe(content);
  });

  it('cover every action and its README', () => {
    const paths = files.map((file) => file.path);
    for (const stage of stageNames.filter((name) => name !== 'plan')) {
      expect(paths).toContain(`actions/${stage}/action.yml`);
      expect(paths).toContain(`actions/${stage}/README.md`);
    }
    expect(paths).toContain('action.yml');
  });
});

describe('action.yml', () => {
  it.each(stageNames)('of %s names its inputs, outputs and files', async (stage) => {
    const folder = stage === 'plan' ? root : join(root, 'actions', stage);
    const action = parse(await readFile(join(folder, 'action.yml'), 'utf8'));
    expect(Object.keys(action.inputs)).toEqual(inputsOf(stage).map((input) => input.name));
    expect(Object.keys(action.outputs)).toEqual(outputsOf(stage).map((output) => output.name));
    expect(action.runs.using).toBe('node24');
    expect(join(folder, action.runs.main)).toBe(join(root, 'dist', `${stage}.cjs`));
    expect('post' in action.runs).toBe(stagesWithPost.includes(stage));
    // GitHub's own limits for the marketplace page.
    expect(action.description.length).toBeLessThanOrEqual(200);
  });

  it('inputs are described in whole sentences, in kebab-case', () => {
    for (const { name, description } of inputSpecs) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(description).toMatch(/[.)]$/);
    }
  });
});

describe('migration.schema.json', () => {
  it('knows the same keys as the validator', async () => {
    const schema = JSON.parse(await readFile(join(root, 'migration.schema.json'), 'utf8'));
    expect(Object.keys(schema.properties)).toEqual(Object.keys(migrationSchema.shape));
    expect(schema.additionalProperties).toBe(false);
    expect(schema.required).toEqual(['name', 'mail-system', 'old', 'new', 'domains']);
  });
});
