import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stageNames } from '../../src/actions/stages.ts';
import { version } from '../../src/actions/version.ts';
import { runAction } from '../../src/driver/run-action.ts';
import { writeBundle } from '../../src/report/bundle.ts';
import { exampleJournal } from '../audit/example-journal.ts';

/* The built actions, as a runner starts them. */

const root = join(import.meta.dirname, '../..');
const key = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
}).privateKey;

let workspace: string;
beforeAll(() => {
  workspace = mkdtempSync(join(tmpdir(), 'action-'));
});
afterAll(() => rmSync(workspace, { recursive: true }));

/** Says on file descriptor 3, at the first line, which files were loaded by then. */
const witness = `
const write = process.stdout.write;
process.stdout.write = function (...words) {
  require('node:fs').writeSync(3, Object.keys(require.cache).join('\\n'));
  process.stdout.write = write;
  return write.apply(this, words);
};`;

/** The first line of an action, and what was loaded before it. */
async function firstLine(stage: string): Promise<{ line: string; loaded: readonly string[] }> {
  const preload = join(workspace, 'witness.cjs');
  writeFileSync(preload, witness);
  const program = join(root, 'dist', `${stage}.cjs`);
  const child = spawn(process.execPath, ['--require', preload, program], {
    env: { PATH: process.env.PATH },
    cwd: workspace,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const [said, loaded] = await Promise.all(
    [child.stdout, child.stdio[3]].map((stream) => text(stream as Readable)),
  );
  return {
    line: said?.split('\n')[0] ?? '',
    loaded: (loaded ?? '').split('\n').filter((path) => path !== preload),
  };
}

describe('the first line', () => {
  it.each(stageNames)('of %s comes before what only its work needs is loaded', async (stage) => {
    const { line, loaded } = await firstLine(stage);
    expect(line).toBe(`mail-cutover ${version}: ${stage}`);
    expect(loaded.map((path) => relative(join(root, 'dist'), path))).toEqual([
      `${stage}.cjs`,
      'index.cjs',
    ]);
  });
});

describe('bad input is one clear line, without a stack', () => {
  const run = (inputs: Record<string, string>) =>
    runAction({ stage: 'plan', inputs, workspace, actor: 'ada@desk' });

  async function errorsOf(inputs: Record<string, string>): Promise<string[]> {
    const { code, log, outputs } = await run(inputs);
    expect(code).toBe(1);
    expect(outputs).toEqual({});
    expect(log).not.toContain('    at ');
    return log.split('\n').filter((line) => line.startsWith('error: '));
  }

  it('no key', async () => {
    expect(await errorsOf({})).toEqual([
      'error: input ssh-key: is missing; give ssh-key, or old-ssh-key and new-ssh-key',
    ]);
  });

  it('no migration file', async () => {
    const errors = await errorsOf({ 'ssh-key': key });
    expect(errors).toEqual([
      expect.stringContaining(
        'error: .github/mail-cutover.yml: there is no migration file; create it',
      ),
    ]);
  });

  it('a malformed one: each fault is a line', async () => {
    writeFileSync(
      join(workspace, 'm.yml'),
      'name: a\nmail-system: exim\nold: {}\npassword: hunter2\n',
    );
    const errors = await errorsOf({ 'ssh-key': key, config: 'm.yml' });
    expect(errors[0]).toBe(
      'error: m.yml:1:1: new: is missing; it must be a mapping of keys to values',
    );
    expect(errors.join('\n')).toContain('mail-system: "exim" is not one of: postfix-dovecot');
    expect(errors.join('\n')).toContain('password: secrets are inputs');
    expect(errors.join('\n')).not.toContain('hunter2');
  });
});

describe('verify with a bundle', () => {
  const verify = (bundle: string) =>
    runAction({ stage: 'verify', inputs: { bundle }, workspace, actor: 'ada@desk' });

  it('needs neither hosts nor keys', async () => {
    const folder = join(workspace, 'bundle');
    const lines = exampleJournal();
    await writeBundle(folder, {
      migration: 'orchard',
      lines,
      report: '',
      summary: '',
      versions: {},
    });
    const good = await verify(folder);
    expect(good).toMatchObject({ code: 0, outputs: { state: 'active', changed: 'false' } });
    expect(good.log).toContain('the bundle is whole: orchard is active');
    writeFileSync(join(folder, 'journal.jsonl'), lines.slice(1).join('\n'));
    const bad = await verify(folder);
    expect(bad.code).toBe(1);
    expect(bad.log).toContain(
      'error: journal.jsonl: line 1 of the journal was changed or is missing',
    );
  });
});

describe('the driver', () => {
  it('runs a stage from the command line, keeps its log, and ends with its code', async () => {
    writeFileSync(join(workspace, 'key'), key);
    const child = spawn(
      process.execPath,
      [
        join(root, 'src/driver/stage.ts'),
        'verify',
        '--config',
        'none.yml',
        '--ssh-key-file',
        'key',
        '--out',
        'out',
      ],
      { env: { PATH: process.env.PATH, INIT_CWD: workspace }, cwd: root },
    );
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(1);
    expect(said).toContain(`mail-cutover ${version}: verify\nerror: `);
    expect(said).not.toContain('PRIVATE KEY');
    expect(readFileSync(join(workspace, 'out/verify.log'), 'utf8')).toContain(
      'there is no migration file',
    );
    expect(JSON.parse(readFileSync(join(workspace, 'out/verify.json'), 'utf8'))).toEqual({
      code: 1,
      outputs: {},
    });
  });
});
