import packet, { type Answer } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import {
  absoluteName,
  absoluteValue,
  canonicalName,
  canonicalValue,
  presentData,
} from './rdata.ts';

describe('canonicalValue', () => {
  it.each([
    ['A', '192.0.2.1', '192.0.2.1'],
    ['AAAA', '2001:0DB8:0:0::0001', '2001:db8::1'],
    ['AAAA', '::ffff:192.0.2.1', '::ffff:c000:201'],
    ['MX', ' 10   Mail.Example.ORG. ', '10 mail.example.org'],
    ['MX', '0 .', '0 .'],
    ['CNAME', 'Host.Example.', 'host.example'],
    ['NS', 'ns1.example.', 'ns1.example'],
    ['PTR', 'mail.example', 'mail.example'],
    ['SRV', '0 1 993 IMAP.example.', '0 1 993 imap.example'],
    ['TXT', 'v=spf1 mx -all', '"v=spf1 mx -all"'],
    ['TXT', '"v=DKIM1; k=rsa"   "p=\\"x\\\\\\065"', '"v=DKIM1; k=rsa" "p=\\"x\\\\A"'],
    ['TXT', 'ümlaut\n', '"\\195\\188mlaut"'],
    ['TXT', '"line\\010end"', '"line\\010end"'],
    ['TLSA', '3 1 1 0A 1B', '3 1 1 0a1b'],
    ['CAA', '0 Issue ca.example', '0 issue "ca.example"'],
    [
      'CAA',
      '128 issue "ca.example; accounturi=https://a.example/1"',
      '128 issue "ca.example; accounturi=https://a.example/1"',
    ],
    ['SOA', 'NS. Host.example. 1 2 3 4 5', 'ns host.example 1 2 3 4 5'],
  ])('%s %s', (type, text, canonical) => {
    expect(canonicalValue(type, text)).toBe(canonical);
    expect(canonicalValue(type, canonical)).toBe(canonical);
  });

  it.each([
    ['A', '192.0.2.01'],
    ['A', '192.0.2.1\nserver 192.0.2.9'],
    ['AAAA', '192.0.2.1'],
    ['AAAA', 'fe80::1%eth0'],
    ['MX', 'mail.example'],
    ['MX', '70000 mail.example'],
    ['CNAME', 'a b'],
    ['CNAME', 'host.example\nsend'],
    ['NS', 'a..b'],
    ['SRV', '1 2 mail.example'],
    ['TXT', '"open'],
    ['TXT', '"one" two'],
    ['TXT', '"one""two"'],
    ['TXT', '"\\999"'],
    ['TLSA', '3 1 1 abc'],
    ['CAA', '0 issue'],
    ['SOA', 'a b 1'],
    ['HINFO', 'x y'],
  ])('refuses %s %s', (type, text) => {
    expect(() => canonicalValue(type, text)).toThrow(UserError);
  });

  it('cuts a long string into pieces of 255 bytes', () => {
    const text = canonicalValue('TXT', 'x'.repeat(600));
    expect(text.split(' ').map((piece) => piece.length - 2)).toEqual([255, 255, 90]);
  });
});

describe('presentData', () => {
  const samples: Answer[] = [
    { type: 'A', name: 'x.example', data: '192.0.2.1' },
    { type: 'AAAA', name: 'x.example', data: '2001:db8::1' },
    { type: 'MX', name: 'x.example', data: { preference: 10, exchange: 'mail.example' } },
    { type: 'MX', name: 'x.example', data: { preference: 0, exchange: '.' } },
    { type: 'CNAME', name: 'x.example', data: 'y.example' },
    { type: 'NS', name: 'x.example', data: 'y.example' },
    { type: 'PTR', name: 'x.example', data: 'y.example' },
    { type: 'TXT', name: 'x.example', data: ['one "two"', 'three\n\\'] },
    {
      type: 'SRV',
      name: 'x.example',
      data: { priority: 0, weight: 1, port: 993, target: 'y.example' },
    },
    {
      type: 'TLSA',
      name: 'x.example',
      data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.from('0a1b', 'hex') },
    },
    { type: 'CAA', name: 'x.example', data: { flags: 0, tag: 'issue', value: 'ca.example; a=b' } },
    {
      type: 'SOA',
      name: 'x.example',
      data: {
        mname: 'ns.example',
        rname: 'h.example',
        serial: 9,
        refresh: 1,
        retry: 2,
        expire: 3,
        minimum: 4,
      },
    },
  ];

  const written = new Map(
    [
      '192.0.2.1',
      '2001:db8::1',
      '10 mail.example',
      '0 .',
      'y.example',
      'y.example',
      'y.example',
      '"one \\"two\\"" "three\\010\\\\"',
      '0 1 993 y.example',
      '3 1 1 0a1b',
      '0 issue "ca.example; a=b"',
      'ns.example h.example 9 1 2 3 4',
    ].map((text, i) => [samples[i], text]),
  );

  it.each(samples.map((sample) => [sample.type, sample] as const))(
    'writes %s from the wire as the canonical text',
    (type, sample) => {
      const [answer] =
        packet.decode(packet.encode({ type: 'response', answers: [sample] })).answers ?? [];
      const text = presentData(type, answer && 'data' in answer && answer.data);
      expect(canonicalValue(type, text)).toBe(text);
      expect(text).toBe(written.get(sample));
    },
  );
});

describe('names', () => {
  it('have one spelling', () => {
    expect(canonicalName('Mail.Example.')).toBe('mail.example');
    expect(canonicalName('.')).toBe('.');
    expect(absoluteName('Mail.Example')).toBe('mail.example.');
    expect(absoluteName('.')).toBe('.');
  });

  it('are absolute within record data for nsupdate', () => {
    expect(absoluteValue('MX', '10 mail.example')).toBe('10 mail.example.');
    expect(absoluteValue('MX', '0 .')).toBe('0 .');
    expect(absoluteValue('SRV', '0 1 993 mail.example')).toBe('0 1 993 mail.example.');
    expect(absoluteValue('CNAME', 'y.example')).toBe('y.example.');
  });
});
