import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { checkBundle } from '../../src/report/bundle.ts';
import { startGithub } from '../github/stand-in.ts';
import type { Lab } from '../lab/lab.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { network } from '../lab/world.ts';
import { Migration, migrationFile, notBefore } from './migration.ts';

/*
 * What was approved, what came of it, and what a reader of the summary is told when it stops. The user
 * has the least rights that the documents show, and the migration file is the one they show.
 */

let lab: Lab;
let migration: Migration;

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 10, messagesPerMailbox: 20 }));
  for (const host of ['old', 'new'] as const) await admitMover(host);
  migration = await Migration.create(lab, await documented());
}, 300_000);

afterAll(async () => {
  await migration?.remove();
  await lab?.stop();
}, 60_000);

const examples = join(import.meta.dirname, '../../docs/examples');

async function admitMover(host: 'old' | 'new'): Promise<void> {
  const sudoers = await readFile(join(examples, 'sudoers'), 'utf8');
  const line = await readFile(join(examples, 'authorized_keys'), 'utf8');
  const keys = line.replace('ssh-ed25519 AAAA…', lab.sshKey.publicKey.split(' ', 2).join(' '));
  await lab.host(host).mustSh(
    `useradd --create-home --shell /bin/sh mover
     install -d -m 700 -o mover /home/mover/.ssh
     printf %s "$1" > /home/mover/.ssh/authorized_keys
     chown mover /home/mover/.ssh/authorized_keys
     umask 0337
     printf %s "$2" > /etc/sudoers.d/mail-cutover
     visudo -cf /etc/sudoers.d/mail-cutover >&2`,
    [keys, sudoers],
  );
}

/** The file that the documents show, with the lab's own names, addresses and paths put in. */
async function documented(): Promise<Record<string, unknown>> {
  const shown = parse(await readFile(join(examples, 'postfix-dovecot.yml'), 'utf8'));
  const ours = migrationFile(lab) as Record<
    'old' | 'new' | 'domains' | 'probe' | 'carry',
    object
  > & {
    readonly dns: readonly object[];
  };
  const user = 'mover';
  return {
    ...shown,
    old: { ...shown.old, ...ours.old, user },
    new: { ...shown.new, ...ours.new, user },
    domains: ours.domains,
    carry: ours.carry,
    dns: [{ ...shown.dns[0], ...ours.dns[0] }],
    probe: ours.probe,
  };
}

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
  expect(plan.summary).toContain('migration file: freeze.max-minutes: 60');
  const approved = {
    'plan-digest': plan.outputs['plan-digest'] ?? '',
    'approved-plan': plan.outputs.plan ?? '',
  };
  const other = { ...(await documented()), freeze: { mode: 'hold', 'max-minutes': 9 } };
  // Nothing is on the hosts yet: what has changed is told by the plan that was handed on, if it is it.
  await migration.write(other);
  const handed = await migration.run('prepare', approved);
  expect([handed.code, handed.log]).toEqual([
    1,
    expect.stringContaining('(migration file: freeze.max-minutes: 60 → 9)'),
  ]);
  for (const words of ['', '{"version":"0"}']) {
    const bare = await migration.run('prepare', { ...approved, 'approved-plan': words });
    expect(bare.code).toBe(1);
    expect(bare.summary).toContain('Compare **What the digest covers** below');
    expect(bare.summary).toContain('migration file: freeze.max-minutes: 9');
  }
  await migration.write(await documented());
  await migration.must('prepare', approved);
  const before = await journal();
  await migration.write(other);
  const { code, summary, log } = await migration.run('transfer', live);
  expect(code).toBe(1);
  expect(log).toContain('(migration file: freeze.max-minutes: 60 → 9)');
  expect(summary).toContain('**Refused, and nothing was changed:** the plan is not the one');
  expect(summary).toContain(
    '### What is other than in the approved plan\n\n- migration file: freeze.max-minutes: 60 → 9',
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

test('who approved with what words and when is on record; so is that nobody did', {
  timeout: 120_000,
}, async () => {
  const github = await startGithub();
  const env = {
    GITHUB_API_URL: `http://127.0.0.1:${github.port}`,
    GITHUB_REPOSITORY: 'o/r',
    GITHUB_SERVER_URL: 'https://github.example',
    GITHUB_RUN_ID: '17',
  };
  const inputs = {
    ...live,
    'github-token': 'a-token-of-this-test',
    environment: 'mail-freeze',
    'plan-digest': (await migration.must('plan')).outputs['plan-digest'] ?? '',
  };
  const begun = async () => (await journal()).findLast(({ kind }) => kind === 'stage-begin')?.data;
  try {
    const { summary } = await migration.must('transfer', inputs, { env });
    expect(summary).toContain(
      '| Approval | ada ("go &#60;b&#62;now&#60;/b&#62;"), 2026-11-21T09:20',
    );
    expect(await begun()).toMatchObject({
      url: 'https://github.example/o/r/actions/runs/17/attempts/1',
      dispatchedBy: 'rehearsal',
      gate: {
        passage: 'approved',
        approvals: [{ by: 'ada', comment: 'go <b>now</b>' }],
        time: '2026-11-21T09:20:00Z',
      },
    });
    // An administrator bypassed the reviewers.
    github.answers['/repos/o/r/actions/runs/17/approvals'] = [];
    const before = await journal();
    const refuse = { ...inputs, 'require-approval': 'refuse' };
    const refused = await migration.run('transfer', refuse, { env });
    expect([refused.code, refused.log]).toEqual([
      1,
      expect.stringContaining('mail-freeze was passed without an approval. Nothing was done'),
    ]);
    expect(await journal()).toEqual(before);
    await migration.must('transfer', inputs, { env });
    expect(await begun()).toMatchObject({ gate: { passage: 'unapproved', approvals: [] } });
  } finally {
    await github.stop();
  }
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

test('the rights that the documents show suffice to the end, and end by themselves', {
  timeout: 240_000,
}, async () => {
  const asked = await migration.run('freeze', { 'dry-run': 'true' });
  const at = notBefore(asked.log);
  if (at) await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
  const { outputs } = await migration.must('plan');
  await migration.must('freeze', { 'plan-digest': outputs['plan-digest'] ?? '' });
  await migration.must('transfer', { pass: 'final' });
  await migration.must('activate');
  await migration.must('dns-cutover');
  expect((await migration.must('verify')).outputs.state).toBe('active+cut');
  for (const host of ['old', 'new'] as const)
    await lab
      .host(host)
      .mustSh('sed -i s/NOTAFTER=20991231/NOTAFTER=20201231/ "$1"; visudo -cf "$1" >&2', [
        '/etc/sudoers.d/mail-cutover',
      ]);
  const { code, log } = await migration.run('plan');
  expect([code, log]).toEqual([
    1,
    expect.stringContaining('sudo wants a password of mover, or does not let this user in'),
  ]);
});
