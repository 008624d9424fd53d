/*
 * What the npm scripts start with, from a fresh clone too. Plain JavaScript without dependencies, for
 * any Node from 20 on: it installs what is missing, finds Node 24, and hands over to it.
 *
 *   node scripts/bootstrap.mjs rehearse | test | stage | bench | property [arguments]
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { installAct } from './act-program.mjs';

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');
const wantedMajor = 24;

/** What each command runs, and whether it needs the lab: real hosts, so Linux and root. */
const commands = {
  rehearse: { script: 'test/rehearsal/rehearse.ts', lab: true },
  bench: { script: 'test/bench/bench.ts', lab: true },
  property: { script: 'test/transfer/property.ts', lab: false },
  torture: { script: 'test/torture/torture.ts', lab: false },
  stage: { script: 'src/driver/stage.ts', lab: false },
  test: { run: test },
};

/** A reason to stop that a person can act on. */
class Refusal extends Error {}

function say(line) {
  process.stderr.write(`${line}\n`);
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** Whether node_modules holds what the lock file says, judged by the list that npm keeps in it. */
function isInstalled() {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages ?? {};
  const present = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!present) return false;
  const missing = Object.entries(wanted).some(([path, { version, optional }]) => {
    if (path === '' || (optional && !present[path])) return false;
    return present[path]?.version !== version;
  });
  return !missing && Object.keys(present).every((path) => path in wanted);
}

function install() {
  if (isInstalled()) return;
  say('installing the packages of package-lock.json (npm ci --ignore-scripts)');
  // The npm that started this, else the one in PATH.
  const npm = process.env.npm_execpath;
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  const [program, words] = npm ? [process.execPath, [npm, ...args]] : ['npm', args];
  const { status } = spawnSync(program, words, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Refusal('npm ci failed: see above; it needs the package registry');
}

/** Path of a Node that runs TypeScript as it is: the one among the packages, else this one. */
function findNode() {
  for (const node of [join(root, 'node_modules/.bin/node'), process.execPath]) {
    const { stdout, status } = spawnSync(node, ['--version'], { encoding: 'utf8' });
    if (status === 0 && Number(/^v(\d+)/.exec(stdout)?.[1]) >= wantedMajor) return node;
  }
  throw new Refusal(
    `Node ${wantedMajor} is needed, and this is ${process.version}; there is no package with it for ${process.platform} ${process.arch}, so install it`,
  );
}

/** The lab needs namespaces and mounts. `instead` says what to do without. */
function prepareLab(node, instead) {
  const isRoot = process.getuid?.() === 0;
  if (process.platform !== 'linux' || !isRoot) {
    const lack = process.platform === 'linux' ? 'root (try sudo)' : 'Linux';
    throw new Refusal(`the lab of real hosts needs ${lack}${instead}`);
  }
  const { status } = spawnSync(node, [join(root, 'scripts/lab-needs.mjs'), '--install'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) throw new Refusal('what the lab needs could not be installed: see above');
}

/** Runs a program to its end, hands signals on, and returns its exit code. */
function run(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: 'inherit' });
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    const handOn = (signal) => child.kill(signal);
    for (const signal of signals) process.on(signal, handOn);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      for (const name of signals) process.off(name, handOn);
      resolve(code ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

/** `rehearse --workflow` needs act. */
async function prepareAct(args) {
  if (!args.some((word) => word.startsWith('--workflow'))) return;
  const lacking = await installAct();
  if (lacking !== undefined) throw new Refusal(lacking);
}

async function runScript({ script, lab }, args) {
  install();
  const node = findNode();
  if (!existsSync(join(root, script))) throw new Refusal(`${script} is not there`);
  const inLab = lab && !args.includes('--help');
  if (inLab) prepareLab(node, '');
  if (inLab) await prepareAct(args);
  return run(node, [...(inLab ? labWords(node, layerOf(args)) : []), script, ...args]);
}

/** Enters the lab; what only some mail systems need is built when it is asked for. */
function labWords(node, layer) {
  return ['test/lab/with-lab.ts', ...(layer ? ['--layer', layer] : []), node];
}

/** What `--new-suite NAME`, else `--system NAME`, needs besides the base; `--system=NAME` too. */
function layerOf(args) {
  const given = (option) => {
    const at = args.indexOf(option);
    if (at >= 0) return args[at + 1];
    return args.find((word) => word.startsWith(`${option}=`))?.slice(option.length + 1);
  };
  return given('--new-suite') ?? given('--system');
}

const notTested =
  'not tested without the lab: real hosts, DNS servers and mail systems, whole migrations, faults';

async function test(args) {
  install();
  const node = findNode();
  const noLab = args.includes('--no-lab');
  const words = args.filter((word) => word !== '--no-lab');
  if (!noLab) prepareLab(node, '; to leave it out: npm test -- --no-lab');
  const results = mkdtempSync(join(tmpdir(), 'mail-cutover-tests-'));
  try {
    const vitest = (projects) => [
      'node_modules/vitest/vitest.mjs',
      'run',
      ...projects.flatMap((project) => ['--project', project]),
      '--passWithNoTests',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${join(results, `${projects[0]}.json`)}`,
      ...words,
    ];
    // Built meanwhile; the tests of the lab wait for it.
    const building = noLab ? undefined : installAct();
    const codes = [await run(node, vitest(['unit', 'built']))];
    const lacking = await building;
    if (!noLab) codes.push(await run(node, [...labWords(node, 'all'), ...vitest(['lab'])]));
    const counts = [count(join(results, 'unit.json'))];
    if (!noLab) counts.push(count(join(results, 'lab.json')));
    if (noLab) console.log(notTested);
    if (lacking !== undefined) console.log(`not tested: the workflows under act; ${lacking}`);
    // On GitHub's runners there is Go: what should be tested there must not go missing quietly.
    if (lacking !== undefined && process.env.GITHUB_ACTIONS === 'true')
      counts.push({ passed: 0, failures: [`the workflows under act: ${lacking}`] });
    return summarize(counts, codes);
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

/** What passed, and what failed, of one run; a file that could not even be loaded is a failed one. */
function count(path) {
  const report = readJson(path);
  if (!report) return { passed: 0, failures: ['the tests ended without a report'] };
  return { passed: report.numPassedTests, failures: report.testResults.flatMap(failuresOf) };
}

/** A line for each failed test of a file: where, what, and how its error begins. */
function failuresOf({ name = '', status, message, assertionResults }) {
  const file = relative(root, name);
  const line = (what, error = '') =>
    [file, what, error.split('\n')[0]].filter((part) => part !== '').join(': ');
  const failed = assertionResults.filter((each) => each.status === 'failed');
  if (failed.length === 0) return status === 'failed' ? [line('does not load', message)] : [];
  return failed.map((each) => line(each.fullName, each.failureMessages[0]));
}

/** What failed by name, last of all: the output above it may be long, or cut. */
function summarize(counts, codes) {
  const passed = counts.reduce((sum, each) => sum + each.passed, 0);
  const failures = counts.flatMap((each, index) =>
    // A run can fail without a failed test, by an error that nothing caught.
    each.failures.length === 0 && codes[index] !== 0
      ? ['an error outside of every test: see above']
      : each.failures,
  );
  for (const failure of failures) console.log(`failed: ${failure}`);
  console.log(`${passed} passed, ${failures.length} failed`);
  return failures.length === 0 && passed > 0 ? 0 : 1;
}

const [name, ...args] = process.argv.slice(2);
try {
  const command = commands[name];
  if (!command) throw new Refusal(`known: ${Object.keys(commands).join(', ')}`);
  process.exitCode = await (command.run ? command.run(args) : runScript(command, args));
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  say(error.message);
  process.exitCode = 1;
}
