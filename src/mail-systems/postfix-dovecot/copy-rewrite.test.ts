import { describe, expect, it } from 'vitest';
import { withoutSecrets } from './copy-diff.ts';
import { type Rewriting, rewrite } from './copy-rewrite.ts';

const rewriting: Rewriting = {
  addresses: new Map([
    ['192.0.2.1', '198.51.100.7'],
    ['2001:db8::1', '2001:db8:5::7'],
  ]),
  hostName: { old: 'srv1.example.com', new: 'srv2.example.com' },
  uids: new Map([
    [5000, 6100],
    [1001, 1302],
    [1002, 1301],
  ]),
  gids: new Map([[5000, 6200]]),
  uidTables: ['/etc/postfix/uids'],
  gidTables: [],
};
const main = (text: string) => rewrite('/etc/postfix/main.cf', text, rewriting);
const dovecot = (text: string) => rewrite('/etc/dovecot/conf.d/10-mail.conf', text, rewriting);

describe('addresses', () => {
  it('are replaced as whole tokens only', () => {
    expect(main('mynetworks = 192.0.2.1/32 192.0.2.10 1192.0.2.1 192.0.2.1.5 [192.0.2.1]:25')).toBe(
      'mynetworks = 198.51.100.7/32 192.0.2.10 1192.0.2.1 192.0.2.1.5 [198.51.100.7]:25',
    );
    expect(main('a = 192.0.2.1, 192.0.2.1.')).toBe('a = 198.51.100.7, 198.51.100.7.');
  });

  it('are known in every spelling of IPv6', () => {
    expect(
      main('a = [2001:DB8:0:0::1]/128, 2001:db8::1 2001:db8::12 2001:db8::1:2 [IPv6:2001:db8::1]'),
    ).toBe(
      'a = [2001:db8:5::7]/128, 2001:db8:5::7 2001:db8::12 2001:db8::1:2 [IPv6:2001:db8:5::7]',
    );
  });

  it('leave tables, sockets and times alone', () => {
    const text =
      'a = hash:/etc/x, inet:localhost:8891 12:30:45 ::1 [::ffff:127.0.0.0]/104 unix:private/auth';
    expect(main(text)).toBe(text);
  });
});

describe('the host name', () => {
  it('is replaced where it is the machine, not in an address or a longer name', () => {
    expect(
      main(
        'myhostname = srv1.example.com\nx = a.srv1.example.com root@srv1.example.com srv1.example.com.au',
      ),
    ).toBe(
      'myhostname = srv2.example.com\nx = a.srv1.example.com root@srv1.example.com srv1.example.com.au',
    );
  });

  it('stays in tables', () => {
    const text = 'srv1.example.com local:\n';
    expect(rewrite('/etc/postfix/transport', text, rewriting)).toBe(text);
  });
});

describe('numbers of owners', () => {
  it('follow their names in Postfix', () => {
    expect(
      main('virtual_uid_maps = static:5000\nvirtual_gid_maps =\n  static:5000\nx = static:5000'),
    ).toBe('virtual_uid_maps = static:6100\nvirtual_gid_maps =\n  static:6200\nx = static:5000');
    expect(main('virtual_minimum_uid = 5000')).toBe('virtual_minimum_uid = 6100');
    expect(rewrite('/etc/postfix/uids', 'a@b 5000\n# c 5000\nd@e 77\n', rewriting)).toBe(
      'a@b 6100\n# c 5000\nd@e 77\n',
    );
  });

  it('follow their names in Dovecot', () => {
    expect(
      dovecot('  args = uid=5000 gid=5000 home=/var/vmail/5000\n#mail_uid = 5000\nmail_gid = 5000'),
    ).toBe('  args = uid=6100 gid=6200 home=/var/vmail/5000\n#mail_uid = 5000\nmail_gid = 6200');
    expect(dovecot("user_query = SELECT '/h' AS home, 5000 AS uid, 5000 as gid")).toBe(
      "user_query = SELECT '/h' AS home, 6100 AS uid, 6200 as gid",
    );
  });

  it('keep everybody within the valid range', () => {
    expect(dovecot('first_valid_uid = 1001')).toBe('first_valid_uid = 1301');
    expect(dovecot('first_valid_uid = 500')).toBe('first_valid_uid = 500');
    expect(dovecot('last_valid_uid = 5000')).toBe('last_valid_uid = 6100');
    expect(dovecot('last_valid_uid = 5500')).toBe('last_valid_uid = 6100');
    expect(dovecot('last_valid_uid = 0')).toBe('last_valid_uid = 0');
  });
});

describe('a shown difference', () => {
  const shown = (path: string, ...lines: string[]) =>
    withoutSecrets(
      [`--- before${path}`, `+++ after${path}`, '@@ -1 +1 @@', ...lines].join('\n'),
    ).slice(3);

  it('hides secrets and keeps the rest', () => {
    expect(
      shown(
        '/etc/postfix/main.cf',
        '-virtual_uid_maps = static:5000',
        ' smtp_sasl_password = hunter22',
        '+x = mysql://u:hunter2@db/x',
      ),
    ).toEqual(['-virtual_uid_maps = static:5000', ' smtp_sasl_password = ***', '+x = ***']);
    expect(
      shown('/etc/dovecot/dovecot.conf', ' connect = host=db user=u password=hunter2'),
    ).toEqual([' connect = ***']);
    expect(
      shown('/etc/dovecot/dovecot.conf', ' ssl_key = </etc/ssl/x.key', '-u:{PLAIN}hunter2::'),
    ).toEqual([' ssl_key = </etc/ssl/x.key', '-***']);
    expect(shown('/etc/postfix/sasl_passwd', '-[relay]:587 user:hunter2')).toEqual(['-***']);
  });
});
