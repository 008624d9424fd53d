import packet from 'dns-packet';
import { expect, it } from 'vitest';
import { soaData } from './soa.ts';

const soa = {
  mname: 'ns1.orchard.example',
  rname: 'hostmaster.orchard.example',
  serial: 7,
  refresh: 1,
  retry: 2,
  expire: 3,
  minimum: 4,
};

const names = Buffer.from(
  '\x03ns1\x07orchard\x07example\x00\x0ahostmaster\x07orchard\x07example\x00',
  'latin1',
);
const data = Buffer.concat([names, Buffer.from('0000000700000001000000020000000300000004', 'hex')]);

const reply = packet.encode({
  type: 'response',
  id: 1,
  questions: [{ type: 'SOA', name: 'orchard.example' }],
  answers: [
    { type: 'TXT', name: 'orchard.example', data: 'before it' },
    { type: 'SOA', name: 'orchard.example', data: soa },
  ],
});

it('gives the data of the SOA record, whatever comes before it', () => {
  expect(soaData(reply)).toBe(`\\# ${data.length} ${data.toString('hex')}`);
});

it('follows pointers within the data', () => {
  // "orchard.example" of the question begins at 12.
  const pointed = Buffer.concat([
    Buffer.from('\x03ns1\xc0\x0c\x0ahostmaster\xc0\x0c', 'latin1'),
    data.subarray(names.length),
  ]);
  const header = reply.subarray(0, 12);
  header.writeUInt16BE(1, 6);
  const question = reply.subarray(12, 12 + 17 + 4);
  const record = Buffer.from([0xc0, 0x0c, 0, 6, 0, 1, 0, 0, 0, 9, 0, pointed.length]);
  expect(soaData(Buffer.concat([header, question, record, pointed]))).toBe(
    `\\# ${data.length} ${data.toString('hex')}`,
  );
});

it('gives nothing where there is none', () => {
  const without = packet.encode({
    type: 'response',
    questions: [{ type: 'SOA', name: 'orchard.example' }],
  });
  expect(soaData(without)).toBeUndefined();
});

it('does not run in circles', () => {
  const circle = Buffer.alloc(16);
  circle.writeUInt16BE(1, 4);
  circle.writeUInt16BE(0xc00c, 12);
  expect(() => soaData(circle)).toThrow(RangeError);
});
