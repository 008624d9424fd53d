import { describe, expect, it } from 'vitest';
import { parseDnsCredentials, parseTsigKey } from './credentials.ts';

const secret = Buffer.from('not really a secret').toString('base64');

describe('parseTsigKey', () => {
  it('takes hmac-sha256 where no algorithm is given', () => {
    expect(parseTsigKey('z.example', ` Key.Name.:${secret}\n`)).toEqual({
      algorithm: 'hmac-sha256',
      name: 'key.name',
      secret,
    });
    expect(parseTsigKey('z.example', `HMAC-SHA512:k:${secret}`).algorithm).toBe('hmac-sha512');
  });

  it.each([
    ['one part', secret, /1 parts/],
    ['four parts', `a:b:c:${secret}`, /4 parts/],
    ['algorithm', `hmac-rot13:k:${secret}`, /unknown algorithm/],
    ['key name', `a b:${secret}`, /key name/],
    ['command in the key name', `a\nserver:${secret}`, /key name/],
    ['empty secret', 'k:', /empty secret/],
    ['cut secret', `k:${secret.slice(0, -3)}`, /base64/],
    ['command in the secret', `k:${secret}\nsend`, /base64/],
  ])('refuses a wrong %s and never repeats the credential', (_, credential, message) => {
    const parse = () => parseTsigKey('z.example', credential);
    expect(parse).toThrow(message);
    expect(parse).toThrow(/zone z\.example/);
    expect(parse).not.toThrow(secret.slice(0, 8));
  });
});

describe('parseDnsCredentials', () => {
  const zones = ['a.example', 'b.example'];

  it('gives one credential to all zones', () => {
    const one = `k:${secret}`;
    expect(parseDnsCredentials(`\n${one}\n`, zones)).toEqual(
      new Map([
        ['a.example', one],
        ['b.example', one],
      ]),
    );
  });

  it('reads a line for each zone', () => {
    const input = `# keys\r\nA.example.=k:${secret}\r\n\r\nb.example = l:${secret}\r\n`;
    expect(parseDnsCredentials(input, zones)).toEqual(
      new Map([
        ['a.example', `k:${secret}`],
        ['b.example', `l:${secret}`],
      ]),
    );
  });

  it('does not take the padding of a secret for a zone', () => {
    expect(parseDnsCredentials('my.key:YQ==', ['a.example']).get('a.example')).toBe('my.key:YQ==');
    expect(parseDnsCredentials('dotted.token==', ['a.example']).get('a.example')).toBe(
      'dotted.token==',
    );
  });

  it('has nothing for no input', () => {
    expect(parseDnsCredentials(' \n', zones).size).toBe(0);
  });

  it.each([
    [`a.example=k:${secret}\nk:${secret}`, /^Line 2 .* not of the form/],
    [`c.example=k:${secret}`, /^Line 1 .* c\.example, which is no zone/],
    [`a.example=k:${secret}\na.example=l:${secret}`, /^Line 2 .* second credential/],
  ])('refuses wrong lines by number %#', (input, message) => {
    const parse = () => parseDnsCredentials(input, zones);
    expect(parse).toThrow(message);
    expect(parse).not.toThrow(secret.slice(0, 8));
  });
});
