import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkBundle } from '../../src/report/bundle.ts';
import type { Lab } from '../lab/lab.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { network } from '../lab/world.ts';
import { Migration, migrationFile } from './migration.ts';

/* What was approved, what came of it, and what a reader of the summary is told when it stops. */

let lab: Lab;
let migration: Migration;

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 10, messagesPerMailbox: 20 }));
  migration = await Migration.create(lab);
}, 300_000);

afterAll(async () => {
  await migration?.remove();
  await lab?.stop();
}, 60_000);

async function journal(): Promise<readonly Record<string, unknown>[]> {
  const { stdout } = await lab.host('old').sh('cat /var/lib/mail-cutover/orchard/journal.jsonl');
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

const live = { pass: 'live' };

test('a plan that has changed since it was approved is refused, and what has changed is shown', {
  timeout: 120_000,
}, async () => {
  const plan = await migration.must('plan');
  expect(plan.summary).toContain('<summary>What the digest covers</summary>');
  expect(plan.summary).toContain('migration file: freeze.max-minutes: 10');
  await migration.must('prepare', { 'plan-digest': plan.outputs['plan-digest'] ?? '' });
  const before = await journal();
  await migration.write(migrationFile(lab, { freeze: { mode: 'hold', 'max-minutes': 9 } }));
  const { code, summary, log } = await migration.run('transfer', live);
  expect(code).toBe(1);
  expect(log).toContain('(migration file: freeze.max-minutes: 10 → 9)');
  expect(summary).toContain('**Refused, and nothing was changed:** the plan is not the one');
  expect(summary).toContain(
    '### What is other than in the approved plan\n\n- migration file: freeze.max-minutes: 10 → 9',
  );
  expect(summary).toContain('`from: plan`');
  expect(await journal()).toEqual(before);
  // Approved anew, by repeating the digest that plan shows now.
  const again = await migration.must('plan');
  await migration.must('transfer', {
    ...live,
    'plan-digest': again.outputs['plan-digest'] ?? '',
  });
});

test('out of order: the summary says where things stand and from where to go on', async () => {
  const { code, summary } = await migration.run('activate');
  expect(code).toBe(1);
  expect(summary).toContain('| State | **copied** |');
  expect(summary).toContain('`from: freeze`');
});

test('require-approval: confirm wants the digest repeated, and puts on record who did', {
  timeout: 120_000,
}, async () => {
  const confirm = { ...live, 'require-approval': 'confirm' };
  const missing = await migration.run('transfer', confirm);
  expect([missing.code, missing.log]).toEqual([
    1,
    expect.stringContaining('input plan-digest: is missing, and require-approval is confirm'),
  ]);
  const other = await migration.run('transfer', { ...confirm, 'plan-digest': 'a'.repeat(64) });
  expect([other.code, other.log]).toEqual([1, expect.stringContaining('is not the one that was')]);
  const { outputs } = await migration.must('plan');
  const digest = outputs['plan-digest'] ?? '';
  const { summary } = await migration.must('transfer', { ...confirm, 'plan-digest': digest });
  expect(summary).toContain('repeated the plan digest');
  const begin = (await journal()).findLast(({ kind }) => kind === 'stage-begin');
  expect(begin).toMatchObject({
    planDigest: digest,
    data: { gate: { passage: 'confirmed', approvals: [{ by: 'rehearsal' }] } },
  });
});

test('a stage that fails leaves an audit bundle, and says what to do', {
  timeout: 120_000,
}, async () => {
  const { outputs } = await migration.must('plan');
  const inputs = { ...live, 'plan-digest': outputs['plan-digest'] ?? '' };
  const old = lab.host('old');
  const route = [network.new.v4, network.new.v6];
  await old.mustSh('ip route add prohibit "$1"; ip -6 route add prohibit "$2"', route);
  const failed = await migration.run('transfer', inputs);
  await old.mustSh('ip route del prohibit "$1"; ip -6 route del prohibit "$2"', route);
  expect(failed.code).toBe(1);
  expect(failed.summary).toContain('**Failed:**');
  expect(failed.summary).toContain('`from: transfer-live`');
  const { audit = '' } = failed.outputs;
  const { entries } = await checkBundle(audit);
  expect(entries.at(-1)).toMatchObject({ kind: 'stage-end', stage: 'transfer live', ok: false });
  expect(await readFile(join(audit, 'summary.md'), 'utf8')).toContain('**Failed:**');
  await migration.must('transfer', inputs);
});
