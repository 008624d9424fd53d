import { afterAll, beforeAll, expect, test } from 'vitest';
import { virtualUser } from '../lab/world.ts';
import { activate, arrived, folder, type Scene, scene, send, serves, withoutDns } from './scene.ts';

/* NEW died after it was activated, and is off for good. */

let here: Scene;

beforeAll(async () => {
  here = await scene(withoutDns);
  await activate(here);
});
afterAll(() => here?.end());

test('a host that answers is not dead', { timeout: 120_000 }, async () => {
  const refused = await here.migration.run('rollback', { 'declare-dead': 'new' });
  expect(refused.code).not.toBe(0);
  expect(refused.log).toContain('it answers, so it is not dead');
  expect(await serves(here, 'new')).toBe(true);
});

test('OLD serves again without NEW, and who said so is on record', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  await lab.host('new').powerCut();
  // OLD can't ask NEW whether it has the mailbox, so it leaves the mail with its sender.
  await expect(send(here, 'old', virtualUser(2))).rejects.toThrow('450 4.1.1');
  const result = await migration.must('rollback', { 'declare-dead': 'new' });
  expect(result.outputs.state).toBe('rolled-back');
  expect(result.log).toContain('is lost');
  await arrived(here, 'old', await send(here, 'old', virtualUser(2)));
  expect(await serves(here, 'old')).toBe(true);
  const journal = await lab.host('old').mustSh(`cat ${folder}/journal.jsonl`);
  const line = journal
    .split('\n')
    .find((text) => text.includes('"kind":"note"') && text.includes('declare-dead'));
  expect(JSON.parse(line ?? '{}')).toMatchObject({ actor: 'rehearsal', data: { host: 'new' } });
});
