/*
 * Builds dist/ from src/: tsc to build/, ncc to one CommonJS bundle with chunks that are loaded on
 * use, and one small stub for each action. `--check` builds into a temporary folder instead and
 * compares; `--out DIR` builds into DIR.
 *
 * Why ncc's interface and not its command: told of an ES module package, the command makes an ES
 * module bundle, in which ssh2's use of __dirname fails at start.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { minify } from 'terser';
import { stagesWithPost } from '../src/actions/metadata.ts';
import { stageNames } from '../src/actions/stages.ts';
import { licenseTexts } from './licenses.mjs';

const root = join(import.meta.dirname, '..');
const build = join(root, 'build');
const { values: options } = parseArgs({
  options: { check: { type: 'boolean' }, out: { type: 'string' } },
});

if (options.check) await check();
else await buildInto(resolve(options.out ?? join(root, 'dist')));

async function buildInto(dist) {
  rmSync(build, { recursive: true, force: true });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const args = [compiler, '-p', join(root, 'tsconfig.build.json')];
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  // tsc has said what is wrong; a stack of ours would only hide it.
  if (status !== 0) process.exit(1);
  const files = await bundle(join(build, 'actions/entry.js'));
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  for (const [path, content] of [...files, ...stubs()]) {
    const target = join(dist, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}

async function bundle(entry) {
  const ncc = createRequire(import.meta.url)('@vercel/ncc');
  const { code, assets, err, stats } = await ncc(entry, {
    cache: false,
    esm: false,
    externals: unneeded(),
    filename: 'index.cjs',
    minify: true,
    quiet: true,
    sourceMap: false,
    target: 'es2024',
  });
  if (err) throw new Error(err);
  // ncc says so on the console, and goes on.
  if (code.split('\n').length > 10_000)
    throw new Error('the bundle could not be minified: see above');
  const files = new Map([['index.cjs', code]]);
  for (const [path, { source }] of Object.entries(assets)) {
    if (isChunk(path)) files.set(path, await minified(source));
    else if (!isUnwanted(path)) throw new Error(`${path}: decide in scripts/build.mjs what to do`);
  }
  files.set('licenses/licenses.txt', licenseTexts(resourcesOf(stats.compilation)));
  for (const [path, content] of files) {
    if (content.includes(root)) throw new Error(`${path}: holds the path of this checkout`);
  }
  return files;
}

/**
 * @actions/core can ask for OIDC tokens, and loads an HTTP library for it, a quarter of all that is read when an
 * action starts. We ask for none; a module of Node stands in.
 */
function unneeded() {
  const names = ['@actions/http-client', '@actions/http-client/lib/auth'];
  return Object.fromEntries(names.map((name) => [name, 'node:http']));
}

/** ncc leaves chunks as they are. Class names stay, since errors are told apart by them. */
async function minified(source) {
  const options = { format: { comments: false }, keep_classnames: true };
  return (await minify(source.toString(), options)).code;
}

/** Paths of all modules in the bundle and its chunks, those that were joined into one too. */
function resourcesOf(compilation) {
  const modules = [...compilation.modules].flatMap((module) => module.modules ?? [module]);
  return modules.map((module) => module.resource).filter(Boolean);
}

function isChunk(path) {
  return /^\d+\.index\.cjs\.js$/.test(path);
}

/**
 * Files that ncc adds but nothing ever loads: ssh2's helper for PuTTY's agent on Windows, and the
 * worker threads of pino, imapflow's logger, which stays off. A native addon is not among them: it
 * differs from machine to machine, and is not there after "npm ci --ignore-scripts".
 */
function isUnwanted(path) {
  return /(^|\/)pagent\.exe$/.test(path) || /^(file|worker\d*)\.js$/.test(path);
}

/** What action.yml names, and the mark by which Node takes every file here for CommonJS. */
function stubs() {
  const files = [['package.json', '{"type":"commonjs"}\n']];
  for (const stage of stageNames) {
    files.push([`${stage}.cjs`, `require('./index.cjs').run('${stage}');\n`]);
    if (!stagesWithPost.includes(stage)) continue;
    files.push([`${stage}-post.cjs`, `require('./index.cjs').runPost('${stage}');\n`]);
  }
  return files;
}

async function check() {
  const fresh = mkdtempSync(join(tmpdir(), 'mail-cutover-dist-'));
  try {
    await buildInto(fresh);
    const different = differences(fresh, join(root, 'dist'));
    if (different.length === 0) return;
    console.error(`dist is not what src builds: ${different.join(', ')}; run "npm run build"`);
    process.exitCode = 1;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function differences(fresh, committed) {
  const [a, b] = [contents(fresh), contents(committed)];
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((path) => !a.get(path)?.equals(b.get(path) ?? Buffer.alloc(0)))
    .sort();
}

function contents(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return new Map(
    files.map((file) => {
      const path = join(file.parentPath, file.name);
      return [relative(folder, path), readFileSync(path)];
    }),
  );
}
