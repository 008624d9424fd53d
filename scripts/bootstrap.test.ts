import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

/* A project of its own, whose vitest is a stand-in that reports what a test wants it to. */

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'bootstrap-'));
  chmodSync(root, 0o755);
  for (const path of ['scripts', 'node_modules/vitest']) {
    mkdirSync(join(root, path), { recursive: true });
  }
  for (const name of ['bootstrap.mjs', 'act-program.mjs'])
    cpSync(join(import.meta.dirname, name), join(root, 'scripts', name));
  put('package-lock.json', '{"packages":{"":{},"node_modules/a":{"version":"1.0.0"}}}');
  put('node_modules/.package-lock.json', '{"packages":{"node_modules/a":{"version":"1.0.0"}}}');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(path: string, text: string): void {
  writeFileSync(join(root, path), text);
}

function bootstrap(args: readonly string[], as: { uid?: number } = {}) {
  const script = join(root, 'scripts/bootstrap.mjs');
  // An npm of ours, so that no test ever installs anything.
  const env = { PATH: process.env.PATH, npm_execpath: join(root, 'npm.mjs') };
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', env, ...as });
}

interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly object[];
  }[];
}

function vitestReports(report: Report | undefined, code = 0): void {
  const write = `import { writeFileSync } from 'node:fs';
    const out = process.argv.find((word) => word.startsWith('--outputFile.json='));
    writeFileSync(out.split('=')[1], ${JSON.stringify(JSON.stringify(report))});`;
  put('node_modules/vitest/vitest.mjs', `${report ? write : ''}\nprocess.exitCode = ${code};`);
}

const noLab = ['test', '--no-lab'];

function lastLine(stdout: string): string | undefined {
  return stdout.trimEnd().split('\n').at(-1);
}

it('ends with the sum of what passed and failed', () => {
  vitestReports({ numPassedTests: 7, testResults: [] });
  const { stdout, status } = bootstrap(noLab);
  expect(stdout).toContain('not tested without the lab: ');
  expect([lastLine(stdout), status]).toEqual(['7 passed, 0 failed', 0]);
});

const passes = { status: 'passed', fullName: 'one thing', failureMessages: [] };
const fails = {
  status: 'failed',
  fullName: 'another thing',
  failureMessages: ['AssertionError: 1 is not 2\n    at a.ts:1:1'],
};

function file(status: string, message: string, assertionResults: readonly object[]) {
  return { name: join(root, 'src/a.test.ts'), status, message, assertionResults };
}

it.each([
  [
    'a failed test',
    () => [file('failed', '', [passes, fails])],
    1,
    'failed: src/a.test.ts: another thing: AssertionError: 1 is not 2',
  ],
  [
    'a file that does not load',
    () => [file('failed', 'Error: no such module\n    at b.ts', [])],
    1,
    'failed: src/a.test.ts: does not load: Error: no such module',
  ],
  [
    'an error that no test caught',
    () => [],
    1,
    'failed: an error outside of every test: see above',
  ],
])('fails with %s, and names it', (_, testResults, code, line) => {
  vitestReports({ numPassedTests: 7, testResults: testResults() }, code);
  const { stdout, status } = bootstrap(noLab);
  expect([stdout.trimEnd().split('\n').slice(-2), status]).toEqual([
    [line, '7 passed, 1 failed'],
    1,
  ]);
});

it('fails without a report', () => {
  vitestReports(undefined, 1);
  const { stdout, status } = bootstrap(noLab);
  expect([lastLine(stdout), status]).toEqual(['0 passed, 1 failed', 1]);
});

it('fails where nothing ran', () => {
  vitestReports({ numPassedTests: 0, testResults: [] });
  const { stdout, status } = bootstrap(noLab);
  expect([lastLine(stdout), status]).toEqual(['0 passed, 0 failed', 1]);
});

it.runIf(process.getuid?.() === 0)(
  'without root it refuses in one line, and says what else',
  () => {
    const { stdout, stderr, status } = bootstrap(['test'], { uid: 65534 });
    expect(stdout).toBe('');
    expect(stderr).toBe(
      'the lab of real hosts needs root (try sudo); to leave it out: npm test -- --no-lab\n',
    );
    expect(status).toBe(1);
  },
);

it('installs when the lock file asks for another version, and only then', () => {
  vitestReports({ numPassedTests: 1, testResults: [] });
  put('npm.mjs', "console.log('npm', process.argv.slice(2).join(' ')); process.exitCode = 3;");
  expect(bootstrap(noLab).stderr).toBe('');
  put('package-lock.json', '{"packages":{"":{},"node_modules/a":{"version":"1.0.1"}}}');
  const { stderr, status } = bootstrap(noLab);
  expect(stderr).toContain('npm ci --ignore-scripts');
  expect(stderr).toContain('npm ci failed');
  expect(status).toBe(1);
});

it('does not miss an optional package of another platform', () => {
  vitestReports({ numPassedTests: 1, testResults: [] });
  put(
    'package-lock.json',
    '{"packages":{"":{},"node_modules/a":{"version":"1.0.0"},"node_modules/mac":{"version":"1.0.0","optional":true}}}',
  );
  expect(bootstrap(noLab)).toMatchObject({ stderr: '', status: 0 });
});

it('refuses a command it does not know', () => {
  const { stderr, status } = bootstrap(['migrate']);
  expect([stderr, status]).toEqual(['known: rehearse, bench, property, torture, stage, test\n', 1]);
});
