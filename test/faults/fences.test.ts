import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../lab/process.ts';
import { virtualUser } from '../lab/world.ts';
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
} from './scene.ts';

/*
 * Between freeze and finish neither a reboot, nor an upgrade of the packages, nor a timer, nor somebody
 * who starts services by habit makes a second server; OLD thaws at its limit; and whoever logs in is told.
 */

let here: Scene;

beforeAll(async () => {
  here = await scene();
});
afterAll(() => here?.end());

/**
 * Shell text: what starts services. An upgrade is played by the packages' own scripts, with the words that
 * dpkg(1) gives them for it (Debian Policy 6.5).
 */
const habit = `for unit in dovecot postfix; do systemctl start "$unit" || :; done
export DEBIAN_FRONTEND=noninteractive DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE
for DPKG_MAINTSCRIPT_PACKAGE in dovecot-core dovecot-imapd postfix; do
  version=$(dpkg-query -W -f '\${Version}' "$DPKG_MAINTSCRIPT_PACKAGE")
  for words in 'prerm upgrade' 'postinst configure'; do
    DPKG_MAINTSCRIPT_NAME=\${words% *}
    program="/var/lib/dpkg/info/$DPKG_MAINTSCRIPT_PACKAGE.$DPKG_MAINTSCRIPT_NAME"
    if [ -e "$program" ]; then "$program" "\${words#* }" "$version" < /dev/null; fi
  done
done
systemd-run -q --on-active=0 sh -c 'systemctl restart dovecot postfix; touch /run/lab-timer'
until [ -e /run/lab-timer ]; do sleep 0.1; done
echo upgraded`;

/** Reboots both hosts, lets happen what starts services, and says who serves then. */
async function afterReboot(): Promise<readonly [boolean, boolean]> {
  const { lab } = here;
  await Promise.all([lab.host('old').reboot(), lab.host('new').reboot()]);
  for (const side of ['old', 'new'] as const)
    expect(await lab.host(side).mustSh(habit, [], { timeout: 120 })).toMatch(/upgraded\n$/);
  return [await serves(here, 'old'), await serves(here, 'new')];
}

const greeting = async (host: 'old' | 'new') =>
  (await here.lab.host(host).sh('sh -lc true')).stdout.trim();

/** Lets the limit of the freeze be in the past; hostctl reads it from this file. */
const passed = `printf '%s' "$(($(date +%s) - 5))" > ${folder}/deadline`;

test('prepared: NEW stays fenced', { timeout: 120_000 }, async () => {
  await here.migration.must('prepare');
  expect(await afterReboot()).toEqual([true, false]);
  expect(await greeting('new')).toContain('this host is fenced');
  expect(await greeting('old')).toBe('');
});

test('frozen: OLD stays frozen, and nobody serves', { timeout: 120_000 }, async () => {
  await here.migration.must('transfer', { pass: 'live' });
  await freeze(here);
  expect(await afterReboot()).toEqual([false, false]);
  expect(await greeting('old')).toContain('mailboxes are frozen until');
});

test('OLD thaws when its limit passed while it was off', { timeout: 180_000 }, async () => {
  const { lab } = here;
  const held = await send(here, 'old', virtualUser(2));
  await lab.host('old').mustSh(passed);
  await lab.host('old').powerCut();
  await lab.host('old').boot();
  await waitFor('OLD has thawed', 90, () => serves(here, 'old'));
  await arrived(here, 'old', held);
  expect(await greeting('old')).toBe('');
  expect((await here.migration.run('activate')).log).toContain('out of order');
});

test('OLD thaws at its limit by itself, without a runner', { timeout: 120_000 }, async () => {
  const { lab } = here;
  await freeze(here);
  expect(await serves(here, 'old')).toBe(false);
  // The timer that it has set for itself, brought forward.
  await lab.host('old').mustSh(
    `${passed}
     unit=/etc/systemd/system/mail-cutover-orchard-thaw.timer
     sed -i "s/^OnCalendar=.*/OnCalendar=$(date -u -d '+2 seconds' '+%Y-%m-%d %H:%M:%S UTC')/" "$unit"
     systemctl daemon-reload
     systemctl restart mail-cutover-orchard-thaw.timer`,
  );
  await waitFor('OLD has thawed', 60, () => serves(here, 'old'));
  const late = await here.migration.run('transfer', { pass: 'final' });
  expect(late.code).not.toBe(0);
});

test('active: NEW alone serves, and the limit can not thaw OLD any more', {
  timeout: 240_000,
}, async () => {
  await activate(here);
  expect(await afterReboot()).toEqual([false, true]);
  const thawed = await here.lab.host('old').sh(`${passed}; ${folder}/bin/hostctl thaw-when-due`);
  expect(thawed.code).toBe(94);
  expect(await greeting('old')).toContain('what comes here goes on to the other host');
  const late = await send(here, 'old', virtualUser(3));
  await arrived(here, 'new', late);
});

test('finish wants the approved digest, and the words to erase', { timeout: 240_000 }, async () => {
  const { migration } = here;
  await migration.must('dns-cutover');
  await migration.must('verify');
  const drained = await migration.must('drain');
  expect(drained.log).toMatch(/10\.77\.0\.1 by smtp, \d+ times/);
  const digest = drained.outputs['plan-digest'] ?? '';
  for (const [inputs, said] of [
    [{}, 'set the input plan-digest'],
    [{ 'plan-digest': 'a'.repeat(64) }, 'is not the plan'],
    [{ 'plan-digest': digest, 'erase-old-mail': 'yes' }, 'not the words asked for'],
  ] as const) {
    const refused = await migration.run('finish', { ...inputs });
    expect(refused.code).not.toBe(0);
    expect(refused.log).toContain(said);
  }
  expect(await greeting('old')).toContain('goes on to the other host');

  // What a crash leaves of a message that was never acknowledged is no mail that waits.
  await here.lab
    .host('old')
    .mustSh('install -m 600 -o postfix /dev/null /var/spool/postfix/incoming/0123456789');
  const finished = await migration.must('finish', {
    'plan-digest': digest,
    'erase-old-mail': 'erase the mail of orchard',
  });
  expect(finished.outputs.state).toBe('finished+cut');
  const saved = await readFile(finished.outputs.report ?? '', 'utf8');
  const onHost = await here.lab.host('old').mustSh(`cat ${folder}/journal.jsonl`);
  expect(saved).toBe(onHost);
});

test('finished: NEW alone serves, OLD keeps its fence, and its mail is gone', {
  timeout: 120_000,
}, async () => {
  const { lab } = here;
  expect(await afterReboot()).toEqual([false, true]);
  expect(await greeting('old')).toContain('must not start here');
  expect(await greeting('new')).toBe('');
  const left = await lab
    .host('old')
    .mustSh('find /var/vmail /home -path "*/cur/*" -type f | wc -l; ls /etc/systemd/system');
  expect(left).toMatch(/^0\n/);
  expect(left).not.toContain('thaw');
  const traces = await lab
    .host('new')
    .mustSh(`ls ${folder}; postconf -M 10125/inet; ls /etc/postfix /etc/systemd/system`);
  expect(traces).toContain('finished.json');
  expect(traces).not.toMatch(/10125|mail-cutover-orchard/);
  const id = await send(here, 'new', virtualUser(1));
  await arrived(here, 'new', id);
  expect(await copies(here, 'old', id)).toBe(0);
});
