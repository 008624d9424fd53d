import { createSocket, type Socket } from 'node:dgram';
import { decode, encode } from 'dns-packet';
import { afterEach, expect, test } from 'vitest';
import { domains, outside, virtualUser } from '../lab/world.ts';
import { overlap } from './expansion.ts';
import { Ledger } from './ledger.ts';
import { Mixture } from './mixture.ts';
import { Random } from './random.ts';
import { LabResolver, NoSuchName } from './resolver.ts';
import { Sender } from './sender.ts';
import { Sink } from './sink.ts';

let close: (() => Promise<void>) | undefined;
afterEach(async () => {
  await close?.();
  close = undefined;
});

test('the sink keeps what came for the outside domain, and refuses other domains', async () => {
  const sink = await Sink.start({ addresses: ['127.0.0.1'], port: 0 });
  close = () => sink.close();
  const ledger = new Ledger();
  const resolver = { mailHosts: async () => ['mx'], addresses: async () => ['127.0.0.1'] };
  const sender = new Sender({ ledger, resolver, heloName: 'out', port: sink.port, backoff: 5 });
  const friend = `friend@${outside.domain}`;
  const fixed = { from: '', subject: 's', size: 11_000_000 };
  sender.submit({ messageId: '<a@x>', recipients: [friend], ...fixed });
  sender.submit({ messageId: '<b@x>', recipients: ['who@other.example'], ...fixed });
  await sender.drained(10);
  expect(sink.received).toMatchObject([{ messageId: '<a@x>', recipient: friend }]);
  expect(ledger.deliveries.map(({ state }) => state)).toEqual(['accepted', 'refused']);
});

test('each lookup asks the name server anew, IPv6 first', async () => {
  const asked: string[] = [];
  const server: Socket = createSocket('udp4');
  server.on('message', (query, from) => {
    const { id, questions = [] } = decode(query);
    const [question] = questions;
    if (!question) return;
    asked.push(question.type);
    const data = { A: '192.0.2.1', AAAA: '2001:db8::1' }[question.type as string];
    const absent = data === undefined || question.name.startsWith('none');
    const { name } = question;
    const answer = { name, type: question.type as 'A', ttl: 300, data: data ?? '' };
    const flags = 0x0400 | (absent ? 3 : 0);
    const packet = { id: id ?? 0, type: 'response' as const, flags, questions };
    server.send(encode({ ...packet, answers: absent ? [] : [answer] }), from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  close = () => new Promise((resolve) => server.close(() => resolve()));
  const resolver = new LabResolver(`127.0.0.1:${server.address().port}`);
  expect(await resolver.addresses('mx.example')).toEqual(['2001:db8::1', '192.0.2.1']);
  await resolver.addresses('mx.example');
  expect(asked.filter((type) => type === 'A')).toHaveLength(2);
  await expect(resolver.addresses('none.example')).rejects.toThrow(NoSuchName);
  expect(await resolver.mailHosts('none.example')).toEqual(['none.example']);
});

test('the mixture has every alias, several recipients without overlap, and a few big ones', () => {
  const mixture = new Mixture({ mailboxes: 20, random: new Random(1), bigEvery: 60_000 });
  const drawn = Array.from({ length: 200 }, () => mixture.next().message);
  const recipients = new Set(drawn.flatMap((message) => message.recipients));
  expect(recipients).toContain(`pipe@${domains.local}`);
  expect(recipients).toContain(`forward@${domains.virtual}`);
  expect(recipients).toContain(virtualUser(3));
  expect(drawn.filter((message) => overlap(message.recipients))).toEqual([]);
  expect(new Set(drawn.map(({ messageId }) => messageId)).size).toBe(200);
  expect(drawn.filter(({ size }) => size > 10 * 1024 * 1024)).toHaveLength(1);
  expect(drawn.some((message) => message.recipients.length === 5)).toBe(true);
});
