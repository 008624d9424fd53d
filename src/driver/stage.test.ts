import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import { readRequest } from './stage.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stage-'));
  await writeFile(join(folder, 'key'), 'KEY\n');
  await writeFile(join(folder, 'word'), 'sesame');
});
afterAll(() => rm(folder, { recursive: true }));

it('reads what the action shall be given', async () => {
  const args = 'transfer --config m.yml --ssh-key-file key --input pass=final --input shard=1/2';
  const more = '--input-file sudo-password=word --dry-run --out o';
  expect(await readRequest(`${args} ${more}`.split(' '), folder)).toEqual({
    stage: 'transfer',
    inputs: {
      config: join(folder, 'm.yml'),
      'ssh-key': 'KEY\n',
      pass: 'final',
      shard: '1/2',
      'sudo-password': 'sesame',
      'dry-run': 'true',
    },
    env: {},
    out: join(folder, 'o'),
    debug: false,
  });
});

it.each([
  ['', 'name one stage: plan, prepare'],
  ['thaw', 'name one stage: plan, prepare'],
  ['plan freeze', 'name one stage: plan, prepare'],
  ['plan --confg x', "Unknown option '--confg'"],
  ['plan --input nothing', '--input nothing: write NAME=VALUE'],
  ['plan --input sudo-password=x', 'sudo-password is a secret: put it in a file'],
  ['plan --ssh-key-file none', "none can't be read (ENOENT)"],
  ['plan --env NO_SUCH_VARIABLE', '--env NO_SUCH_VARIABLE: there is no such variable'],
])('refuses "%s" in one line', async (line, message) => {
  const args = line.split(' ').filter(Boolean);
  const error = await readRequest(args, folder).catch((caught: unknown) => caught as Error);
  expect(error).toBeInstanceOf(UserError);
  expect((error as Error).message).toContain(message);
  expect((error as Error).message).not.toContain('\n');
});
