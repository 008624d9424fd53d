import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import { refusal } from './refusal.ts';

const context = { zone: 'z.example', server: '192.0.2.53 port 53', keyName: 'k' };

describe('refusal', () => {
  it.each([
    ['BADSIG', /secret.*dns-credentials/],
    ['BADKEY', /does not know TSIG key k/],
    ['BADTIME', /clocks.*NTP/],
    ['BADTRUNC', /longer signature/],
    ['NOTAUTH', /not authoritative for z\.example/],
    ['REFUSED', /update policy/],
    ['NOTZONE', /within the zone/],
    ['SERVFAIL', /log/],
    ['NOTIMP', /RFC 2136/],
    ['no reply', /TCP/],
  ])('%s has its own cure', (code, cure) => {
    const error = refusal(code, `update failed: ${code}`, context);
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toMatch(cure);
    expect(error.message).toMatch(/z\.example at 192\.0\.2\.53 port 53/);
    expect(error.message).not.toContain('\n');
    expect(String(error.cause)).toContain(`update failed: ${code}`);
  });

  it('shows the first line of anything else', () => {
    expect(refusal('unknown', '\nsyntax error\nmore', context).message).toContain('syntax error');
  });
});
