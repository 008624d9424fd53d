import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { inputSpecs } from '../actions/metadata.ts';
import { type StageName, stageNames } from '../actions/stages.ts';
import { UserError } from '../errors.ts';
import { type ActionResult, runAction } from './run-action.ts';

/*
 * `npm run stage`: runs a built action from a laptop, for when GitHub is down. It is the same code
 * as in the workflow, under the same protocol; the journal names the person who runs it.
 */

const help = `npm run stage -- STAGE --config FILE [options]

Runs one stage of a migration from here, without GitHub. STAGE is one of:
  ${stageNames.join(', ')}

  --config FILE             the migration file
  --ssh-key-file FILE       private key for both hosts
  --input NAME=VALUE        any other input of the action; repeatable
  --input-file NAME=FILE    the same, read from a file: for secrets; repeatable
  --env NAME                hands a variable of yours on, for a cloud provider; repeatable
  --dry-run                 checks everything, changes nothing
  --out DIR                 where report, summary and log go (default: a new temporary folder)
  --debug                   shows debug lines
`;

interface Request {
  readonly stage: StageName;
  readonly inputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly out: string | undefined;
  readonly debug: boolean;
}

/** Reads the command line; paths are relative to `folder`. */
export async function readRequest(args: readonly string[], folder: string): Promise<Request> {
  const { values, positionals } = parse(args);
  const [name = '', ...more] = positionals;
  const stage = stageNames.find((known) => known === name);
  if (stage === undefined || more.length > 0) {
    throw new UserError(`name one stage: ${stageNames.join(', ')}; --help tells the options`);
  }
  const inputs: Record<string, string> = {};
  for (const [input, value] of assignments('input', values.input)) {
    refuseSecret(input);
    inputs[input] = value;
  }
  const files = assignments('input-file', values['input-file']);
  if (values['ssh-key-file'] !== undefined) files.push(['ssh-key', values['ssh-key-file']]);
  for (const [input, path] of files) inputs[input] = await readInput(input, resolve(folder, path));
  if (values.config !== undefined) inputs.config = resolve(folder, values.config);
  if (values['dry-run']) inputs['dry-run'] = 'true';
  return {
    stage,
    inputs,
    env: pickEnvironment(values.env ?? []),
    out: values.out === undefined ? undefined : resolve(folder, values.out),
    debug: values.debug ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        'ssh-key-file': { type: 'string' },
        input: { type: 'string', multiple: true },
        'input-file': { type: 'string', multiple: true },
        env: { type: 'string', multiple: true },
        'dry-run': { type: 'boolean' },
        out: { type: 'string' },
        debug: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UserError((error as Error).message.split('. ')[0], { cause: error });
  }
}

function assignments(option: string, texts: readonly string[] = []): [string, string][] {
  return texts.map((text) => {
    const at = text.indexOf('=');
    if (at < 1) throw new UserError(`--${option} ${text}: write NAME=VALUE`);
    return [text.slice(0, at), text.slice(at + 1)];
  });
}

/** A secret on a command line can be read by every user of the machine, and stays in the history. */
function refuseSecret(name: string): void {
  const spec = inputSpecs.find((known) => known.name === name);
  if (spec === undefined || !('secret' in spec)) return;
  throw new UserError(`${name} is a secret: put it in a file and use --input-file ${name}=FILE`);
}

async function readInput(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new UserError(`${name}: ${path} can't be read (${code})`, { cause: error });
  }
}

function pickEnvironment(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => {
      const value = process.env[name];
      if (value === undefined) throw new UserError(`--env ${name}: there is no such variable`);
      return [name, value];
    }),
  );
}

/** Runs the stage that the command line asks for, and returns the exit code. */
export async function runFromCommandLine(args: readonly string[], folder: string): Promise<number> {
  if (args.includes('--help') || args.length === 0) {
    console.log(help);
    return args.length === 0 ? 1 : 0;
  }
  const request = await readRequest(args, folder);
  const out = request.out ?? (await mkdtemp(join(tmpdir(), `mail-cutover-${request.stage}-`)));
  await mkdir(out, { recursive: true });
  const cancel = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => cancel.abort());
  }
  const result = await runAction({
    stage: request.stage,
    inputs: request.inputs,
    workspace: folder,
    actor: `${userInfo().username}@${hostname()}`,
    temp: join(out, 'files'),
    env: { ...(await commit(folder)), ...request.env },
    debug: request.debug,
    signal: cancel.signal,
    onLine: (line) => console.log(line),
  });
  await keep(out, request.stage, result);
  return result.code;
}

async function keep(out: string, stage: StageName, result: ActionResult): Promise<void> {
  const { log, summary, ...rest } = result;
  await writeFile(join(out, `${stage}.log`), log);
  await writeFile(join(out, `${stage}.md`), summary);
  await writeFile(join(out, `${stage}.json`), `${JSON.stringify(rest, undefined, 2)}\n`);
  for (const [name, value] of Object.entries(result.outputs)) {
    if (value !== '') console.log(`${name}: ${value}`);
  }
  console.log(`report, summary and log: ${out}`);
}

/** The commit that `folder` is at, where it is a git checkout: it goes on record. */
async function commit(folder: string): Promise<Record<string, string>> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', folder, 'rev-parse', 'HEAD']);
    return { GITHUB_SHA: stdout.trim() };
  } catch {
    return {};
  }
}

if (import.meta.main) {
  try {
    // npm changes into the package's folder; the person is somewhere else.
    const folder = process.env.INIT_CWD ?? process.cwd();
    process.exitCode = await runFromCommandLine(process.argv.slice(2), folder);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
