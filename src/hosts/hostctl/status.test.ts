import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { base, freeze, hostctl, hostctlPath, setUpHostctl, well } from './hostctl-under-test.ts';

setUpHostctl();

describe('the greeting', () => {
  it('says in one line why mail stands still, and nothing when it does not', () => {
    expect(well(['greeting'])).toBe('');
    freeze();
    expect(well(['greeting'])).toMatch(/mailboxes are frozen until \d{4}-/);
    well(['release', '1']);
    expect(well(['greeting'])).toContain('mail has moved to the other host');
  });
});

describe('small files', () => {
  it('appends only to what the writer believes is there, else 92', () => {
    well(['append', 'journal.jsonl', '0'], 'ä\n');
    well(['append', 'journal.jsonl', '3'], 'b\n');
    expect(hostctl(['append', 'journal.jsonl', '3'], 'c\n')).toMatchObject({
      code: 92,
      stderr: 'journal.jsonl has 5 bytes, not 3: somebody else wrote to it\n',
    });
    expect(readFileSync(join(base, 'journal.jsonl'), 'utf8')).toBe('ä\nb\n');
  });

  it('appends a line longer than a pipe holds', () => {
    const line = `${'x'.repeat(300_000)}\n`;
    well(['append', 'journal.jsonl', '0'], line);
    expect(readFileSync(join(base, 'journal.jsonl'), 'utf8') === line).toBe(true);
  });

  it('writes and removes, readable by nobody else', () => {
    well(['put', 'owner'], 'x');
    expect(lstatSync(join(base, 'owner')).mode & 0o777).toBe(0o600);
    well(['put', 'owner'], 'y');
    expect(readFileSync(join(base, 'owner'), 'utf8')).toBe('y');
    well(['remove', 'owner']);
    well(['remove', 'owner']);
    expect(readdirSync(dirname(hostctlPath()))).toEqual(['hostctl']);
    expect(readdirSync(base)).toEqual(['bin']);
  });
});
