import { describe, expect, it } from 'vitest';
import { changesOfSide, type LogLine, overlaps, servings } from './serving.ts';

const line = (at: number, text: string, boot = 'first'): LogLine => ({
  ...{ at, boot, text },
  ...{ program: 'dovecot', pid: '1' },
});

const login = (user: string, pid: number) =>
  `imap-login: Login: user=<${user}>, method=PLAIN, rip=fd77::1, lip=fd77::11, mpid=${pid}, TLS, session=<NKV5>`;
const logout = (user: string, pid: number) =>
  `imap(${user})<${pid}><NKV5>: Logged out in=1 out=2 deleted=0`;
const saved = (user: string) =>
  `lmtp(${user})<374><1FcgAA:R2>: msgid=<1@elsewhere.example>: saved mail to INBOX`;

const u1 = 'u001@orchard.example';

describe('servings', () => {
  it('sees sessions, and deliveries of every agent', () => {
    const found = servings('old', [
      line(1, login(u1, 361)),
      line(2, saved('u002@orchard.example')),
      line(3, 'lda(bert)<668><Xo+2>: msgid=<2@elsewhere.example>: saved mail to INBOX'),
      line(
        4,
        "lmtp(sieve@orchard.example)<8><Xo>: sieve: msgid=<3@elsewhere.example>: stored mail into mailbox 'Filed'",
      ),
      line(
        5,
        'E8F5E34C: to=<dario@attic.example>, relay=virtual, delay=0.08, dsn=2.0.0, status=sent (delivered to maildir)',
      ),
      line(9, logout(u1, 361)),
      line(9, 'lmtp(374): Connect from local'),
    ]);
    expect(found.map(({ mailbox, from, to }) => [mailbox, from, to])).toEqual([
      ['u002@orchard.example', 2, 2],
      ['bert@villa.example', 3, 3],
      ['sieve@orchard.example', 4, 4],
      ['dario@attic.example', 5, 5],
      [u1, 1, 9],
    ]);
  });

  it('lets a session last until its host died when nothing says that it ended', () => {
    const found = servings('old', [
      line(1, login(u1, 361)),
      line(7, 'anything'),
      line(20, login(u1, 361), 'second'),
      line(30, logout(u1, 361), 'second'),
    ]);
    expect(found.map(({ from, to }) => [from, to]).sort()).toEqual([
      [1, 7],
      [20, 30],
    ]);
  });
});

describe('overlaps', () => {
  const both = (old: readonly LogLine[], target: readonly LogLine[]) =>
    overlaps([...servings('old', old), ...servings('new', target)]);

  it('is empty where one host follows the other, there and back', () => {
    expect(
      both(
        [line(1, login(u1, 1)), line(5, logout(u1, 1)), line(20, saved(u1))],
        [line(6, saved(u1)), line(7, login(u1, 2)), line(9, logout(u1, 2))],
      ),
    ).toEqual([]);
  });

  it('finds a delivery into a mailbox that the other host still has open', () => {
    const found = both([line(1, login(u1, 1)), line(9, logout(u1, 1))], [line(6, saved(u1))]);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({
      mailbox: u1,
      first: { host: 'old', from: 1, to: 9 },
      second: { host: 'new', from: 6 },
    });
  });

  it('finds two sessions at once, though others lie between them', () => {
    const found = both(
      [
        line(1, login(u1, 1)),
        line(2, login(u1, 3)),
        line(3, logout(u1, 3)),
        line(30, logout(u1, 1)),
      ],
      [line(10, login(u1, 2)), line(11, logout(u1, 2))],
    );
    expect(found).toHaveLength(1);
  });

  it('says nothing of other mailboxes at the same time', () => {
    const other = 'u002@orchard.example';
    expect(both([line(1, login(u1, 1)), line(9, logout(u1, 1))], [line(6, saved(other))])).toEqual(
      [],
    );
  });
});

it('counts how often service of a mailbox went over', () => {
  const all = [
    ...servings('old', [line(1, saved(u1)), line(2, saved(u1)), line(9, saved(u1))]),
    ...servings('new', [line(5, saved(u1))]),
  ];
  expect([...changesOfSide(all)]).toEqual([[u1, 2]]);
});
