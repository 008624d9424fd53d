import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  background,
  base,
  expire,
  freeze,
  hostctl,
  setUpHostctl,
  standIn,
  temporary,
  until,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

describe('freeze, thaw and release', () => {
  const frozen = () => existsSync(join(base, 'frozen'));

  it('goes on closing nothing once the limit has passed in the middle of it', () => {
    freeze();
    writeFileSync(join(base, 'deadline'), '1');
    expect(well(['thaw-when-due'])).toBe('thawed');
    expect(hostctl(['stop', 'freeze', 'stop-mail', 'mail.service'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('the freeze has reached its limit'),
    });
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('reaches its limit although a command is under way, which is ended', async () => {
    freeze();
    const started = join(temporary, 'started');
    const text = ': > "$1"; while :; do sleep 0.01; done';
    const running = background(['run', '1', 'sh', '-c', text, 'sh', started]);
    await until(() => existsSync(started), 'the command has started');
    expect(well(['thaw-when-due'])).toBe('');
    writeFileSync(join(base, 'deadline'), '1');
    expect(well(['thaw-when-due'])).toBe('thawed');
    expect(frozen()).toBe(false);
    expect(await running.ended).toMatchObject({ code: null });
  }, 60_000);

  it('lets a fenced host send on what still comes to it', () => {
    freeze();
    well(['thaw']);
    writeFileSync(join(base, 'fenced'), '');
    well(['stop', 'freeze', 'stop-mail', 'mail.service']);
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(false);
  });

  it('arms a timer that thaws, and thaw takes everything back', () => {
    freeze();
    expect(frozen()).toBe(true);
    expect(readFileSync(join(temporary, 'units/mail-cutover-example-thaw.timer'), 'utf8')).toMatch(
      /^OnCalendar=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\nOnBootSec=30$/m,
    );
    expect(
      readFileSync(join(temporary, 'units/mail-cutover-example-thaw.service'), 'utf8'),
    ).toContain(`ExecStart=${base}/bin/hostctl thaw-when-due\nRestart=on-failure\n`);
    expect(well(['thaw'])).toBe('thawed');
    expect(frozen()).toBe(false);
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(readFileSync(join(temporary, 'systemctl.log'), 'utf8')).toContain(
      'disable --no-reload --now mail-cutover-example-thaw.timer',
    );
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('releases only what is frozen', () => {
    well(['lock', 'a', '90', '0']);
    expect(hostctl(['release', '1'])).toMatchObject({
      code: 1,
      stderr: 'not frozen (thawed at ?): nothing was released\n',
    });
    freeze();
    well(['thaw']);
    expect(hostctl(['release', '2']).stderr).toMatch(
      /^not frozen \(thawed at 20\S+Z\): nothing was released\n$/,
    );
    expect(existsSync(join(base, 'released'))).toBe(false);
  });

  it('refuses to thaw or to freeze after the release, which may be repeated', () => {
    freeze();
    const when = well(['release', '1']);
    expect(well(['release', '1'])).toBe(when);
    expect(hostctl(['thaw'])).toMatchObject({
      code: 94,
      stderr: `service was handed over at ${when}; use the rollback stage, or activate\n`,
    });
    expect(hostctl(['begin-freeze', '30']).stderr).toBe(
      `service was already handed over at ${when}\n`,
    );
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(false);
  });

  it('refuses a release under an older number', () => {
    freeze();
    expire();
    well(['lock', 'b', '90', '0']);
    expect(hostctl(['release', '1'])).toMatchObject({ code: 91 });
    expect(existsSync(join(base, 'released'))).toBe(false);
  });

  it('either thaws or releases, never both, when both come at once', async () => {
    for (let round = 0; round < 8; round += 1) {
      freeze();
      const number = readFileSync(join(base, 'lock/number'), 'utf8');
      const [thawed, released] = await Promise.all([
        background(['thaw']).ended,
        background(['release', number]).ended,
      ]);
      expect([thawed.code === 0, released.code === 0].sort()).toEqual([false, true]);
      expect(existsSync(join(temporary, 'active-mail.service'))).toBe(thawed.code === 0);
      expect(existsSync(join(base, 'released'))).toBe(released.code === 0);
      rmSync(join(base, 'released'), { force: true });
      rmSync(join(base, 'undo'), { recursive: true, force: true });
    }
  });

  it('is owner or has released, never both, and takes only when it no longer forwards', () => {
    const marks = () =>
      ['owner', 'released', 'forwarding'].filter((mark) => existsSync(join(base, mark)));
    freeze();
    expect(hostctl(['begin-forward', 'mail-cutover:[other]']).stderr).toContain('must not forward');
    well(['release', '1']);
    expect(marks()).toEqual(['released']);
    well(['begin-forward', 'mail-cutover:[other]']);
    expect(hostctl(['take', '1']).stderr).toContain('still forwards');
    expect(hostctl(['dismantle']).stderr).toContain('is not fenced');
    well(['remove', 'forwarding']);
    well(['take', '1']);
    well(['take', '1']);
    expect(marks()).toEqual(['owner']);
    expect(well(['thaw'])).toBe('thawed');
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    freeze();
    const [number] = [readFileSync(join(base, 'lock/number'), 'utf8')];
    well(['release', number]);
    expect(marks()).toEqual(['released']);
    expect(hostctl(['take', '1'])).toMatchObject({ code: 91 });
  });

  it('a thaw that was cut off before it flushed is made to its end', () => {
    standIn('postfix', 'exit 0');
    standIn('postqueue', 'echo flush >> "$STATE/flushes"; exit 1');
    // What follows the undo fails, as if it were cut off there.
    const program = join(base, 'bin/examplectl');
    writeFileSync(program, `#!/bin/sh\n[ "$2" != thawed ] || [ ! -e ${temporary}/fails ]\n`, {
      mode: 0o755,
    });
    writeFileSync(join(temporary, 'fails'), '');
    well(['begin-freeze', '10']);
    well(['postconf', 'freeze', 'relayhost', 'x']);
    expect(hostctl(['thaw']).code).not.toBe(0);
    expect(existsSync(join(base, 'undo/freeze'))).toBe(false);
    expect(existsSync(join(temporary, 'flushes'))).toBe(false);
    rmSync(join(temporary, 'fails'));
    // That the queue could not be flushed is no reason to thaw again and again.
    expect(hostctl(['thaw'])).toEqual({
      code: 0,
      stdout: 'thawed\n',
      stderr: 'the queue could not be flushed\n',
    });
    expect(readFileSync(join(temporary, 'flushes'), 'utf8')).toBe('flush\n');
    expect(well(['thaw'])).toBe('not frozen');
  });

  it('lets a thaw that was cut off half-way be finished, and no release come between', () => {
    freeze();
    writeFileSync(join(temporary, 'fails-mail.service'), '');
    expect(hostctl(['thaw']).code).not.toBe(0);
    expect(hostctl(['release', '1'])).toMatchObject({ code: 1 });
    rmSync(join(temporary, 'fails-mail.service'));
    expect(well(['thaw'])).toBe('thawed');
    expect(existsSync(join(temporary, 'active-mail.service'))).toBe(true);
    expect(well(['thaw'])).toBe('not frozen');
  });
});
