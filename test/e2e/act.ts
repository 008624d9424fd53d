import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { stringify } from 'yaml';
import { actProgram } from '../../scripts/act-program.mjs';
import { repositoryOf } from '../../scripts/repository.ts';
import { version } from '../../src/actions/version.ts';
import type { Lab } from '../lab/lab.ts';
import { mustRun } from '../lab/process.ts';
import { password } from '../lab/world.ts';
import { dnsCredentials, migrationFile } from './migration.ts';

/*
 * The workflows that people dispatch, run by act (github.com/nektos/act): jobs, needs, conditions,
 * inputs, outputs, matrix and secrets are the real ones, and so are the built actions. Not real are:
 *
 * - actions/checkout, which act itself stands in for: it is the folder that is there already. Another
 *   repository (a relay's) can't be checked out: test/e2e/act-stand-ins/checkout says so.
 * - actions/upload-artifact: test/e2e/act-stand-ins/upload-artifact copies the folder.
 * - environments and concurrency, which act does not know, and GitHub's API, which is not there. Of
 *   `concurrency`, act refuses the key `queue`; that one line is taken out of the copies it runs.
 */

const root = join(import.meta.dirname, '../..');

/** Path of act, or undefined where the machine has none. */
export const act: string | undefined = actProgram();

export interface Dispatch {
  /** File of the workflow. Default: migrate.yml. */
  readonly workflow?: string;
  readonly inputs?: Readonly<Record<string, string>>;
  /** Kills act and everything below it when a line of the log holds these words. */
  readonly killAt?: string | undefined;
  readonly onLine?: (line: string) => void;
}

export interface Dispatched {
  /** Exit code; 137 when it was killed. */
  readonly code: number;
  readonly log: string;
  /** Names of the jobs that succeeded, in their order. */
  readonly succeeded: readonly string[];
  readonly failed: readonly string[];
}

/** A user's repository with the workflows and a migration file, and act to dispatch them. */
export class ActRepository {
  readonly #workspace: string;

  private constructor(workspace: string) {
    this.#workspace = workspace;
  }

  /** `callers` are workflow files of the user's own, by name. */
  static async create(
    lab: Lab,
    changes: Record<string, unknown> = {},
    callers: Readonly<Record<string, string>> = {},
  ): Promise<ActRepository> {
    const made = new ActRepository(await mkdtemp(join(tmpdir(), 'mail-cutover-act-')));
    await made.#fillSuite();
    await made.#fillRepository(stringify(migrationFile(lab, changes)), callers, {
      MAIL_CUTOVER_SSH_KEY: lab.sshKey.text,
      MAIL_CUTOVER_DNS_CREDENTIALS: dnsCredentials,
      MAIL_CUTOVER_PROBE_PASSWORD: password,
    });
    return made;
  }

  /** In place of the suite's actions those of a test, by their path: no hosts are needed then. */
  static async withActions(actions: Readonly<Record<string, object>>): Promise<ActRepository> {
    const made = new ActRepository(await mkdtemp(join(tmpdir(), 'mail-cutover-act-')));
    for (const [path, action] of Object.entries(actions)) {
      await mkdir(join(made.#suite, path), { recursive: true });
      await writeFile(join(made.#suite, path, 'action.yml'), stringify(action));
    }
    await made.#fillRepository('', {}, {});
    return made;
  }

  get #suite(): string {
    return join(this.#workspace, 'suite');
  }

  get #repository(): string {
    return join(this.#workspace, 'user');
  }

  get #secrets(): string {
    return join(this.#workspace, 'secrets.yml');
  }

  /** Where the stand-in of upload-artifact puts what the workflows keep, one folder each. */
  get artifacts(): string {
    return join(this.#workspace, 'artifacts');
  }

  /** What GitHub would fetch of the suite at its tag. */
  async #fillSuite(): Promise<void> {
    await mkdir(this.#suite);
    for (const name of ['action.yml', 'actions', 'dist'])
      await cp(join(root, name), join(this.#suite, name), { recursive: true });
    await copyWorkflows(this.#suite);
  }

  async #fillRepository(
    file: string,
    callers: Readonly<Record<string, string>>,
    secrets: Readonly<Record<string, string>>,
  ): Promise<void> {
    // act reads a secret file as YAML when its name says so: line breaks survive.
    await writeFile(this.#secrets, stringify(secrets), { mode: 0o600 });
    await copyWorkflows(this.#repository);
    const folder = join(this.#repository, '.github');
    await writeFile(join(folder, 'mail-cutover.yml'), file);
    for (const [name, text] of Object.entries(callers))
      await writeFile(join(folder, 'workflows', name), text);
    const git = (...args: string[]) =>
      mustRun(['git', '-c', 'user.name=a', '-c', 'user.email=a@b.example', ...args], {
        cwd: this.#repository,
      });
    await git('init', '-q');
    await git('add', '-A');
    await git('commit', '-qm', 'migration');
  }

  /** Dispatches a workflow. Never throws for one that fails. */
  async dispatch(options: Dispatch): Promise<Dispatched> {
    const inputs = Object.entries(options.inputs ?? {});
    const child = spawn(
      act ?? '',
      [
        'workflow_dispatch',
        ...['--workflows', `.github/workflows/${options.workflow ?? 'migrate.yml'}`],
        ...['--platform', 'ubuntu-latest=-self-hosted'],
        ...['--local-repository', `${repositoryOf(root)}@v${version}=${this.#suite}`],
        ...['upload-artifact', 'checkout'].flatMap((name) => [
          '--local-repository',
          `${referenceTo(name)}=${standIn(name)}`,
        ]),
        ...['--secret-file', this.#secrets],
        ...['--env', `ACT_ARTIFACTS=${this.artifacts}`],
        ...inputs.flatMap(([name, value]) => ['--input', `${name}=${value}`]),
      ],
      {
        cwd: this.#repository,
        env: {
          ...process.env,
          HOME: this.#workspace,
          PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const lines: string[] = [];
    for (const input of [child.stdout, child.stderr])
      createInterface({ input }).on('line', (line) => {
        lines.push(line);
        options.onLine?.(line);
        if (options.killAt !== undefined && line.includes(options.killAt)) killTree(child);
      });
    const [code] = await once(child, 'close');
    return {
      code: (code as number | null) ?? 137,
      log: lines.join('\n'),
      succeeded: jobs(lines, 'Job succeeded'),
      failed: jobs(lines, 'Job failed'),
    };
  }

  /** Names of the artifacts that were kept so far. */
  async kept(): Promise<readonly string[]> {
    return existsSync(this.artifacts) ? readdir(this.artifacts) : [];
  }

  async remove(): Promise<void> {
    await rm(this.#workspace, { recursive: true, force: true });
  }
}

/** The workflows as they are, but for the one key that act does not know. */
async function copyWorkflows(to: string): Promise<void> {
  const folder = '.github/workflows';
  await mkdir(join(to, folder), { recursive: true });
  for (const name of ['migrate.yml', 'live-passes.yml', 'rollback.yml']) {
    const text = await readFile(join(root, folder, name), 'utf8');
    await writeFile(join(to, folder, name), text.replace(/^ {2}queue: max\n/m, ''));
  }
}

function standIn(name: string): string {
  return join(import.meta.dirname, 'act-stand-ins', name);
}

/** One of GitHub's own actions, with the commit that migrate.yml names. */
function referenceTo(name: string): string {
  const text = readFileSync(join(root, '.github/workflows/migrate.yml'), 'utf8');
  const [, reference] = new RegExp(`uses: (actions/${name}@[0-9a-f]{40})`).exec(text) ?? [];
  if (reference === undefined) throw new Error(`migrate.yml does not use ${name}`);
  return reference;
}

/** `[Migrate/plan          ] Job succeeded` names plan; a called job stands behind its caller's. */
function jobs(lines: readonly string[], end: string): readonly string[] {
  return lines
    .filter((line) => line.includes(end))
    .flatMap((line) => /^\[(?:[^\]]*\/)?([\w -]+?)\s*\]/.exec(line)?.[1] ?? []);
}

/** Ends a process and all below it at once, as a runner that loses its power does. */
function killTree(child: ChildProcess): void {
  if (child.pid === undefined) return;
  const send = (pid: number, signal: NodeJS.Signals) => {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  // Stopped first, so that none of them can start another or say a last word.
  const stopped = new Set<number>();
  for (let found = [child.pid]; found.length > 0; ) {
    for (const pid of found) {
      send(pid, 'SIGSTOP');
      stopped.add(pid);
    }
    found = childrenOf(stopped).filter((pid) => !stopped.has(pid));
  }
  for (const pid of stopped) send(pid, 'SIGKILL');
}

function childrenOf(parents: ReadonlySet<number>): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return all.map(Number).filter((pid) => parents.has(parentOf(pid)));
}

/** proc_pid_stat(5): the fourth field, counted from behind the name, which may hold anything. */
function parentOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0;
  }
}
