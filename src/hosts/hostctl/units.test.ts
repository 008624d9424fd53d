import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { base, hostctl, me, setUpHostctl, standIn, temporary, well } from './hostctl-under-test.ts';

setUpHostctl();

it('a unit that ran runs again, one that did not does not', () => {
  writeFileSync(join(temporary, 'active-a.service'), '');
  well(['stop', 'g', 'stop-a', 'a.service']);
  well(['stop', 'g', 'stop-b', 'b.service']);
  well(['stop', 'g', 'stop-a', 'a.service']);
  expect(existsSync(join(temporary, 'active-a.service'))).toBe(false);
  well(['undo', 'g']);
  expect(existsSync(join(temporary, 'active-a.service'))).toBe(true);
  expect(existsSync(join(temporary, 'active-b.service'))).toBe(false);
});

it('units that are stopped together are remembered one by one', () => {
  writeFileSync(join(temporary, 'active-a.service'), '');
  writeFileSync(join(temporary, 'active-c.timer'), '');
  const words = ['stop-a', 'a.service', 'stop-b', 'b.service', 'stop-c', 'c.timer'];
  for (let time = 0; time < 2; time += 1) well(['stop', 'g', ...words]);
  const active = () => readdirSync(temporary).filter((name) => name.startsWith('active-'));
  expect(active()).toEqual([]);
  well(['undo', 'g']);
  expect(active()).toEqual(['active-a.service', 'active-c.timer']);
});

it('Postfix is waited for by its processes, and all else by systemd', () => {
  const units = ['postfix.service', 'postfix@-.service', 'dovecot.service'];
  for (const unit of units) writeFileSync(join(temporary, `active-${unit}`), '');
  standIn('find', '[ ! -e "$STATE/postfix-runs" ] || echo /proc/1/exe');
  writeFileSync(join(temporary, 'postfix-runs'), '');
  standIn('sleep', 'rm -f "$STATE/postfix-runs"');
  well(['stop', 'g', ...units.flatMap((unit) => [`stop-${unit}`, unit])]);
  expect(existsSync(join(temporary, 'postfix-runs'))).toBe(false);
  const stops = readFileSync(join(temporary, 'systemctl.log'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('stop'));
  expect(stops).toEqual([`stop --no-block ${units.join(' ')}`, 'stop dovecot.service']);
  well(['undo', 'g']);
  for (const unit of units) expect(existsSync(join(temporary, `active-${unit}`))).toBe(true);
});

it('a fence that is lifted starts what ran and what is asked for, and goes later, reloading nothing', () => {
  writeFileSync(join(temporary, 'active-a.service'), '');
  well(['stop', 'fence', 'stop-a', 'a.service', 'stop-b', 'b.service']);
  well(['file', 'fence', 'drop-in', join(temporary, 'units/a.service.d/x.conf'), '644', me], 'x');
  writeFileSync(join(base, 'fenced'), '');
  expect(hostctl(['lift-fence', 'c.service']).code).not.toBe(0);
  expect(existsSync(join(base, 'fenced'))).toBe(true);
  writeFileSync(join(base, 'owner'), '');
  well(['lift-fence', 'c.service']);
  const active = () => readdirSync(temporary).filter((name) => name.startsWith('active-'));
  expect(active()).toEqual(['active-a.service', 'active-c.service']);
  expect(existsSync(join(base, 'fenced'))).toBe(false);
  expect(existsSync(join(base, 'undo/fence'))).toBe(true);
  standIn('doveadm', 'echo "$*" >> "$STATE/doveadm.log"');
  writeFileSync(join(temporary, 'active-dovecot'), '');
  well(['undo', 'fence', 'units']);
  expect(existsSync(join(temporary, 'units/a.service.d'))).toBe(false);
  expect(existsSync(join(temporary, 'doveadm.log'))).toBe(false);
  // Once more: nothing is left of it.
  well(['lift-fence', 'c.service']);
  expect(active()).toEqual(['active-a.service', 'active-c.service', 'active-dovecot']);
});

it('a unit of ours serves until it is taken back', () => {
  well(['serve', 'g', 'ours', 'ours.service']);
  well(['serve', 'g', 'ours', 'ours.service']);
  expect(existsSync(join(temporary, 'active-ours.service'))).toBe(true);
  well(['undo', 'g']);
  expect(existsSync(join(temporary, 'active-ours.service'))).toBe(false);
  expect(readFileSync(join(temporary, 'systemctl.log'), 'utf8')).toContain(
    'disable -q --now ours.service',
  );
});
