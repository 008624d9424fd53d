import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { actionFolder } from '../actions/metadata.ts';
import type { StageName } from '../actions/stages.ts';
import {
  type ActionFile,
  inputEnvironment,
  parseActionFile,
  parseFileCommands,
  StepLog,
} from './runner-protocol.ts';

/** A stage as a step of a job. */
export interface RunActionOptions {
  readonly stage: StageName;
  /** Inputs by name; the action.yml fills in the rest. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Where the user's repository is checked out: relative paths in inputs start there. */
  readonly workspace: string;
  /** Who runs it, as the journal names them. */
  readonly actor: string;
  /** Folder for what the action leaves (RUNNER_TEMP, so its report); else a passing one. */
  readonly temp?: string;
  /** Root of the suite, with action.yml and dist. Default: this checkout. */
  readonly root?: string;
  /** Variables besides those that a runner sets, such as those of a cloud provider. */
  readonly env?: Readonly<Record<string, string>>;
  /** Shows debug lines too. */
  readonly debug?: boolean;
  /** Aborting cancels the step as GitHub does: SIGINT, SIGTERM, SIGKILL; the post step still runs. */
  readonly signal?: AbortSignal;
  /** Aborting kills the runner as if its machine had gone: SIGKILL, and no post step. */
  readonly runnerGone?: AbortSignal;
  /** Told the process group of the main part: a test may kill it as a dying runner would. */
  readonly onStart?: (group: number) => void;
  /** Is given the post step instead of it being run: a job runs those after all its steps. Call it once. */
  readonly postpone?: (post: () => Promise<void>) => void;
  /** Each line of output as it comes, secrets masked. */
  readonly onLine?: (line: string) => void;
}

/** What a step leaves. */
export interface ActionResult {
  /** Exit code; 128 and the signal's number when a signal ended it. */
  readonly code: number;
  readonly outputs: Readonly<Record<string, string>>;
  /** Markdown of the job summary. */
  readonly summary: string;
  /** What `onLine` was told. */
  readonly log: string;
}

/** Milliseconds from SIGINT to SIGTERM, and from there to SIGKILL, when a job is cancelled. */
const patience = { interrupt: 7500, terminate: 2500 } as const;

/** Runs a built action, and its post step, as GitHub's runner would. */
export async function runAction(options: RunActionOptions): Promise<ActionResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'mail-cutover-runner-'));
  const remove = () => rm(scratch, { recursive: true, force: true });
  const { postpone } = options;
  let isPostponed = false;
  const later = (post: () => Promise<void>) => {
    isPostponed = true;
    postpone?.(() => post().finally(remove));
  };
  try {
    return await new StepRun(postpone ? { ...options, postpone: later } : options, scratch).run();
  } finally {
    if (!isPostponed) await remove();
  }
}

/** One use of an action: its main part and its post part share files, masks and log. */
class StepRun {
  readonly #options: RunActionOptions;
  readonly #scratch: string;
  readonly #folder: string;
  readonly #log: StepLog;
  readonly #lines: string[] = [];

  constructor(options: RunActionOptions, scratch: string) {
    const root = options.root ?? resolve(import.meta.dirname, '../..');
    this.#options = options;
    this.#scratch = scratch;
    this.#folder = join(root, actionFolder(options.stage));
    this.#log = new StepLog({ debug: options.debug ?? false });
  }

  async run(): Promise<ActionResult> {
    const token = this.#options.inputs['github-token'] ?? '';
    const text = await readFile(join(this.#folder, 'action.yml'), 'utf8');
    const action = parseActionFile(text, { 'github.token': token });
    const inputs = inputEnvironment(action, this.#options.inputs);
    const temp = this.#options.temp ?? join(this.#scratch, 'temp');
    await mkdir(temp, { recursive: true });
    const base = { ...runnerEnvironment(this.#options, this.#folder, temp), ...inputs };

    const code = await this.#execute(action.main, { ...base, ...(await this.#files('main')) });
    const state = parseFileCommands(await this.#file('main', 'STATE'));
    if (action.post !== undefined && !this.#options.runnerGone?.aborted) {
      const saved = Object.entries(state).map(([name, value]) => [`STATE_${name}`, value]);
      const env = { ...base, ...Object.fromEntries(saved) };
      const { post } = action;
      const run = async () => {
        // The main part may have been cancelled: that must not cancel the cleaning up.
        await this.#execute(post, { ...env, ...(await this.#files('post')) }, false);
      };
      if (this.#options.postpone) this.#options.postpone(run);
      else await run();
    }
    return {
      code,
      outputs: await this.#outputs(action),
      summary: this.#log.mask(await this.#file('main', 'STEP_SUMMARY')),
      log: this.#lines.map((line) => `${line}\n`).join(''),
    };
  }

  /** Fresh empty files for the file commands, as the variables that name them. */
  async #files(part: 'main' | 'post'): Promise<Record<string, string>> {
    const names = ['OUTPUT', 'STEP_SUMMARY', 'STATE', 'ENV', 'PATH'];
    const entries = names.map((name) => [`GITHUB_${name}`, join(this.#scratch, `${part}-${name}`)]);
    for (const [, path = ''] of entries) await writeFile(path, '');
    return Object.fromEntries(entries);
  }

  #file(part: 'main' | 'post', name: string): Promise<string> {
    return readFile(join(this.#scratch, `${part}-${name}`), 'utf8');
  }

  /** Declared outputs; GitHub drops one that holds a secret, so this does too. */
  async #outputs(action: ActionFile): Promise<Record<string, string>> {
    const all = parseFileCommands(await this.#file('main', 'OUTPUT'));
    const kept = Object.entries(all).filter(([name, value]) => {
      if (this.#log.mask(value) !== value) {
        this.#show(`warning: the output ${name} holds a secret, so it is dropped`);
        return false;
      }
      return action.outputs.includes(name);
    });
    return Object.fromEntries(kept);
  }

  #show(line: string): void {
    this.#lines.push(line);
    this.#options.onLine?.(line);
  }

  async #execute(main: string, env: Record<string, string>, cancellable = true): Promise<number> {
    const child = spawn(process.execPath, [resolve(this.#folder, main)], {
      cwd: this.#options.workspace,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own: cancelling ends all of it, and Ctrl-C reaches only the caller.
      detached: true,
    });
    for (const input of [child.stdout, child.stderr]) {
      createInterface({ input }).on('line', (line) => {
        for (const shown of this.#log.read(line)) this.#show(shown);
      });
    }
    if (cancellable && child.pid !== undefined) this.#options.onStart?.(child.pid);
    const stop = () => cancel(child.pid);
    const kill = () => send(-(child.pid ?? 0), 'SIGKILL');
    const { signal, runnerGone } = this.#options;
    if (cancellable) {
      if (signal?.aborted) stop();
      signal?.addEventListener('abort', stop, { once: true });
    }
    runnerGone?.addEventListener('abort', kill, { once: true });
    const [code, killedBy] = await once(child, 'close');
    signal?.removeEventListener('abort', stop);
    runnerGone?.removeEventListener('abort', kill);
    if (killedBy !== null) this.#show(`error: ended by ${killedBy}`);
    return code ?? 128 + (signalNumbers[killedBy as string] ?? 0);
  }
}

const signalNumbers: Readonly<Record<string, number>> = { SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** Interrupts a process, then grows impatient with its whole group. */
function cancel(pid: number | undefined): void {
  if (pid === undefined) return;
  send(pid, 'SIGINT');
  const { interrupt, terminate } = patience;
  setTimeout(() => send(-pid, 'SIGTERM'), interrupt).unref();
  setTimeout(() => send(-pid, 'SIGKILL'), interrupt + terminate).unref();
}

/** Signals a process or, negative, a group; one that has ended already is no fault. */
function send(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Variables of the caller that an action may see; anything else could be a secret of theirs. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TERM', 'TZ', 'USER', 'LOGNAME'];

function runnerEnvironment(
  options: RunActionOptions,
  folder: string,
  temp: string,
): Record<string, string> {
  const env: Record<string, string> = {
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_ACTION: `mail-cutover-${options.stage}`,
    GITHUB_ACTION_PATH: folder,
    GITHUB_ACTOR: options.actor,
    GITHUB_JOB: options.stage,
    GITHUB_WORKSPACE: options.workspace,
    MAIL_CUTOVER_DRIVER: 'laptop',
    RUNNER_NAME: hostname(),
    RUNNER_OS: process.platform === 'darwin' ? 'macOS' : 'Linux',
    RUNNER_ARCH: process.arch.toUpperCase(),
    RUNNER_TEMP: temp,
  };
  for (const name of passedOn) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return { ...env, ...options.env };
}
