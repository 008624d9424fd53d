import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  base,
  children,
  hostctl,
  hostctlPath,
  me,
  setUpHostctl,
  standIn,
  temporary,
  tree,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

describe('undo', () => {
  it('goes from the newest to the oldest, and on from where it was stopped', () => {
    const program = join(base, 'bin/examplectl');
    writeFileSync(
      program,
      `#!/bin/sh\necho "$3" >> ${temporary}/undone\n[ ! -e ${temporary}/fails-$3 ]\n`,
      { mode: 0o755 },
    );
    for (const name of ['a', 'b', 'c']) well(['record', 'g', name, 'examplectl:thing', name]);
    writeFileSync(join(temporary, 'fails-b'), '');
    expect(hostctl(['undo', 'g']).code).not.toBe(0);
    expect(readdirSync(join(base, 'undo/g')).filter((name) => !name.startsWith('.'))).toEqual([
      '0000-a',
      '0001-b',
    ]);
    rmSync(join(temporary, 'fails-b'));
    well(['undo', 'g']);
    expect(readFileSync(join(temporary, 'undone'), 'utf8')).toBe('c\nb\nb\na\n');
  });

  it('does not ask a Postfix that is down to reload, which would take a second', () => {
    const spool = join(temporary, 'spool');
    mkdirSync(join(spool, 'pid'), { recursive: true });
    writeFileSync(join(temporary, 'main.cf'), `queue_directory = ${spool}\n`);
    standIn('postfix', 'echo "$1" >> "$STATE/postfix.log"');
    well(['reload']);
    // Its number is still there, and no process has it.
    writeFileSync(join(spool, 'pid/master.pid'), '  4194305\n');
    well(['reload']);
    expect(existsSync(join(temporary, 'postfix.log'))).toBe(false);
    writeFileSync(join(spool, 'pid/master.pid'), `  ${process.pid}\n`);
    well(['reload']);
    expect(readFileSync(join(temporary, 'postfix.log'), 'utf8')).toBe('reload\n');
  });

  it('what ran starts last, in one go, with everything else as it was; again until it has', () => {
    for (const unit of ['a', 'b']) writeFileSync(join(temporary, `active-${unit}`), '');
    well(['stop', 'g', 'stop-a', 'a', 'stop-b', 'b', 'stop-c', 'c']);
    well(['postconf', 'g', 'relayhost', 'x']);
    writeFileSync(join(temporary, 'fails-b'), '');
    expect(hostctl(['undo', 'g']).code).not.toBe(0);
    expect(readFileSync(join(temporary, 'main.cf'), 'utf8')).toBe('');
    rmSync(join(temporary, 'fails-b'));
    well(['undo', 'g']);
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
    const starts = readFileSync(join(temporary, 'systemctl.log'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('start'));
    expect(starts).toEqual(['start b a', 'start b a']);
  });

  it('cut off anywhere, repeated, ends in the original', async () => {
    const scenario = String.raw`
      set -e
      i=0
      while [ $i -lt 3 ]; do
        printf after | "$1" file g replaced "$2/replaced" 644 "$3"
        printf after | "$1" file g made "$2/sub/made" 644 "$3"
        printf ours | "$1" block g block "$2/blocked"
        "$1" tree g tree "$4" "$2/tree"
        "$1" tree g new-tree "$4" "$2/deep/new-tree"
        "$1" stop g unit unit.service
        "$1" undo g
        i=$((i + 1))
      done`;
    const folder = join(temporary, 'etc');
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'replaced'), 'before', { mode: 0o640 });
    writeFileSync(join(folder, 'blocked'), 'a\nb', { mode: 0o600 });
    writeFileSync(join(temporary, 'active-unit.service'), '');
    const staging = join(temporary, 'staging');
    for (const path of [
      join(folder, 'tree'),
      `${staging}${folder}/tree`,
      `${staging}${folder}/deep/new-tree`,
    ]) {
      mkdirSync(join(path, 'below'), { recursive: true });
      writeFileSync(join(path, 'below/file'), path);
    }
    const before = tree(folder);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(400), { minLength: 1, maxLength: 3 }), async (cuts) => {
        for (const milliseconds of cuts) {
          const child = spawn('sh', ['-c', scenario, 'sh', hostctlPath(), folder, me, staging], {
            detached: true,
            stdio: 'ignore',
          });
          children.push(child);
          const ended = new Promise((resolve) => child.on('close', resolve));
          await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, milliseconds))]);
          try {
            if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
          } catch {
            // It had ended.
          }
          await ended;
        }
        well(['undo', 'g']);
        expect(tree(folder)).toEqual(before);
        expect(existsSync(join(base, 'undo/g'))).toBe(false);
        expect(existsSync(join(temporary, 'active-unit.service'))).toBe(true);
      }),
      { numRuns: 12 },
    );
  }, 60_000);
});
