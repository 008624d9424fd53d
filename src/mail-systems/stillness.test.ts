import { spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { proveStill } from './stillness.ts';

/*
 * The real script on this machine, in temporary folders. find(1) is a stand-in that runs the real one, and
 * with the search for writers, which is between the two looks at a tree, what a test has put into `between`.
 */

let temporary: string;
let stores: readonly string[];

beforeEach(() => {
  temporary = realpathSync(mkdtempSync(join(tmpdir(), 'stillness-')));
  stores = ['one', 'two'].map((name) => join(temporary, name));
  for (const store of stores) {
    for (const name of ['alice', 'bob', "o'hara"])
      mkdirSync(join(store, name, 'cur'), { recursive: true });
    writeFileSync(join(store, 'alice/cur/1.M1.old:2,'), 'a message');
  }
  mkdirSync(join(temporary, 'bin'));
  writeFileSync(
    join(temporary, 'bin/find'),
    `#!/bin/sh
before=
for word; do
  if [ "$before" = -lname ] && [ -e ${temporary}/between ]; then tree=\${word%/*}; . ${temporary}/between; fi
  before=$word
done
PATH=\${PATH#*:}; exec find "$@"
`,
    { mode: 0o755 },
  );
});

afterEach(() => rmSync(temporary, { recursive: true, force: true }));

const host = {
  label: 'OLD (192.0.2.1)',
  async read({ argv: [program = '', ...args] }: Command) {
    const child = spawn(program, args, {
      env: { ...process.env, PATH: `${join(temporary, 'bin')}:${process.env['PATH']}` },
    });
    const code = new Promise<number>((resolve) => child.on('close', (end) => resolve(end ?? 1)));
    const [stdout, stderr] = await Promise.all([buffer(child.stdout), text(child.stderr)]);
    return { code: await code, signal: undefined, stdout, stderr };
  },
} as unknown as MailHost;

function between(shell: string): void {
  writeFileSync(join(temporary, 'between'), shell);
}

it('is proved by two looks that saw the same, in every tree', async () => {
  expect(await proveStill(host, [...stores, join(temporary, 'missing')], [])).toContain('3 trees');
});

it.each([
  ['a delivery', 'echo x > "$tree/alice/cur/new"', 'alice/cur/new'],
  ['a flag', 'mv "$tree/alice/cur/1.M1.old:2," "$tree/alice/cur/1.M1.old:2,S"', '1.M1.old:2,S'],
  ['bytes of the same number', 'printf "b message" > "$tree/alice/cur/1.M1.old:2,"', '1.M1.old:2,'],
  ['a message above the depth at which the work is shared', 'echo x > "$tree/new"', 'two/new'],
  ['a folder that is gone', 'rm -r "$tree/bob/cur"', 'bob/cur'],
  ['a name with a line break', 'echo x > "$tree/alice/cur/a\nb"', 'alice/cur/a'],
])('is denied by %s, in the second of the trees', async (_, shell, path) => {
  between(`case $tree in */two) ${shell} ;; esac`);
  const proof = proveStill(host, stores, []);
  await expect(proof).rejects.toThrow('two changed after every known writer was closed');
  await expect(proof).rejects.toThrow(path);
});

it('is denied by a file that is open for writing, and not by names that do not count', async () => {
  const file = join(stores[0] ?? '', 'alice/maildirsize');
  const open = openSync(file, 'a');
  try {
    await expect(proveStill(host, stores, [])).rejects.toThrow(`still open for writing in`);
    between(`echo x >> ${file}`);
    appendFileSync(file, 'x');
    expect(await proveStill(host, stores, ['maildirsize*'])).toContain('2 trees');
  } finally {
    closeSync(open);
  }
});
