import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Command, Result } from '../../hosts/command.ts';
import type { Host } from '../../hosts/host.ts';
import {
  localDomains,
  parseParameters,
  parseServices,
  readPostfix,
  submissionServices,
  words,
} from './postfix.ts';
import { redirected, routesTable } from './routes.ts';

/** What postconf -x and postconf -M of Postfix 3.7 print on Debian 12. */
const main = `mail_version = 3.7.11
mydestination = mail.example.org, localhost, /etc/postfix/domains !/etc/postfix/not hash:/etc/postfix/more
myhostname = mail.example.org
relayhost =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
transport_maps = hash:/etc/postfix/transport, proxy:mysql:/etc/postfix/transport.cf
virtual_mailbox_domains = Example.org example.net proxy:texthash:/etc/postfix/vdomains regexp:/etc/postfix/re
virtual_transport = lmtp:unix:private/dovecot-lmtp
`;
const master = `smtp       inet  n       -       y       -       -       smtpd
submission inet  n       -       y       -       -       smtpd -o syslog_name=postfix/submission -o smtpd_tls_security_level=encrypt
smtps      inet  n       -       y       -       -       smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:10025 inet n   -       y       -       -       smtpd -o mynetworks=127.0.0.0/8
[2001:db8::1]:587 inet n -       y       -       -       smtpd
192.0.2.1:465 inet n     -       y       -       -       smtpd
10587      inet  n       -       y       -       -       smtpd
pickup     unix  n       -       y       60      1       pickup
smtp       unix  -       -       y       -       -       smtp
relay      unix  -       -       y       -       -       smtp -o syslog_name=postfix/$service_name
error      unix  -       -       y       -       -       error
retry      unix  -       -       y       -       -       error
discard    unix  -       -       y       -       -       discard
local      unix  -       n       n       -       -       local
virtual    unix  -       n       n       -       -       virtual
lmtp       unix  -       -       y       -       -       lmtp
submission unix  -       -       y       -       -       smtp
dovecot    unix  -       n       n       -       -       pipe flags=DRhu user=vmail argv=/usr/lib/dovecot/deliver -f \${sender}
`;
const tables: Readonly<Record<string, string>> = {
  'hash:/etc/postfix/more': 'more.example\tx\n',
  'texthash:/etc/postfix/vdomains': 'Virtual.example ok\n',
  'hash:/etc/postfix/transport':
    'lists.example\tdovecot:\n.partner.example smtp:[192.0.2.9]\nalice@one.example local:\n* relay:[192.0.2.9]\nnull.example discard:\nslow.example retry:4.0.0 later\nplain.example lmtp:unix:private/x\nempty.example :[192.0.2.9]\nunknown.example nosuch:\n',
};

const host: Host = {
  role: 'old',
  address: '192.0.2.1',
  port: 22,
  async read({ argv }: Command): Promise<Result> {
    const [program, option = '', last = ''] = argv;
    const stdout =
      program === 'postmap'
        ? tables[last]
        : program === 'cat'
          ? '# ours\nfile.example\n\n  other.example \n'
          : argv[2]?.includes('postconf -x')
            ? main
            : master;
    if (stdout === undefined) throw new Error(`not foreseen: ${option} ${last}`);
    return { code: 0, signal: undefined, stdout: Buffer.from(stdout), stderr: '' };
  },
  change: () => Promise.reject(new Error('changes nothing')),
  tunnel: () => Promise.reject(new Error('not here')),
  tunnelBack: () => Promise.reject(new Error('not here')),
  close: async () => undefined,
};

describe('what postconf prints', () => {
  it('is read by parameter, empty ones too', () => {
    const parameters = parseParameters(main);
    expect(parameters.get('mail_version')).toBe('3.7.11');
    expect(parameters.get('relayhost')).toBe('');
    expect(parseParameters('relayhost = \nx = a = b\n')).toEqual(
      new Map([
        ['relayhost', ''],
        ['x', 'a = b'],
      ]),
    );
  });

  it('is read by service and type', () => {
    const services = parseServices(master);
    expect(services.size).toBe(18);
    expect(services.get('smtp/unix')).toMatch(/smtp$/);
    expect(services.get('submission/inet')).toContain('-o syslog_name=postfix/submission');
  });

  it('has lists parted by commas or white space', () => {
    expect(words(' a, b\tc,,d\n e ')).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(words(undefined)).toEqual([]);
  });
});

describe('submissionServices', () => {
  it('are the doors for clients, by name or port, and no others', async () => {
    const postfix = await readPostfix(host);
    expect(postfix && submissionServices(postfix)).toEqual([
      'submission',
      'smtps',
      '[2001:db8::1]:587',
      '192.0.2.1:465',
    ]);
  });
});

describe('localDomains', () => {
  it('are those that some delivery agent of this host takes, in lower case', async () => {
    const postfix = await readPostfix(host);
    expect(postfix && (await localDomains(host, postfix))).toEqual([
      'example.net',
      'example.org',
      'file.example',
      'lists.example',
      'localhost',
      'mail.example.org',
      'more.example',
      'one.example',
      'other.example',
      'plain.example',
      'virtual.example',
    ]);
  });
});

const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,6}[a-z0-9])?$/);
const domain = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'));

/** POSIX extended expressions of these simple kinds mean the same here. */
function lookUp(table: string, address: string): string | undefined {
  for (const line of table.split('\n')) {
    const [, pattern, result] = /^\/(.*)\/ (.*)$/.exec(line) ?? [];
    if (pattern !== undefined && new RegExp(pattern.replaceAll('\\/', '/'), 'i').test(address))
      return result;
  }
  return undefined;
}

const nowhere = 'retry:4.3.2 mailbox is being moved';

describe('routesTable', () => {
  it('takes every address of its domains and of no other', () => {
    fc.assert(
      fc.property(
        fc.array(domain, { minLength: 1, maxLength: 4 }),
        domain,
        fc.constantFrom('a', 'a+b', '"x y"', 'a@b'),
        (own, other, user) => {
          const table = routesTable(own, nowhere);
          for (const each of own) {
            expect(lookUp(table, `${user}@${each}`)).toBe(nowhere);
            expect(lookUp(table, `${user}@${each.toUpperCase()}`)).toBe(nowhere);
            expect(lookUp(table, `${user}@${each.replaceAll('.', 'x')}`)).toBeUndefined();
            expect(lookUp(table, `${user}@${each}.evil.example`)).toBeUndefined();
            expect(lookUp(table, `${user}@x${each}.`)).toBeUndefined();
          }
          expect(lookUp(table, `${user}@${other}`)).toBe(own.includes(other) ? nowhere : undefined);
        },
      ),
    );
  });

  const postmap = spawnSync('postmap', ['-?']).error === undefined;
  it.skipIf(!postmap)('means the same to postmap', () => {
    const folder = mkdtempSync(join(tmpdir(), 'routes-'));
    try {
      const path = join(folder, 'routes.regexp');
      writeFileSync(path, routesTable(['mail-1.example.org'], nowhere));
      const asked = (address: string) =>
        spawnSync('postmap', ['-q', address, `regexp:${path}`], { encoding: 'utf8' }).stdout.trim();
      expect(asked('Alice+x@Mail-1.example.org')).toBe(nowhere);
      expect(asked('alice@mail-1xexample.org')).toBe('');
      expect(asked('alice@sub.mail-1.example.org')).toBe('');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('can be given another destination, the addresses staying', () => {
    const there = 'mail-cutover:[192.0.2.2]:10026';
    expect(redirected(routesTable(['a.example', 'b.example'], nowhere), there)).toBe(
      routesTable(['a.example', 'b.example'], there),
    );
  });
});
