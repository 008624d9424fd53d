import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import packet, { type Answer } from 'dns-packet';
import { lagging } from '../../src/dns/authority.ts';

/**
 * Run in a network namespace that has a loopback and no route: a zone whose name servers have IPv6
 * addresses that can't be reached from here. Prints what `lagging` says.
 */

const ttl = 60;
const records: Answer[] = [
  { type: 'SOA', name: 'z.example', ttl, data: { mname: 'ns1.z.example', rname: 'h', serial: 1 } },
  { type: 'NS', name: 'z.example', ttl, data: 'both.z.example' },
  { type: 'NS', name: 'z.example', ttl, data: 'six.z.example' },
  { type: 'A', name: 'both.z.example', ttl, data: '127.0.0.1' },
  { type: 'AAAA', name: 'both.z.example', ttl, data: '2001:db8::1' },
  { type: 'AAAA', name: 'six.z.example', ttl, data: '2001:db8::6' },
  { type: 'A', name: 'mail.z.example', ttl, data: '192.0.2.1' },
];

const server = createSocket('udp4');
server.on('message', (bytes, from) => {
  const { id, questions = [] } = packet.decode(bytes);
  const answers = records.filter(
    ({ name, type }) => name === questions[0]?.name && type === questions[0].type,
  );
  const flags = packet.AUTHORITATIVE_ANSWER;
  const reply = packet.encode({ type: 'response', id, flags, questions, answers });
  server.send(reply, from.port, from.address);
});
server.bind(53, '127.0.0.1');
await once(server, 'listening');

const primary = { names: ['127.0.0.1'], address: '127.0.0.1', port: 53 };
const expected = { name: 'mail.z.example', type: 'A', ttl, values: ['192.0.2.1'] };
process.stdout.write(JSON.stringify(await lagging('z.example', primary, expected)));
server.close();
