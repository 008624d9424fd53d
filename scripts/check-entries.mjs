/*
 * Copies dist/ to an empty folder and, from there, runs every action and really loads everything
 * that is loaded on use. A bundle that was built without complaint can still fail at that moment,
 * with "Cannot find module". `node scripts/check-entries.mjs [DIST]`
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const dist = resolve(process.argv[2] ?? join(import.meta.dirname, '../dist'));
const folder = mkdtempSync(join(tmpdir(), 'mail-cutover-entries-'));
const copy = join(folder, 'dist');
const faults = [];

try {
  cpSync(dist, copy, { recursive: true });
  const files = readdirSync(copy);
  const stubs = files.filter((name) => name.endsWith('.cjs') && name !== 'index.cjs');
  for (const stub of stubs) checkStub(stub);
  const count = checkChunks(files);
  console.log(`${stubs.length} entries run, ${count} modules loaded on use`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;

/** An action without inputs says which one is missing; a post step has nothing to do. */
function checkStub(stub) {
  const { status, stdout, stderr } = node([join(copy, stub)]);
  const said = `${stdout}${stderr}`;
  const asked = status === 1 && said.includes('::error::input ssh-key: is missing');
  const silent = status === 0 && said === '';
  if (stub.endsWith('-post.cjs') ? silent : asked) return;
  faults.push(`${stub}: exit code ${status}: ${said.slice(0, 2000)}`);
}

/**
 * `import()` becomes `.then(require.bind(require, MODULE))` in the bundle. All such modules are
 * loaded through the bundle's own loader, which a copy of it gives out.
 */
function checkChunks(files) {
  const chunks = files.map((name) => /^(\d+)\.index\.cjs\.js$/.exec(name)?.[1]).filter(Boolean);
  const texts = ['index.cjs', ...chunks.map((id) => `${id}.index.cjs.js`)].map((name) =>
    readFileSync(join(copy, name), 'utf8'),
  );
  const modules = new Set(
    texts.flatMap((text) =>
      [...text.matchAll(/\.then\(([\w$]+)(?:\.t)?\.bind\(\1,(\d+)/g)].map((found) => found[2]),
    ),
  );
  const end = /module\.exports=[\w$]+\}\)\(\);?\s*$/;
  if (!end.test(texts[0])) throw new Error('the bundle no longer ends as this check expects');
  writeFileSync(
    join(copy, 'open.cjs'),
    texts[0].replace(end, (found) => `globalThis.load=__nccwpck_require__;${found}`),
  );
  const script = `
    require(${JSON.stringify(join(copy, 'open.cjs'))});
    const load = globalThis.load;
    Promise.all(${JSON.stringify(chunks)}.map((id) => load.e(Number(id)))).then(() => {
      for (const id of ${JSON.stringify([...modules])}) load(Number(id));
      process.exit(0);
    }).catch((error) => { console.error(error); process.exit(1); });`;
  const { status, stderr } = node(['-e', script]);
  if (status !== 0) faults.push(`loading chunks: ${stderr.slice(0, 2000)}`);
  return modules.size;
}

function node(args) {
  const env = { PATH: process.env.PATH, HOME: folder };
  return spawnSync(process.execPath, args, { cwd: folder, env, encoding: 'utf8', timeout: 60_000 });
}
