import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { repositoryOf } from './repository.ts';
import { positions } from './workflows.ts';

const root = join(import.meta.dirname, '..');
const folder = join(root, '.github/workflows');
const repository = repositoryOf(root);

interface Step {
  readonly id?: string;
  readonly if?: string;
  readonly uses?: string;
  readonly with?: Record<string, string>;
}
interface Job {
  readonly if?: string;
  readonly needs?: string | readonly string[];
  readonly environment?: string;
  readonly permissions?: Record<string, string>;
  readonly 'timeout-minutes'?: number;
  readonly outputs?: Record<string, string>;
  readonly strategy?: { readonly matrix: { readonly shard: string } };
  readonly steps: readonly Step[];
}
interface Workflow {
  readonly on: {
    workflow_call?: { inputs: object; secrets: Record<string, { required: boolean }> };
  };
  readonly permissions?: object;
  readonly concurrency?: Record<string, unknown>;
  readonly jobs: Record<string, Job>;
}

const load = (name: string) => parse(readFileSync(join(folder, name), 'utf8')) as Workflow;
const migrate = load('migrate.yml');
const ours = ['migrate.yml', 'live-passes.yml', 'rollback.yml'];

/** Evaluates the conditions of migrate.yml, which use few functions. */
function holds(
  condition: string,
  inputs: Record<string, unknown>,
  results: readonly string[],
): boolean {
  const source = condition
    .replace(/^\$\{\{ | \}\}$/g, '')
    .replaceAll('needs.*.result', 'results')
    .replaceAll('inputs.dry-run', "inputs['dry-run']");
  const run = new Function(
    'inputs',
    'results',
    'contains',
    'fromJSON',
    'cancelled',
    `return ${source}`,
  );
  const contains = (list: readonly string[], word: string) => list.includes(word);
  return Boolean(run(inputs, results, contains, JSON.parse, () => false));
}

/** Names of the stages that a dispatch would run, in their order; the swift job is one word a step. */
function stagesOf(inputs: Record<string, unknown>): string[] {
  return Object.entries(migrate.jobs).flatMap(([name, job]) => {
    if (!holds(job.if ?? 'true', inputs, [])) return [];
    if (name !== 'cutover') return [name];
    return job.steps.flatMap((step) =>
      step.id && holds(step.if ?? 'true', inputs, []) ? [`cutover/${step.id}`] : [],
    );
  });
}

const whole = { from: 'plan', until: 'finish', form: 'gated', 'dry-run': false };

describe('what a dispatch runs', () => {
  it('is every stage, in the order of the stages', () => {
    expect(stagesOf(whole)).toEqual(positions.map(({ name }) => name));
  });

  it('is what lies between from and until', () => {
    expect(stagesOf({ ...whole, from: 'freeze', until: 'activate' })).toEqual([
      'freeze',
      'transfer-final',
      'activate',
    ]);
    expect(stagesOf({ ...whole, from: 'drain', until: 'prepare' })).toEqual([]);
  });

  it('has one gate in the swift form, from any of its stages on', () => {
    expect(stagesOf({ ...whole, form: 'swift', from: 'transfer-live' })).toEqual([
      'transfer-live',
      'cutover/freeze',
      'cutover/transfer-final',
      'cutover/activate',
      'cutover/dns-cutover',
      'verify',
      'drain',
      'finish',
    ]);
    expect(stagesOf({ ...whole, form: 'swift', from: 'activate', until: 'activate' })).toEqual([
      'cutover/activate',
    ]);
  });

  it('is one job without a gate in a dry run', () => {
    expect(stagesOf({ ...whole, 'dry-run': true })).toEqual(['dry-run']);
    expect(migrate.jobs['dry-run']?.environment).toBeUndefined();
    for (const step of migrate.jobs['dry-run']?.steps ?? []) {
      if (step.id && step.id !== 'plan') expect(step.with?.['dry-run']).toBe('true');
    }
  });

  it.each([
    ['success', ['1/3', '2/3', '3/3']],
    ['skipped', ['1/1']],
  ])('does a live pass in parts as plan says: %s', (result, parts) => {
    for (const name of ['migrate.yml', 'live-passes.yml']) {
      const { strategy, steps, needs } = load(name).jobs['transfer-live'] ?? {};
      expect(needs).toContain('plan');
      expect(strategy).toMatchObject({ 'fail-fast': false, 'max-parallel': 1 });
      const list = strategy?.matrix.shard.replace(/^\$\{\{ | \}\}$/g, '') ?? '';
      const run = new Function('fromJSON', 'needs', `return ${list}`);
      const plan = { result, outputs: { shards: '["1/3","2/3","3/3"]' } };
      expect(run(JSON.parse, { plan })).toEqual(parts);
      // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of GitHub's, not ours
      expect(steps?.find(({ id }) => id === 'stage')?.with?.shard).toBe('${{ matrix.shard }}');
      const others = Object.entries(load(name).jobs).filter(([job]) => job !== 'transfer-live');
      expect(JSON.stringify(others)).not.toContain('matrix.shard');
    }
  });

  it('keeps no two artifacts of one name', () => {
    const names = Object.values(migrate.jobs).flatMap(({ steps }) =>
      steps.flatMap(({ uses, with: inputs }) =>
        uses?.startsWith('actions/upload-artifact@') ? [inputs?.name] : [],
      ),
    );
    expect(names.length).toBeGreaterThan(8);
    expect(new Set(names).size).toBe(names.length);
  });

  it('ends at a stage that failed, was cancelled or was refused by a reviewer', () => {
    const { if: condition = '', needs = [] } = migrate.jobs.activate ?? {};
    expect(needs).toEqual(['plan', 'prepare', 'transfer-live', 'freeze', 'transfer-final']);
    expect(holds(condition, whole, ['success', 'skipped'])).toBe(true);
    expect(holds(condition, whole, ['success', 'failure'])).toBe(false);
    expect(holds(condition, whole, ['success', 'cancelled'])).toBe(false);
  });
});

describe.each(ours)('%s', (name) => {
  const workflow = load(name);
  const jobs = Object.entries(workflow.jobs);

  it('gives no job a right that it does not need, and every job an end', () => {
    expect(workflow.permissions).toEqual({});
    for (const [, job] of jobs) {
      expect(job.permissions).toEqual({ contents: 'read', actions: 'read', deployments: 'read' });
      expect(job['timeout-minutes']).toBeLessThanOrEqual(360);
    }
  });

  it('has an environment of its own for each job that changes anything', () => {
    const changing = jobs.filter(([job]) => job !== 'plan' && job !== 'dry-run');
    const names = changing.map(([, job]) => job.environment);
    expect(new Set(names).size).toBe(changing.length);
    for (const environment of names)
      expect(environment).toMatch(/^\$\{\{ inputs\.environment-prefix \}\}-/);
    for (const [, job] of changing) {
      for (const step of job.steps) {
        if (step.with?.environment) expect(step.with.environment).toBe(job.environment);
      }
    }
  });

  it('asks for secrets by name, none required, and hands each on', () => {
    const { secrets = {} } = workflow.on.workflow_call ?? {};
    expect(Object.values(secrets).every(({ required }) => !required)).toBe(true);
    const text = readFileSync(join(folder, name), 'utf8');
    const used = new Set([...text.matchAll(/secrets\.(\w+)/g)].map((match) => match[1]));
    expect([...used].sort()).toEqual(Object.keys(secrets).sort());
  });

  it('takes the suite at one version, and everything else by full SHA', () => {
    const all = jobs.flatMap(([, job]) => job.steps.flatMap((step) => step.uses ?? []));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const uses of all) {
      if (uses.startsWith(repository)) expect(uses).toMatch(new RegExp(`@v${version}$`));
      else expect(uses).toMatch(/@[0-9a-f]{40}$/);
    }
  });
});

describe.each(readdirSync(folder))('of the workflows, %s', (name) => {
  const { permissions, concurrency, jobs } = load(name);

  it('has no rights but those of its jobs, and each job ends', () => {
    expect(permissions).toEqual({});
    expect(concurrency).toHaveProperty('group');
    for (const job of Object.values(jobs)) {
      expect(Object.keys(job.permissions ?? {})).not.toHaveLength(0);
      expect(job['timeout-minutes']).toBeLessThanOrEqual(360);
    }
  });

  it('takes other actions by full SHA, and says which version that is', () => {
    const lines = readFileSync(join(folder, name), 'utf8').split('\n');
    for (const line of lines.filter((each) => /^\s*(- )?uses:/.test(each)))
      if (!line.includes(` ${repository}`))
        expect(line).toMatch(/uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });
});

it('one action is taken at one version everywhere', () => {
  const pins = new Map<string, Set<string>>();
  for (const name of readdirSync(folder))
    for (const [, action = '', pin = ''] of readFileSync(join(folder, name), 'utf8').matchAll(
      /uses: ([\w-]+\/[\w-]+)[\w/-]*@([0-9a-f]{40})/g,
    ))
      pins.set(action, (pins.get(action) ?? new Set()).add(pin));
  expect([...pins].filter(([, found]) => found.size > 1)).toEqual([]);
});

it('only who publishes, signs or reports may write', () => {
  const writing = readdirSync(folder).flatMap((name) =>
    Object.entries(load(name).jobs).flatMap(([job, { permissions = {} }]) =>
      Object.entries(permissions)
        .filter(([, right]) => right === 'write')
        .map(([what]) => `${name} ${job}: ${what}`),
    ),
  );
  expect(writing.sort()).toEqual([
    'attest.yml attest: attestations',
    'attest.yml attest: id-token',
    'codeql.yml analyze: security-events',
    'release.yml draft: contents',
    'release.yml publish: contents',
    'scorecard.yml scorecard: id-token',
    'scorecard.yml scorecard: security-events',
  ]);
});

it('a release is published behind a gate', () => {
  expect(load('release.yml').jobs.publish).toMatchObject({
    needs: 'draft',
    environment: 'release',
  });
});

it('a run that waits is never dropped by a newer one', () => {
  for (const name of ['migrate.yml', 'rollback.yml'])
    expect(load(name).concurrency).toMatchObject({ queue: 'max', 'cancel-in-progress': false });
});

describe('the callers that the documents show', () => {
  const text = ['README.md', 'docs/workflows.md']
    .map((name) => readFileSync(join(root, name), 'utf8'))
    .join('\n');
  const callers = [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)]
    .map((block) => parse(block[1] ?? '') as { jobs?: Record<string, Record<string, unknown>> })
    .flatMap(({ jobs = {} }) => Object.values(jobs))
    .filter((job) => typeof job.uses === 'string');

  it('are there', () => {
    expect(callers.map(({ uses }) => /([\w-]+)\.yml/.exec(String(uses))?.[1]).sort()).toEqual([
      'attest',
      'live-passes',
      'migrate',
      'migrate',
      'rollback',
    ]);
  });

  it.each(callers)(
    '$uses grants what the called jobs ask for, no more',
    ({ uses, permissions }) => {
      const [, name = ''] = /workflows\/([\w-]+\.yml)@v/.exec(String(uses)) ?? [];
      const asked = Object.assign(
        {},
        ...Object.values(load(name).jobs).map((job) => job.permissions),
      );
      expect(permissions).toEqual(asked);
    },
  );

  it.each(callers)('$uses gives inputs and secrets that are declared', (job) => {
    const [, name = ''] = /workflows\/([\w-]+\.yml)@v/.exec(String(job.uses)) ?? [];
    const declared = load(name).on.workflow_call;
    for (const input of Object.keys(job.with ?? {}))
      expect(Object.keys(declared?.inputs ?? {})).toContain(input);
    for (const secret of Object.keys(job.secrets ?? {}))
      expect(Object.keys(declared?.secrets ?? {})).toContain(secret);
  });
});

/** Where `go install` and the package managers put programs. */
function found(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), join(homedir(), 'go/bin')];
  return folders.map((path) => join(path, program)).find((path) => existsSync(path));
}

const actionlint = found('actionlint');
it.skipIf(actionlint === undefined)('actionlint has nothing to say', () => {
  const files = readdirSync(folder).map((name) => join('.github/workflows', name));
  const { stdout, status } = spawnSync(actionlint ?? '', files, { cwd: root, encoding: 'utf8' });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});

const zizmor = found('zizmor');
it.skipIf(zizmor === undefined)('zizmor has nothing to say', () => {
  const { stdout, status } = spawnSync(zizmor ?? '', ['--offline', '--quiet', '.'], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(`${status} ${stdout}`).toMatch(/^0 /);
});
