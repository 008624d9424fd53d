import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Depth, demandEqual, howTimesWereCompared } from './manifest.ts';
import {
  bothWays,
  box,
  canMount,
  compare,
  expectDifferent,
  old,
  setUpHosts,
  target,
  temporary,
  there,
  twins,
  vmail,
} from './manifest-under-test.ts';

setUpHosts();

describe('links', () => {
  it('does not count links that lie elsewhere: a backup, another store', async () => {
    twins();
    mkdirSync(join(temporary, 'old/backup'));
    for (const name of ['1.M1.old:2,S', '2.M2.old:2,'])
      linkSync(join(box(old), name), join(temporary, 'old/backup', name));
    await bothWays(() => demandEqual(old, target, [there], 'full'));
    expect(await compare()).toEqual([]);
  });

  it('sees the same number of links between other names', async () => {
    mkdirSync(box(old), { recursive: true });
    mkdirSync(`${vmail(old)}/b org\nx/cur`, { recursive: true });
    const [one, two] = [box(old), `${vmail(old)}/b org\nx/cur`];
    writeFileSync(join(one, 'a'), 'equal');
    writeFileSync(join(one, 'b'), 'equal');
    execFileSync('touch', ['-r', join(one, 'a'), join(one, 'b')]);
    linkSync(join(one, 'a'), join(two, 'a'));
    linkSync(join(one, 'b'), join(two, 'b'));
    execFileSync('cp', ['-a', join(temporary, 'old'), join(temporary, 'new')]);
    await bothWays(() => demandEqual(old, target, [there], 'full'));
    execFileSync('sh', [
      '-c',
      'cd "$1"; for box in "$2" "$3"; do touch -r "$box" "$box.time"; done; ln -f "$2/a" "$3/b"; ln -f "$2/b" "$3/a"; for box in "$2" "$3"; do touch -r "$box.time" "$box"; rm "$box.time"; done',
      ...['sh', vmail(target), 'example.org/alice/cur', 'b org\nx/cur'],
    ]);
    await bothWays(() =>
      expectDifferent('names', /only on the target: h \S+alice\/cur\/a\/\/b org.{2,4}x\/cur\/b$/m),
    );
  });

  it('leaves out links of what does not count', async () => {
    twins();
    linkSync(join(box(old), '1.M1.old:2,S'), join(box(old), 'maildirsize'));
    execFileSync('touch', ['-r', box(target), box(old)]);
    const ignored = ['maildirsize'];
    await bothWays(() => demandEqual(old, target, [there], 'names', ignored));
  });
});

describe.skipIf(!canMount)('where a file system keeps whole seconds only', () => {
  /** `new` is an ext3 with small inodes, in a mount namespace that ends with its process. */
  async function onExt3(work: (sh: (text: string) => void) => Promise<void>): Promise<void> {
    const text = `set -e
      truncate -s 8M "$1/image"
      mkfs.ext3 -q -I 128 "$1/image" > "$1/mkfs" 2>&1
      mkdir -p "$1/new"
      mount -o loop "$1/image" "$1/new"
      echo ready
      exec sleep 600`;
    const words = ['-m', '--propagation', 'private', 'sh', '-c', text, 'sh', temporary];
    const holder = spawn('unshare', words, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    const prefix = ['nsenter', `-m/proc/${holder.pid}/ns/mnt`];
    const sh = (command: string) => {
      execFileSync('nsenter', [...prefix.slice(1), 'sh', '-ec', command, 'sh', temporary]);
    };
    try {
      for (const host of [old, target]) host.prefix = prefix;
      await work(sh);
    } finally {
      for (const host of [old, target]) host.prefix = [];
      holder.kill();
      await once(holder, 'close');
    }
  }

  it.each<Depth>(['names', 'full'])(
    'compares times to the second, and says so (%s)',
    async (depth) => {
      twins();
      rmSync(join(temporary, 'new'), { recursive: true });
      await onExt3(async (sh) => {
        sh('cp -a "$1/old/." "$1/new"');
        for (const [one, other] of [
          [old, target],
          [target, old],
        ] as const)
          await bothWays(async () => {
            const equal = await demandEqual(one, other, [there], depth);
            expect(howTimesWereCompared(equal)).toBe(
              '; times compared to the second: NEW keeps no fractions',
            );
            expect(equal[0]?.entries).toBe(9 + (depth === 'names' ? 1 : 4));
          });
        sh(`touch -d @1 "$1/new/vmail/example.org/alice/cur/1.M1.old:2,S"`);
        await bothWays(() =>
          expect(demandEqual(old, target, [there], depth)).rejects.toThrow(
            /differs between the hosts in 2 entries: only on the source: f \d+ /,
          ),
        );
      });
    },
  );

  it('also of a part of the tree', async () => {
    twins();
    renameSync(join(temporary, 'old/vmail/example.org'), join(temporary, 'old/vmail/other.org'));
    mkdirSync(box(old), { recursive: true });
    writeFileSync(join(box(old), '5.M5.old'), 'x');
    rmSync(join(temporary, 'new'), { recursive: true });
    await onExt3(async (sh) => {
      // The domain of its own lies on ext3, the rest of NEW where OLD lies.
      sh(
        'cp -a "$1/old/vmail/example.org" "$1/new"; mkdir "$1/whole"; cp -a "$1/old/." "$1/whole"',
      );
      sh(
        'mount --bind "$1/new/example.org" "$1/whole/vmail/example.org"; mount --rbind "$1/whole" "$1/new"',
      );
      await bothWays(() => demandEqual(old, target, [there], 'names'));
    });
  });
});

it('is no excuse where both keep fractions', async () => {
  twins();
  const path = join(box(target), '1.M1.old:2,S');
  execFileSync('touch', ['-d', '2001-01-01 00:00:00.25', join(box(old), '1.M1.old:2,S')]);
  execFileSync('touch', ['-d', '2001-01-01 00:00:00.5', path]);
  await bothWays(() => expectDifferent('names', /978\d+\.50* /));
  expect(howTimesWereCompared(await demandEqual(old, old, [there], 'names'))).toBe('');
});
