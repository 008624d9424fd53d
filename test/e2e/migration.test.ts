import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createTransport } from 'nodemailer';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Entry, verified } from '../../src/engine/journal.ts';
import { undoRecords } from '../../src/report/undo-records.ts';
import type { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { domains, password, special, tsig, virtualUser } from '../lab/world.ts';
import { dnsCredentials, Migration, notBefore } from './migration.ts';

/*
 * One migration with hold, looked at from close by: what may not happen in the freeze, what is on
 * record, and the way back.
 */

let lab: Lab;
let migration: Migration;
const logs: string[] = [];

beforeAll(async () => {
  ({ lab } = await startMailLab({ mailboxes: 10, messagesPerMailbox: 20 }));
  migration = await Migration.create(lab);
  migration.onLine((line) => logs.push(line));
}, 300_000);

afterAll(async () => {
  await migration?.remove();
  await lab?.stop();
}, 60_000);

const folder = '/var/lib/mail-cutover/orchard';

/** Sends one message over port 25; returns its Message-ID. */
async function send(host: 'old' | 'new', to: string, subject = 'test'): Promise<string> {
  const transport = createTransport({
    host: lab.host(host).address,
    port: 25,
    tls: { rejectUnauthorized: false },
  });
  const { messageId } = await transport.sendMail({
    from: 'post@elsewhere.example',
    to,
    subject,
    text: 'x',
  });
  transport.close();
  return messageId;
}

/** In how many files of the host's stores a Message-ID stands. */
async function copies(host: 'old' | 'new', messageId: string): Promise<number> {
  const { stdout } = await lab
    .host(host)
    .sh(
      'grep -rlF --include="*" -- "$1" /var/vmail /home 2>/dev/null | grep -cE "/(cur|new)/" || :',
      [messageId],
    );
  return Number(stdout.trim());
}

/** Names and sizes of every message on OLD. */
async function messagesOnOld(): Promise<string> {
  const { stdout } = await lab
    .host('old')
    .sh(
      'find /var/vmail /home -type f \\( -path "*/cur/*" -o -path "*/new/*" -o -name "dovecot*" \\) ! -name "dovecot.list.index*" -printf "%p %s %T@\\n" | sort',
    );
  return createHash('sha256').update(stdout).digest('hex');
}

async function freeze() {
  const asked = await migration.run('freeze', { 'dry-run': 'true' });
  const at = notBefore(asked.log);
  if (at) await sleep(Math.max(0, at.getTime() - Date.now()) + 100);
  return migration.must('freeze');
}

test('stages are seen to be done when they are run again', { timeout: 120_000 }, async () => {
  await migration.must('plan');
  const first = await migration.must('prepare');
  expect(first.outputs).toMatchObject({
    state: 'prepared',
    changed: 'true',
    'next-stage': 'transfer live',
  });
  const again = await migration.must('prepare');
  const done = again.log.match(/already done/g) ?? [];
  expect(done.length).toBeGreaterThanOrEqual(4);
  expect(again.outputs['plan-digest']).toBe(first.outputs['plan-digest']);
  const live = await migration.must('transfer', { pass: 'live' });
  expect(live.outputs['next-stage']).toBe('freeze');
});

test('a stage runs from a laptop, and the journal names the person', {
  timeout: 60_000,
}, async () => {
  const secrets = await mkdtemp(join(tmpdir(), 'mail-cutover-secrets-'));
  try {
    await writeFile(join(secrets, 'tsig'), dnsCredentials, { mode: 0o600 });
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...[
        'src/driver/stage.ts',
        'prepare',
        '--config',
        join(migration.workspace, 'mail-cutover.yml'),
      ],
      ...[
        '--ssh-key-file',
        lab.sshKey.path,
        '--input-file',
        `dns-credentials=${join(secrets, 'tsig')}`,
      ],
      ...['--out', secrets],
    ]);
    expect(stdout).toContain('already done');
    expect(stdout).not.toContain(tsig.secret);
  } finally {
    await rm(secrets, { recursive: true });
  }
  const { stdout: journal } = await lab.host('old').sh('tail -n 1 "$1/journal.jsonl"', [folder]);
  expect(JSON.parse(journal)).toMatchObject({
    actor: `${userInfo().username}@${hostname()}`,
    kind: 'stage-end',
    stage: 'prepare',
  });
});

test('a dry run says what it would do and does nothing', { timeout: 60_000 }, async () => {
  const before = await lab.host('old').sh('cat "$1/journal.jsonl"', [folder]);
  const result = await migration.must('transfer', { pass: 'live', 'dry-run': 'true' });
  expect(result.log).toContain('would: ');
  expect(result.summary).toContain('dry run');
  const after = await lab.host('old').sh('cat "$1/journal.jsonl"', [folder]);
  expect(after.stdout).toBe(before.stdout);
});

test('in the freeze nothing changes a mailbox, whoever flushes', { timeout: 120_000 }, async () => {
  await freeze();
  const before = await messagesOnOld();
  const ids: string[] = [];
  for (const to of [
    virtualUser(5),
    `anna@${domains.local}`,
    special.atticUsers[0],
    special.sieve,
  ]) {
    ids.push(await send('old', to, 'file me'));
  }
  const old = lab.host('old');
  await old.mustSh('postqueue -f');
  await old.mustSh('su -s /bin/sh nobody -c "postqueue -f"');
  await old.mustSh('postfix reload');
  await old.mustSh('sendmail -q');
  await old.mustSh('systemctl restart postfix postfix@-');
  await old.mustSh('postqueue -f');
  // Each held message was tried, and deferred, after the last flush.
  await waitFor('each held message was tried again', 60, async () => {
    const { stdout } = await old.sh('postqueue -j');
    const held = stdout.split('\n').filter((line) => line.includes('mailbox is being moved'));
    return held.length >= ids.length;
  });
  expect(await messagesOnOld()).toBe(before);
  for (const id of ids) expect(await copies('old', id)).toBe(0);
  for (const port of [110, 143, 465, 587, 993, 995, 4190]) {
    const { code } = await old.sh('ss -Hltn "sport = :$1" | grep -q .', [String(port)]);
    expect([port, code]).toEqual([port, 1]);
  }
});

/** As anybody with a shell on the host can: what each undo record holds, and the sum of that. */
async function undoData(host: 'old' | 'new'): Promise<Record<string, string>> {
  const said = await lab.host(host).mustSh(
    `cd "$1/undo"
     for record in */[0-9][0-9][0-9][0-9]-*; do
       (cd "$record" && sha256sum --status -c sum && printf '%s %s\n' "$record" "$(sha256sum < sum)")
     done`,
    [folder],
  );
  const lines = said.trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(' ').slice(0, 2)));
}

async function journal(): Promise<readonly Entry[]> {
  const { stdout } = await lab.host('old').sh('cat "$1/journal.jsonl"', [folder]);
  return verified(stdout, 'OLD').map((line) => JSON.parse(line) as Entry);
}

test('the journal names each undo record, its step, and what it holds', async () => {
  const standing = undoRecords(await journal()).filter(({ gone }) => gone === undefined);
  for (const host of ['old', 'new'] as const) {
    const here = standing.filter((record) => record.host === host);
    expect(Object.fromEntries(here.map(({ name, made }) => [name, made]))).toEqual(
      await undoData(host),
    );
  }
  const steps = new Map(standing.map(({ host, name, by }) => [`${host} ${name}`, by]));
  const made = [...steps].filter(([name]) => name.startsWith('old freeze/'));
  expect(made.length).toBeGreaterThan(3);
  for (const [, by] of made) expect(by).toMatch(/^freeze, ./);
});

test('rollback in the freeze: OLD serves, and delivers what it held', {
  timeout: 120_000,
}, async () => {
  const held = await send('old', virtualUser(6));
  // Edited, if without an effect: it is told, and stops nothing.
  const edited = await lab
    .host('old')
    .mustSh('cd "$1/undo"; echo >> "$(echo freeze/0000-*)/what"; echo freeze/0000-*', [folder]);
  const result = await migration.must('rollback');
  expect(result.summary).toContain(`undo record ${edited.trim()} was changed between its making`);
  const undone = undoRecords(await journal()).filter(({ name }) => name.startsWith('freeze/'));
  expect(undone.filter(({ made, gone }) => made !== gone?.sum).map(({ name }) => name)).toEqual([
    edited.trim(),
  ]);
  expect(result.outputs).toMatchObject({ state: 'rolled-back', 'next-stage': 'prepare' });
  await waitFor('what was held is delivered', 60, async () => (await copies('old', held)) === 1);
  const { stdout } = await lab
    .host('old')
    .sh('postconf -n; grep -c mail-cutover /etc/dovecot/dovecot.conf || :');
  expect(stdout).not.toContain('mail-cutover');
  const { stdout: units } = await lab.host('new').sh('systemctl is-active postfix@- dovecot || :');
  // It holds copies of the mailboxes, so it stays closed.
  expect(units.trim().split('\n')).toEqual(['inactive', 'inactive']);
});

test('the second attempt goes through, and late mail follows', { timeout: 240_000 }, async () => {
  await migration.must('prepare');
  await migration.must('transfer', { pass: 'live' });
  await freeze();
  const held = await send('old', virtualUser(7));
  await migration.must('transfer', { pass: 'final' });
  const activated = await migration.must('activate');
  expect(Number(activated.outputs['downtime-seconds'])).toBeGreaterThan(0);
  const again = await migration.must('activate');
  expect(again.outputs.changed).toBe('false');
  // As a runner leaves it that died before the flush.
  await lab.host('old').mustSh('rm "$1/flushed"', [folder]);
  const flushed = await migration.must('activate');
  expect(flushed.outputs.changed).toBe('true');
  expect((await lab.host('old').sh('test -e "$1/flushed"', [folder])).code).toBe(0);
  await migration.must('dns-cutover');
  const late = await send('old', virtualUser(8));
  for (const id of [held, late]) {
    await waitFor('late mail is on NEW', 60, async () => (await copies('new', id)) === 1);
    expect(await copies('old', id)).toBe(0);
  }
  const evidence = await migration.must('verify');
  expect(evidence.outputs.state).toBe('active+cut');
  expect(evidence.log).toMatch(/\d+ undo records, as the journal has them/);
  expect((await migration.must('drain')).outputs['next-stage']).toBe('finish');
});

test('nobody but OLD gets in by the door for late mail', { timeout: 30_000 }, async () => {
  const transport = createTransport({
    host: lab.host('new').address,
    port: 10125,
    tls: { rejectUnauthorized: false },
  });
  await expect(
    transport.sendMail({ from: 'a@elsewhere.example', to: virtualUser(1), text: 'x' }),
  ).rejects.toThrow(/554|Access denied|rejected/);
  transport.close();
});

test('both journals are the same, whole, and tell who did what', async () => {
  const [one, other] = await Promise.all(
    (['old', 'new'] as const).map(async (host) => {
      const { stdout } = await lab.host(host).sh('cat "$1/journal.jsonl"', [folder]);
      return stdout;
    }),
  );
  expect(one).toBe(other);
  const lines = verified(one ?? '', 'OLD');
  expect(lines.length).toBeGreaterThan(40);
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({ actor: expect.stringMatching(/^rehearsal$|@/) });
});

test('no secret is anywhere to be seen', { timeout: 60_000 }, async () => {
  const secrets = [
    password,
    tsig.secret,
    ...lab.sshKey.text.split('\n').filter((line) => line.length > 30 && !line.startsWith('-----')),
  ];
  const seen = [logs.join('\n')];
  // The audit bundles are folders.
  const left = await readdir(migration.workspace, { recursive: true, withFileTypes: true });
  expect(left.map(({ name }) => name)).toContain('audit.html');
  for (const file of left.filter((each) => each.isFile())) {
    seen.push(await readFile(join(file.parentPath, file.name), 'utf8'));
  }
  for (const host of ['old', 'new'] as const) {
    const { stdout } = await lab
      .host(host)
      .sh(
        'cat "$1/journal.jsonl"; find "$1" -type f -path "*undo*" -exec cat {} +; journalctl --no-pager -o cat -t sudo -t sshd',
        [folder],
      );
    seen.push(stdout);
  }
  for (const secret of secrets) {
    for (const text of seen) expect(text.includes(secret)).toBe(false);
  }
});
