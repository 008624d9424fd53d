import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  activate,
  arrived,
  copies,
  folder,
  freeze,
  type Scene,
  scene,
  send,
  serves,
  transferred,
  withoutDns,
} from '../faults/scene.ts';
import { waitFor } from '../lab/process.ts';
import { virtualUser } from '../lab/world.ts';

/*
 * What is left of a runner that died or slept; a disk without a free byte; a host that is off for good.
 * One migration goes through all of it. Both hosts have small disks.
 */

let here: Scene;

beforeAll(async () => {
  here = await scene(withoutDns);
  for (const host of ['old', 'new'] as const) {
    await here.lab.host(host).powerCut();
    await here.lab.host(host).boot({ disk: '96m' });
  }
  await here.migration.must('prepare');
});
afterAll(() => here?.end());

/** Stands before perl on OLD, so that a pass begins and never ends. */
const hang = `cat > /usr/local/bin/perl <<'END'
#!/bin/sh
case "$*" in *'mirror.pl detach'*) echo $$ > /run/hangs.new; mv /run/hangs.new /run/hangs; sleep 3600 & wait ;; esac
exec /usr/bin/perl "$@"
END
chmod 755 /usr/local/bin/perl; rm -f /run/hangs`;

/** A live pass that hangs on OLD; what its runner's process group and its process on OLD are called. */
async function hangingPass() {
  const old = here.lab.host('old');
  await old.mustSh(hang);
  let group = 0;
  const result = here.migration.run(
    'transfer',
    { pass: 'live' },
    {
      onStart: (pid) => {
        group = pid;
      },
    },
  );
  await waitFor('the pass hangs', 60, async () => (await old.sh('[ -e /run/hangs ]')).code === 0);
  const process_ = (await old.mustSh('cat /run/hangs; rm /usr/local/bin/perl')).trim();
  return {
    result,
    signal: (name: NodeJS.Signals) => process.kill(-group, name),
    process: process_,
  };
}

/** The lease of the lock runs out, by each host's own clock. */
async function expire(): Promise<void> {
  for (const host of ['old', 'new'] as const)
    await here.lab.host(host).mustSh(`printf 1 > ${folder}/lock/expires`);
}

const isGone = async (pid: string) =>
  (await here.lab.host('old').sh(`[ -e /proc/${pid} ]`)).code !== 0;

/** Stands before tar on OLD, so that a first pass waits in its middle. */
const waitInTar = `cat > /usr/local/bin/tar <<'END'
#!/bin/sh
case "$*" in '-c '*) while [ ! -e /run/go ]; do sleep 0.1; done ;; esac
exec /usr/bin/tar "$@"
END
chmod 755 /usr/local/bin/tar; rm -f /run/go`;

test('a job was killed in a live pass: it goes on, and the next job goes on with it', {
  timeout: 180_000,
}, async () => {
  const { lab, migration } = here;
  const [old, target] = [lab.host('old'), lab.host('new')];
  await old.mustSh(waitInTar);
  const number = () => target.mustSh(`cat ${folder}/lock/number`);
  let group = 0;
  const onStart = (pid: number) => {
    group = pid;
  };
  const result = migration.run('transfer', { pass: 'live' }, { onStart });
  const inTar = async () => (await target.sh('pgrep -x tar')).code === 0;
  await waitFor('the pass is in tar', 60, inTar);
  const pass = await old.mustSh('cat /run/mail-cutover-orchard-pass/pid');
  const writer = await target.mustSh('pgrep -x tar');
  process.kill(-group, 'SIGKILL');
  expect((await result).log).toContain('the pass goes on by itself');
  const before = await number();
  const next = migration.run('transfer', { pass: 'live' });
  await waitFor('the next job has the lock', 60, async () => (await number()) !== before);
  const admitted = () => target.sh('grep "mail-cutover orchard pass$" /root/.ssh/authorized_keys');
  await waitFor('the door is under its number', 60, async () => {
    const { stdout } = await target.sh('cat /run/mail-cutover-orchard/lock');
    return stdout.trim() === (await number()).trim();
  });
  expect((await admitted()).code).toBe(0);
  expect(await isGone(pass.trim())).toBe(false);
  expect(await target.mustSh('pgrep -x tar')).toBe(writer);
  await old.mustSh('touch /run/go; rm /usr/local/bin/tar');
  const { code, log } = await next;
  expect(code, log).toBe(0);
  expect(log).toContain('this job goes on with it');
  expect(log).toContain('the most by tar');
  expect((await admitted()).code).not.toBe(0);
});

test('one end of a pass is left on NEW, of a host that is gone: it keeps nobody out', {
  timeout: 180_000,
}, async () => {
  const { lab, migration } = here;
  const target = lab.host('new');
  const left = `exec 9>> ${folder}/transfer-lock; flock 9; touch /run/left; sleep 600 & wait`;
  await target.mustSh(
    `setsid ${folder}/bin/hostctl run $(cat ${folder}/lock/number) sh -c '${left}' mirror.pl receive < /dev/null > /dev/null 2>&1 &`,
  );
  await waitFor('it waits', 60, async () => (await target.sh('[ -e /run/left ]')).code === 0);
  const { log } = await migration.must('transfer', { pass: 'live' });
  expect(log).not.toContain('by rsync');
});

/** Whatever a test has left standing before programs of OLD, so that the next one does not meet it. */
afterEach(async () => {
  const old = here.lab.host('old');
  if (old.running) await old.sh('touch /run/go; rm -f /usr/local/bin/tar /usr/local/bin/perl');
});

test('a job was killed in a pass: its post step ends what it left, and the next one goes on', {
  timeout: 180_000,
}, async () => {
  const pass = await hangingPass();
  pass.signal('SIGKILL');
  await pass.result;
  expect(await isGone(pass.process)).toBe(true);
  await here.migration.must('transfer', { pass: 'live' });
});

test('a runner that slept past its lease: what it left is ended, and it can change nothing', {
  timeout: 180_000,
}, async () => {
  const pass = await hangingPass();
  pass.signal('SIGSTOP');
  const refused = await here.migration.run('transfer', { pass: 'live' });
  expect(refused.log).toContain('is at work on this migration');
  expect(await isGone(pass.process)).toBe(false);
  await expire();
  await here.migration.must('transfer', { pass: 'live' });
  expect(await isGone(pass.process)).toBe(true);
  const before = await here.lab.host('old').mustSh(`cat ${folder}/journal.jsonl`);
  pass.signal('SIGCONT');
  const { code, log } = await pass.result;
  expect(code).not.toBe(0);
  expect(log).toMatch(/was taken over by lock \d+/);
  expect(await here.lab.host('old').mustSh(`cat ${folder}/journal.jsonl`)).toBe(before);
});

test('OLD thaws by hand with a disk that is full', { timeout: 180_000 }, async () => {
  const old = here.lab.host('old');
  await freeze(here);
  await old.fill();
  expect((await old.sh(`printf x > /var/lib/mail-cutover/x`)).code).not.toBe(0);
  await old.mustSh(`${folder}/bin/hostctl thaw`);
  expect(await serves(here, 'old')).toBe(true);
  await old.empty();
  const id = await send(here, 'old', virtualUser(1));
  await arrived(here, 'old', id);
});

test('rollback works with a disk of OLD that is full', { timeout: 180_000 }, async () => {
  const old = here.lab.host('old');
  await here.migration.must('transfer', { pass: 'live' });
  await freeze(here);
  await here.migration.must('transfer', { pass: 'final' });
  expect(await old.mustSh(`stat -c %s ${folder}/reserve`)).toBe('4194304\n');
  await old.fill();
  const back = await here.migration.must('rollback');
  expect(back.outputs.state).toBe('rolled-back');
  expect(await serves(here, 'old')).toBe(true);
  await old.empty();
  const journal = await old.mustSh(`tail -n 1 ${folder}/journal.jsonl`);
  expect(JSON.parse(journal)).toMatchObject({ kind: 'stage-end', stage: 'rollback', ok: true });
});

test('both hosts are rebooted after the final pass: rollback, and once more', {
  timeout: 240_000,
}, async () => {
  const { lab, migration } = here;
  await transferred(here);
  await Promise.all([lab.host('old').reboot(), lab.host('new').reboot()]);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([false, false]);
  await migration.must('rollback');
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  // NEW has copies of the mailboxes: it stays fenced, whoever asks again.
  await migration.must('rollback');
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
});

test('NEW serves and a disk is full: back only where the mail fits, and then all of it', {
  timeout: 300_000,
}, async () => {
  const { lab, migration } = here;
  const [old, target] = [lab.host('old'), lab.host('new')];
  await activate(here);
  const id = await send(here, 'new', virtualUser(2));
  await arrived(here, 'new', id);
  const journal = () => old.mustSh(`cat ${folder}/journal.jsonl`);
  const before = await journal();
  await old.fill();
  const refused = await migration.run('rollback');
  expect(refused.log).toMatch(
    /has \d\.\d MiB free, but NEW's mail takes \d+\.\d MiB, .* make room there, then run rollback again\. Nothing was changed/,
  );
  expect(await journal()).toBe(before);
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([false, true]);
  await old.empty();
  await target.fill();
  await migration.must('rollback');
  await target.empty();
  expect([await serves(here, 'old'), await serves(here, 'new')]).toEqual([true, false]);
  expect(await copies(here, 'old', id)).toBe(1);
});

test('OLD died after the final pass: NEW goes on alone, to the end', {
  timeout: 300_000,
}, async () => {
  const { lab, migration } = here;
  await transferred(here);
  const alive = await migration.run('activate', { 'declare-dead': 'old' });
  expect(alive.log).toContain('it answers, so it is not dead');
  await lab.host('old').powerCut();
  const dead = { 'declare-dead': 'old' };
  const active = await migration.must('activate', dead);
  expect(await serves(here, 'new')).toBe(true);
  for (const stage of ['dns-cutover', 'verify', 'drain'] as const)
    await migration.must(stage, dead);
  const words = await migration.run('finish', {
    ...dead,
    'plan-digest': active.outputs['plan-digest'] ?? '',
    'erase-old-mail': 'erase the mail of orchard',
  });
  expect(words.log).toContain('its mail can not be erased');
  const end = await migration.must('finish', {
    ...dead,
    'plan-digest': active.outputs['plan-digest'] ?? '',
  });
  expect(end.outputs.state).toBe('finished+cut');
  const journal = await lab.host('new').mustSh(`cat ${folder}/journal.jsonl`);
  const notes = journal
    .split('\n')
    .filter((line) => line.includes('"step":"declare-dead"') && line.includes('"kind":"note"'));
  expect(notes.map((line) => JSON.parse(line).stage)).toEqual([
    'activate',
    'dns-cutover',
    'verify',
    'drain',
    'finish',
  ]);
  const id = await send(here, 'new', virtualUser(1));
  await arrived(here, 'new', id);
});
