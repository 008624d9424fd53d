import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hostScript } from './hostctl.ts';
import {
  base,
  hostctl,
  hostctlPath,
  install,
  me,
  setUpHostctl,
  shells,
  temporary,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

describe('the program', () => {
  it.each(shells)('is understood by %s', (shell) => {
    install(shell);
    expect(well(['lock', 'a', '90', '0'])).toBe('1');
    writeFileSync(join(temporary, 'etc/x.conf'), 'a\nb');
    well(['run', '1', hostctlPath(), 'block', 'g', 'x', join(temporary, 'etc/x.conf')], 'ours');
    expect(readFileSync(join(temporary, 'etc/x.conf'), 'utf8')).toContain('\nours\n');
    well(['run', '1', hostctlPath(), 'undo', 'g']);
    expect(readFileSync(join(temporary, 'etc/x.conf'), 'utf8')).toBe('a\nb');
    expect(hostctl(['run', '0', 'true'])).toMatchObject({ code: 91 });
    expect(well(['status'])).toContain('lock 1 held by a');
    expect(hostctl(['nonsense'])).toMatchObject({
      code: 1,
      stderr: 'hostctl: no such word: nonsense\n',
    });
  });

  it.each(shells)('does several words in one go, each with its own input, in %s', (shell) => {
    install(shell);
    well(['lock', 'a', '90', '0']);
    const file = (name: string) => join(temporary, 'etc', name);
    writeFileSync(file('x'), 'a\n');
    const words = [
      ...['7', '4', 'block', 'g', 'x', file('x')],
      ...['0', '2', 'remove', 'nothing'],
      ...['3', '2', 'put', "it's here"],
    ];
    well(['run', '1', hostctlPath(), 'several', ...words], 'ours äyes');
    expect(readFileSync(file('x'), 'utf8')).toContain('\nours ä\n');
    expect(readFileSync(join(base, "it's here"), 'utf8')).toBe('yes');
    expect(hostctl(['several', '0', '1', 'nonsense', '1', '2', 'put', 'later'], 'x')).toMatchObject(
      { code: 1, stderr: 'hostctl: no such word: nonsense\n' },
    );
    expect(existsSync(join(base, 'later'))).toBe(false);
    // The connection was lost in the middle of the input.
    const cut = hostctl(['several', '9', '6', 'file', 'g', 'cut', file('x'), '644', me], 'half');
    expect([cut.code, cut.stderr]).toEqual([1, expect.stringContaining('not all of the input')]);
    expect(readFileSync(file('x'), 'utf8')).toContain('\nours ä\n');
  });

  const shellcheck = spawnSync('shellcheck', ['--version']).status === 0;
  it.skipIf(!shellcheck)('has nothing that shellcheck complains about', () => {
    // SC2012: `ls` lists our own records, whose names hold no odd character. SC2016: text for sh -c.
    const { stdout } = spawnSync('shellcheck', ['-s', 'sh', '-e', 'SC2012,SC2016,SC2045', '-'], {
      input: hostScript,
      encoding: 'utf8',
    });
    expect(stdout).toBe('');
  });
});
