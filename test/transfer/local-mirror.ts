import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mirrorProgram } from '../../src/transfer/mirror-program.ts';

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

/** Two trees on this machine and the real program between them, without SSH. */
export class LocalMirror {
  readonly temporary = mkdtempSync(join(tmpdir(), 'mirror-'));
  readonly #program = join(this.temporary, 'mirror.pl');

  /** `young`: seconds within which the program trusts no ctime; its own value if not given. */
  constructor(young?: number) {
    const own = 'my $young = 2;';
    if (!mirrorProgram.includes(own)) throw new Error(`the program does not say ${own}`);
    const text =
      young === undefined ? mirrorProgram : mirrorProgram.replace(own, `my $young = ${young};`);
    writeFileSync(this.#program, text);
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
  pass(source: Side, target: Side, kind = 'store'): Promise<MirrorResult> {
    const items = (side: Side) => {
      const path = join(side.folder, 'items');
      writeFileSync(path, `${kind}\0${side.root}\0`);
      return path;
    };
    const receive = ['perl', this.#program, 'receive', target.folder, items(target)];
    const send = [this.#program, 'send', source.folder, items(source), ...receive];
    return run('perl', send);
  }

  remove(): void {
    rmSync(this.temporary, { recursive: true, force: true });
  }
}

function run(program: string, args: readonly string[]): Promise<MirrorResult> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const counts = [...stdout.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [
        name,
        Number(value),
      ]);
      if (code === 0 && stderr === '') resolve({ counts: Object.fromEntries(counts) });
      else reject(new Error(`exit code ${code}: ${stderr}`));
    });
  });
}
