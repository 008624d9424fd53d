import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type RunActionOptions, runAction } from './run-action.ts';

/* A small suite of our own with one action, so that the runner's part alone is looked at. */

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'run-action-'));
});
afterEach(() => rm(root, { recursive: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

async function suite(main: string, post = ''): Promise<void> {
  await put(
    'actions/transfer/action.yml',
    `inputs: { config: { default: c.yml }, sudo-password: {} }
outputs: { state: {}, leak: {} }
runs: { using: node24, main: ../../dist/main.cjs, post: ../../dist/post.cjs }
`,
  );
  await put('dist/main.cjs', `const fs = require('fs');\n${main}`);
  await put('dist/post.cjs', post);
}

function run(options: Partial<RunActionOptions> = {}) {
  return runAction({
    stage: 'transfer',
    inputs: {},
    workspace: root,
    actor: 'ada@desk',
    root,
    ...options,
  });
}

it('hands over inputs, files and who runs it; and collects what comes back', async () => {
  await suite(
    `console.log(process.env.INPUT_CONFIG, process.env['INPUT_SUDO-PASSWORD'], process.cwd());
     console.log(process.env.GITHUB_ACTOR, process.env.MAIL_CUTOVER_DRIVER);
     console.error('::warning::careful');
     fs.appendFileSync(process.env.GITHUB_OUTPUT, 'state<<X\\nfrozen\\nX\\nundeclared=1\\n');
     fs.appendFileSync(process.env.GITHUB_STEP_SUMMARY, '# done\\n');
     fs.accessSync(process.env.RUNNER_TEMP); fs.accessSync(process.env.GITHUB_ENV);
     process.exitCode = 3;`,
  );
  const lines: string[] = [];
  const result = await run({ inputs: { 'sudo-password': 'a b' }, onLine: (l) => lines.push(l) });
  expect(result).toMatchObject({ code: 3, outputs: { state: 'frozen' }, summary: '# done\n' });
  expect(result.log.trimEnd().split('\n').sort()).toEqual(
    [`c.yml a b ${root}`, 'ada@desk laptop', 'warning: careful'].sort(),
  );
  expect(lines.map((line) => `${line}\n`).join('')).toBe(result.log);
});

it('runs the post step with the saved state, also after a failure', async () => {
  await suite(
    `fs.appendFileSync(process.env.GITHUB_STATE, 'lease=7\\n'); process.exit(1);`,
    `console.log('post', process.env.STATE_lease, process.env.INPUT_CONFIG);`,
  );
  const { code, log } = await run();
  expect({ code, log }).toEqual({ code: 1, log: 'post 7 c.yml\n' });
});

it('hands the post step over where it is wanted later, and leaves nothing after it', async () => {
  await suite(
    `fs.appendFileSync(process.env.GITHUB_STATE, 'lease=7\\n'); console.log('main');`,
    `console.log('post', process.env.STATE_lease);`,
  );
  await mkdir(join(root, 'tmp'));
  vi.stubEnv('TMPDIR', join(root, 'tmp'));
  try {
    const lines: string[] = [];
    const posts: (() => Promise<void>)[] = [];
    await run({ onLine: (line) => lines.push(line), postpone: (post) => posts.push(post) });
    expect(lines).toEqual(['main']);
    for (const post of posts) await post();
    expect(lines).toEqual(['main', 'post 7']);
    expect(await readdir(join(root, 'tmp'))).toEqual([]);
  } finally {
    vi.unstubAllEnvs();
  }
});

it("keeps the caller's environment to itself", async () => {
  await suite('console.log(Object.keys(process.env).join());');
  process.env.AWS_SECRET_ACCESS_KEY = 'mine';
  process.env.SSH_AUTH_SOCK = '/mine';
  try {
    const { log } = await run({ env: { PROVIDER_ZONE: 'z' } });
    expect(log).not.toMatch(/AWS|SSH_AUTH|VITEST|NODE_/);
    expect(log).toMatch(/PATH/);
    expect(log).toMatch(/PROVIDER_ZONE/);
  } finally {
    delete process.env.AWS_SECRET_ACCESS_KEY;
    delete process.env.SSH_AUTH_SOCK;
  }
});

it('masks secrets in log and summary, and drops outputs that hold one', async () => {
  await suite(
    `console.log('::add-mask::hunter2'); console.log('it is hunter2');
     fs.appendFileSync(process.env.GITHUB_OUTPUT, 'state=ok\\nleak=hunter2!\\n');
     fs.appendFileSync(process.env.GITHUB_STEP_SUMMARY, 'hunter2');`,
  );
  const result = await run();
  expect(JSON.stringify(result)).not.toContain('hunter2');
  expect(result.outputs).toEqual({ state: 'ok' });
  expect(result.log).toContain('it is ***');
  expect(result.log).toContain('warning: the output leak holds a secret');
});

it('cancels as GitHub does: an interrupt first, then the post step', async () => {
  await suite(
    `process.on('SIGINT', () => { console.log('interrupted'); process.exit(130); });
     console.log('ready'); setInterval(() => {}, 1000);`,
    `console.log('post');`,
  );
  const cancel = new AbortController();
  const onLine = (line: string) => line === 'ready' && cancel.abort();
  const { code, log } = await run({ signal: cancel.signal, onLine });
  expect(code).toBe(130);
  expect(log).toBe('ready\ninterrupted\npost\n');
});

it('a killed action has the code of its signal', async () => {
  await suite(`process.kill(process.pid, 'SIGKILL');`);
  const { code, log } = await run();
  expect(code).toBe(137);
  expect(log).toBe('error: ended by SIGKILL\n');
});

it('leaves nothing in the temporary folder', async () => {
  await suite(`fs.writeFileSync(process.env.RUNNER_TEMP + '/report', '');`);
  await mkdir(join(root, 'tmp'));
  vi.stubEnv('TMPDIR', join(root, 'tmp'));
  try {
    expect((await run()).code).toBe(0);
    expect(await readdir(join(root, 'tmp'))).toEqual([]);
  } finally {
    vi.unstubAllEnvs();
  }
});

it('an input that the action does not have is refused before it runs', async () => {
  await suite(`console.log('ran');`);
  await expect(run({ inputs: { nothing: '1' } })).rejects.toThrow('unknown input "nothing"');
});
