import { describe, expect, it } from 'vitest';
import type { Command, Result } from '../../hosts/command.ts';
import type { Host } from '../../hosts/host.ts';
import {
  mailLocation,
  mailPaths,
  noProtocols,
  parseSettings,
  readDovecot,
  withoutNested,
} from './dovecot.ts';

/** What doveconf -n of Dovecot 2.3.19 prints on Debian 12, for a set-up with a bit of everything. */
const printed = String.raw`# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
# Pigeonhole version 0.5.19 (4eae2f79)
# OS: Linux 6.1.0 x86_64 Debian 12.15
# Hostname: mail
mail_attachment_dir = /srv/attachments
mail_location = mdbox:/srv/mdbox/%d/%n:INDEX=/srv/index/%d/%n:CONTROL=/srv/control/%u:ALT=/srv/alt/%d/%n
namespace inbox {
  inbox = yes
  location = 
  mailbox Sent {
    special_use = \Sent
  }
  prefix = 
  separator = /
}
namespace old {
  location = maildir:/srv/old/%u
  prefix = old/
}
passdb {
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
  driver = passwd-file
}
passdb {
  args = /etc/dovecot/masters
  driver = passwd-file
  master = yes
}
plugin {
  quota = maildir:User quota
  sieve = file:~/sieve;active=~/.dovecot.sieve
  sieve_before = /etc/dovecot/sieve/before.d/
}
protocols = imap lmtp
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0666
  }
}
userdb {
  args = username_format=%u /etc/dovecot/users
  driver = passwd-file
  override_fields = uid=vmail gid=vmail home=/var/vmail/%d/%n mail=maildir:/var/vmail/%d/%n/Maildir:INDEX=/var/vindex/%d
}
userdb {
  args = uid=vmail gid=vmail home=/home/virtual/%u allow_all_users=yes
  driver = static
}
protocol lda {
  mail_plugins = sieve
}
`;

/** Answers doveconf, and getent with the homes that are asked for. */
function host(doveconf: string, found: (below: readonly string[]) => readonly string[]): Host {
  return {
    role: 'old',
    address: '192.0.2.1',
    port: 22,
    async read({ argv }: Command): Promise<Result> {
      const text = argv[2] ?? '';
      const stdout = text.includes('getent')
        ? found(argv.slice(4))
            .map((path) => `${path}\0`)
            .join('')
        : doveconf;
      return {
        code: doveconf === '' ? 44 : 0,
        signal: undefined,
        stdout: Buffer.from(stdout),
        stderr: '',
      };
    },
    change: () => Promise.reject(new Error('changes nothing')),
    tunnel: () => Promise.reject(new Error('not here')),
    tunnelBack: () => Promise.reject(new Error('not here')),
    close: async () => undefined,
  };
}

const paths = (...lines: readonly string[]) => mailPaths(parseSettings(lines.join('\n')));

describe('parseSettings', () => {
  it('flattens blocks, numbers those that occur again, keeps empty values', () => {
    const settings = parseSettings(printed);
    expect(settings.get('namespace inbox/mailbox Sent/special_use')).toBe('\\Sent');
    expect(settings.get('namespace inbox/location')).toBe('');
    expect(settings.get('passdb/args')).toBe('scheme=CRYPT username_format=%u /etc/dovecot/users');
    expect(settings.get('passdb#2/args')).toBe('/etc/dovecot/masters');
    expect(settings.get('passdb#2/master')).toBe('yes');
    expect(settings.get('userdb#2/driver')).toBe('static');
    expect(settings.get('service auth/unix_listener /var/spool/postfix/private/auth/mode')).toBe(
      '0666',
    );
    expect(settings.get('protocol lda/mail_plugins')).toBe('sieve');
    expect([...settings.keys()].filter((key) => key.startsWith('#'))).toEqual([]);
  });
});

describe('mailPaths', () => {
  it('follows homes by any name, and places of INBOX and list index', () => {
    expect(paths('mail_location = maildir:%h/Maildir')).toEqual(['~/Maildir']);
    expect(paths('mail_location = mbox:%{home}/mail:INBOX=/var/mail/%u')).toEqual([
      '/var/mail',
      '~/mail',
    ]);
    expect(paths('mail_location = maildir:/srv/m/%u:LISTINDEX=/srv/list/%u/i')).toEqual([
      '/srv/list',
      '/srv/m',
    ]);
  });

  it('names every fixed folder that holds mail, indexes, attachments or scripts', () => {
    expect(mailPaths(parseSettings(printed))).toEqual([
      '/etc/dovecot/sieve/before.d',
      '/home/virtual',
      '/srv/alt',
      '/srv/attachments',
      '/srv/control',
      '/srv/index',
      '/srv/mdbox',
      '/srv/old',
      '/var/vindex',
      '/var/vmail',
      '~/.dovecot.sieve',
      '~/sieve',
    ]);
  });

  it.each([
    ['mail_location = maildir:~/Maildir', ['~/Maildir']],
    ['mail_location = maildir:/var/vmail/%d/%n', ['/var/vmail']],
    ['mail_location = maildir:/var/vmail/%Ld/%Ln:LAYOUT=fs', ['/var/vmail']],
    ['mail_location = maildir:/var/vmail/box-%u/Maildir', ['/var/vmail']],
    ['mail_location = maildir:/var/vmail/shared/', ['/var/vmail/shared']],
    ['mail_location = maildir:/var/vmail/%d:INDEX=MEMORY', ['/var/vmail']],
    [
      'mail_location = maildir:~/Maildir:CONTROL=/srv/control/%u:INDEXPVT=/srv/pvt/%u',
      ['/srv/control', '/srv/pvt', '~/Maildir'],
    ],
    ['mail_location = sdbox:/srv/sdbox/%u', ['/srv/sdbox']],
    ['mail_location = /var/vmail/%u', ['/var/vmail']],
    ['mail_location = ', []],
    ['mail_location = maildir:/%d/%n', []],
    ['mail_home = /var/vmail/%d/%n', ['/var/vmail']],
    ['mail_attachment_dir = ', []],
    [
      'plugin {\n  sieve_dir = ~/sieve\n  sieve = ~/.dovecot.sieve\n  sieve_default = /var/lib/sieve/default.sieve\n}',
      ['/var/lib/sieve/default.sieve', '~/.dovecot.sieve', '~/sieve'],
    ],
    [
      'plugin {\n  sieve_plugins = sieve_imapsieve\n  sieve_before2 = /srv/sieve/b\n}',
      ['/srv/sieve/b'],
    ],
    [
      'userdb {\n  driver = static\n  args = uid=5000 gid=5000 home=/srv/h/%u mail=maildir:/srv/m/%u\n}',
      ['/srv/h', '/srv/m'],
    ],
    ['userdb {\n  default_fields = home=/srv/h/%u\n}', ['/srv/h']],
    ['userdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}', []],
  ])('%s', (text, expected) => {
    expect(paths(text)).toEqual(expected);
  });
});

describe('withoutNested', () => {
  it('drops what lies below another path, and nothing that only begins alike', () => {
    expect(
      withoutNested(['/var/vmail/a', '/var/vmail', '/var/vmail2', '/var/vmail', '/srv']),
    ).toEqual(['/srv', '/var/vmail', '/var/vmail2']);
  });
});

describe('readDovecot', () => {
  it('knows the version, the file and the password files', async () => {
    const dovecot = await readDovecot(host(printed, () => []));
    expect(dovecot).toMatchObject({
      version: '2.3.19.1',
      configFile: '/etc/dovecot/dovecot.conf',
      files: ['/etc/dovecot/users', '/etc/dovecot/masters'],
    });
    expect(dovecot?.paths).toContain('/srv/mdbox');
    expect(dovecot?.paths.filter((path) => path.startsWith('~'))).toEqual([]);
  });

  it('asks which users have what lies below their home', async () => {
    const asked: string[] = [];
    const dovecot = await readDovecot(
      host(
        '# 2.3.19.1 (9b5): /etc/dovecot/dovecot.conf\nmail_location = maildir:~/Maildir\n',
        (below) => {
          asked.push(...below);
          return ['/home/alice/Maildir', '/home/bob smith/Maildir'];
        },
      ),
    );
    expect(asked).toEqual(['Maildir']);
    expect(dovecot?.paths).toEqual(['/home/alice/Maildir', '/home/bob smith/Maildir']);
  });

  it('is undefined where there is no Dovecot', async () => {
    expect(await readDovecot(host('', () => []))).toBeUndefined();
  });
});

/** What doveconf -n of Dovecot 2.4.1 prints on Debian 13, shortened. */
const later = String.raw`# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
# Pigeonhole version 2.4.1-4 (0a86619f)
dovecot_config_version = 2.4.1
mail_driver = maildir
mail_path = /var/vmail/%{user | domain}/%{user | username}/Maildir
protocols = imap pop3 lmtp sieve
namespace old {
  mail_path = /srv/old/%{user}
}
passdb alias {
  driver = static
  username_filter = *@villa.example
}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
  fields {
    home:default = /srv/homes/%{user | domain}/%{user | username}
    uid:default = vmail
  }
}
userdb passwd {
  fields {
    mail_index_path = /var/lib/dovecot-index/%{user}
    mail_path = %{home}/Maildir
  }
}
sieve_script personal {
  active_path = ~/.dovecot.sieve
  path = ~/sieve
}
`;

describe('Dovecot 2.4', () => {
  const settings = parseSettings(later);

  it('names each path by itself', () => {
    expect(mailPaths(settings)).toEqual([
      '/srv/homes',
      '/srv/old',
      '/var/lib/dovecot-index',
      '/var/vmail',
      '~/.dovecot.sieve',
      '~/Maildir',
      '~/sieve',
    ]);
    expect(mailLocation({ settings })).toBe(
      'maildir:/var/vmail/%{user | domain}/%{user | username}/Maildir',
    );
  });

  it('has no protocol called none', () => {
    expect(noProtocols({ settings })).toBe('protocols =');
    expect(noProtocols({ settings: parseSettings(printed) })).toBe('protocols = none');
  });

  it.each([
    [
      'userdb sql {\n  sql_query = SELECT 1\n}',
      ['mail lies in homes that only the userdb sql knows'],
    ],
    ['userdb users {\n  driver = ldap\n  fields {\n    home = /srv/%{user}\n  }\n}', []],
    ['userdb users {\n  driver = ldap\n}', ['mail lies in homes that only the userdb ldap knows']],
  ])('%s', async (block, unknown) => {
    const text = `dovecot_config_version = 2.4.1\nmail_driver = maildir\nmail_path = ~/Maildir\n${block}\n`;
    expect((await readDovecot(host(text, () => [])))?.unknown).toEqual(unknown);
  });
});
