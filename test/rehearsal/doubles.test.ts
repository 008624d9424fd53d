import { expect, it } from 'vitest';
import { unheardReplies } from './doubles.ts';
import type { LogLine } from './serving.ts';

const line = (at: number, text: string, boot = 'first'): LogLine => ({
  ...{ at, boot, text },
  ...{ program: 'postfix', pid: '1' },
});
const finding = { messageId: '<1@elsewhere.example>', mailbox: 'u001@orchard.example' };

const taken = line(1, 'AB12: message-id=<1@elsewhere.example>');
const stored = line(
  2,
  'lmtp(u001@orchard.example)<374><1F>: msgid=<1@elsewhere.example>: saved mail to INBOX',
);
const sent = (at: number, boot?: string) =>
  line(
    at,
    'AB12: to=<u001@orchard.example>, relay=mail[private/lmtp], status=sent (250 Saved)',
    boot,
  );

it('takes a copy that was stored before the host died, and not noted, for one of RFC 1047', () => {
  const log = [taken, stored, line(9, 'starting', 'second'), sent(10, 'second')];
  expect(unheardReplies(new Map([['old', log]]), finding)).toEqual([
    expect.stringContaining('old died after: lmtp(u001@orchard.example)'),
  ]);
});

it('does not excuse one that was noted, or stored by a host that lived on', () => {
  const noted = [taken, stored, sent(3), line(9, 'starting', 'second')];
  expect(unheardReplies(new Map([['old', noted]]), finding)).toEqual([]);
  expect(
    unheardReplies(new Map([['old', [taken, stored, { ...stored, at: 5 }]]]), finding),
  ).toEqual([]);
});

it("takes Postfix's own word for a reply that it did not hear", () => {
  const doubt =
    'AB12: to=<u001@orchard.example>, relay=10.77.0.12[10.77.0.12]:10125, status=deferred (lost connection with 10.77.0.12[10.77.0.12] while sending end of data -- message may be sent more than once)';
  expect(unheardReplies(new Map([['old', [taken, line(2, doubt)]]]), finding)).toEqual([
    `old: ${doubt}`,
  ]);
  const another = doubt.replace('AB12', 'CD34');
  expect(unheardReplies(new Map([['old', [taken, line(2, another)]]]), finding)).toEqual([]);
});
