import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { mirrorProgram } from '../../src/transfer/mirror-program.ts';
import type { Ended, MirrorServer } from './mirror-server.ts';

export interface Side {
  /** The tree. */
  readonly root: string;
  /** Where the program keeps its note and its token. */
  readonly folder: string;
}

export interface MirrorResult {
  /** What the program counted: `renamed`, `removed`, `sent`, `listed` … */
  readonly counts: Readonly<Record<string, number>>;
}

/** Numbers of the program, by name, that are others in a test. */
type Numbers = Readonly<Record<string, number>>;

function withNumber(text: string, [name, value]: readonly [string, number]): string {
  const own = new RegExp(`my \\$${name} = [0-9_]+;`);
  if (!own.test(text)) throw new Error(`the program has no number $${name}`);
  return text.replace(own, `my $${name} = ${value};`);
}

/** As if this happened, in shell, when a pass has looked what changed, and has listed nothing yet. */
function withMeanwhile(text: string, file: string): string {
  return text.replace(
    "    lap('scan');",
    `    system 'sh', '${file}' if -e '${file}';\n    lap('scan');`,
  );
}

/** Two trees on this machine and the real program between them, without SSH. */
export class LocalMirror {
  readonly temporary = mkdtempSync(join(tmpdir(), 'mirror-'));
  readonly #program = join(this.temporary, 'mirror.pl');
  readonly #forcedCommand = join(this.temporary, 'forced-command');

  /** What a shell script there does happens in the middle of each pass: see `withMeanwhile`. */
  readonly meanwhile = join(this.temporary, 'meanwhile.sh');

  readonly #young: number | undefined;
  readonly #server: MirrorServer | undefined;
  readonly #isSlow: boolean;

  /**
   * `young`: seconds within which the program trusts no ctime; its own value if not given. `server`: what
   * runs it; if not given, each run is a process of its own, and the other end is started as a forced command does.
   * `isSlow`: with a server, as if each way between hosts were slow.
   */
  constructor(young?: number, server?: MirrorServer, numbers: Numbers = {}, isSlow = false) {
    this.#young = young;
    this.#server = server;
    this.#isSlow = isSlow;
    const all = young === undefined ? numbers : { ...numbers, young };
    const program = withMeanwhile(mirrorProgram, this.meanwhile);
    writeFileSync(this.#program, Object.entries(all).reduce(withNumber, program));
    writeFileSync(
      this.#forcedCommand,
      `case $4 in *mirror) exec perl "$1" receive "$2" "$3" ;; *held) exec perl "$1" receive "$2" "$3" held ;; *) exec perl "$1" untar "$2" "$3" \${4##*tar } ;; esac`,
    );
  }

  side(name: string): Side {
    const side = {
      root: join(this.temporary, name),
      folder: join(this.temporary, `${name}.state`),
    };
    mkdirSync(side.folder);
    return side;
  }

  /** One pass. Rejects with what the program says when it fails. */
  async pass(source: Side, target: Side, kind = 'store', part = '1/1'): Promise<MirrorResult> {
    const words = ['send', part, source.folder, ...this.#ends(source, target, kind)];
    const result = await this.#run(words);
    await untilNoted(source);
    return result;
  }

  /** A pass that is killed, at both ends, after so many milliseconds, if it has not ended by then. */
  async cut(source: Side, target: Side, milliseconds: number): Promise<void> {
    const args = [
      this.#program,
      'send',
      '1/1',
      source.folder,
      ...this.#ends(source, target, 'store'),
    ];
    if (this.#server) return this.#cutHere(this.#server, args.slice(1), milliseconds);
    const child = spawn('perl', args, { stdio: 'ignore', detached: true });
    const ended = new Promise((resolve) => child.on('close', resolve));
    const timer = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, milliseconds);
    await ended;
    clearTimeout(timer);
  }

  async #cutHere(server: MirrorServer, args: readonly string[], milliseconds: number) {
    let timer: NodeJS.Timeout | undefined;
    const started = (group: number) => {
      timer = setTimeout(() => killGroup(group), milliseconds);
    };
    await server.run(args, { ...this.#how, started });
    clearTimeout(timer);
  }

  /** A pass of its own process; its end lies in the folder. */
  async detach(source: Side, target: Side, run: string): Promise<void> {
    await this.#run(['detach', run, '1/1', source.folder, ...this.#ends(source, target, 'store')]);
  }

  /** Opens a connection for a pass to come. */
  async hold(source: Side, target: Side, tag = 'tag'): Promise<void> {
    await this.release(source);
    const ends = this.#ends(source, target, 'store');
    const words = [...ends.slice(0, -1), 'local held'];
    await this.#run(['hold', this.#socket(source), '1', tag, source.folder, ...words]);
  }

  /** The pass that is held, under a lock of this number. */
  async go(source: Side, tag = 'tag', lock = ''): Promise<MirrorResult> {
    const result = await this.#run(['go', this.#socket(source), tag], lock);
    await untilNoted(source);
    return result;
  }

  get #how() {
    return { young: this.#young, isSlow: this.#isSlow };
  }

  /** Ends what is held, and waits until it has. */
  async release(source: Side): Promise<void> {
    await this.#run(['release', this.#socket(source)]);
    this.#held.delete(source);
  }

  readonly #held = new Set<Side>();

  #socket(source: Side): string {
    this.#held.add(source);
    return join(source.folder, 'socket');
  }

  /** Items of the source, and the words that start the other end, as the forced command on a target does. */
  #ends(source: Side, target: Side, kind: string): readonly string[] {
    const items = (side: Side) => {
      const path = join(side.folder, 'items');
      writeFileSync(path, `${kind}\0${side.root}\0`);
      return path;
    };
    const there = items(target);
    return [
      items(source),
      'sh',
      this.#forcedCommand,
      this.#program,
      target.folder,
      there,
      'local mirror',
    ];
  }

  #run(args: readonly string[], lock = ''): Promise<MirrorResult> {
    if (this.#server) return this.#server.run(args, { ...this.#how, lock }).then(resultOf);
    const goesOn = ['hold', 'detach'].includes(args[0] ?? '');
    return run('perl', [this.#program, ...args], goesOn, lock);
  }

  /** With whatever is still held: it ends when its folder is gone. */
  async remove(): Promise<void> {
    for (const side of this.#held) await this.release(side);
    rmSync(this.temporary, { recursive: true, force: true });
  }
}

/** A pass that has ended well still writes its note, under the lock of its folder. */
async function untilNoted({ folder }: Side): Promise<void> {
  await promisify(execFile)('flock', ['-w', '60', join(folder, 'transfer-lock'), 'true']);
}

/** What goes on by itself keeps standard error: nobody may wait for its end. */
function run(
  program: string,
  args: readonly string[],
  goesOn: boolean,
  lock: string,
): Promise<MirrorResult> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', goesOn ? 'ignore' : 'pipe'],
    env: { ...process.env, HOSTCTL_LOCK: lock },
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      try {
        resolve(resultOf({ code: code ?? 128, stdout, stderr }));
      } catch (error) {
        reject(error);
      }
    });
  });
}

function killGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch (error) {
    // It ended in this moment.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Throws when the program failed, or complained. */
function resultOf({ code, stdout, stderr }: Ended): MirrorResult {
  if (code !== 0 || stderr !== '') throw new Error(`exit code ${code}: ${stderr}`);
  const counts = [...stdout.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [
    name,
    Number(value),
  ]);
  return { counts: Object.fromEntries(counts) };
}
