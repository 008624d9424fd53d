import { aliases, domains, outside, password, special, virtualUser } from '../world.ts';
import { vpopmailDomain, vpopmailHome } from './vpopmail-files.ts';

/** What the administrator of the lab's qmail wrote: control files, users, services. */

export type Role = 'old' | 'new';
export type Supervisor = 'daemontools' | 'runit' | 'systemd';

/** Numbers of the mail users; they differ between the hosts on purpose. */
export const qmailIds = {
  old: { vmail: 5000, vpopmail: 5089, anna: 1001, bert: 1002 },
  new: { vmail: 6100, vpopmail: 6189, anna: 1302, bert: 1301 },
} as const;

/** Where the virtual users' homes lie, one folder each. */
export const mailRoot = '/mail';

export const localPart = (address: string) => address.slice(0, address.indexOf('@'));

/** The virtual users that have a mailbox. */
export function virtualMailboxes(count: number): readonly string[] {
  const plain = Array.from({ length: count }, (_, index) => virtualUser(index + 1));
  return [...plain, special.probe, special.piped];
}

export function homeOf(address: string): string {
  const domain = address.slice(address.indexOf('@') + 1);
  if (domain === domains.virtual) return `${mailRoot}/${localPart(address)}`;
  if (domain === domains.attic) return vpopmailHome(address);
  return `/home/${localPart(address)}`;
}

export const maildirOf = (address: string) => `${homeOf(address)}/Maildir`;

export const hostName = (role: Role) => `${role}.${domains.virtual}`;

/** qmail-control(9): `control/…`. */
export function controlFiles(role: Role, isMysql: boolean): Readonly<Record<string, string>> {
  const me = hostName(role);
  const own = { me: `${me}\n`, defaultdomain: `${domains.virtual}\n` };
  const rest = isMysql ? { sqlserver: sqlServer } : {};
  // NEW knows nobody's names but its own: the rest is the migration's to add.
  if (role === 'new')
    return {
      ...own,
      ...rest,
      locals: `localhost\n${me}\n`,
      rcpthosts: `localhost\n${me}\n`,
      morercpthosts: '',
    };
  const virtual = isMysql ? [] : [`${domains.virtual}:mail`];
  return {
    ...own,
    ...rest,
    locals: `localhost\n${me}\n${domains.local}\n`,
    virtualdomains: [...virtual, `${domains.attic}:${domains.attic}`, ''].join('\n'),
    rcpthosts: `localhost\n${me}\n${domains.local}\n${isMysql ? '' : `${domains.virtual}\n`}`,
    morercpthosts: `${domains.attic}\n`,
  };
}

export const database = { name: 'qmail', user: 'qmail', password: 'lab-Sql-Passw0rd' } as const;
const sqlServer = `server localhost\nlogin ${database.user}\npassword ${database.password}\ndb ${database.name}\n`;

/** qmail-users(9): `users/assign`. */
export function assign(role: Role, mailboxes: readonly string[], isMysql: boolean): string {
  const { vmail, vpopmail } = qmailIds[role];
  const line = (name: string, home: string) => `=mail-${name}:vmail:${vmail}:${vmail}:${home}:::\n`;
  const users = mailboxes.map((address) => line(localPart(address), homeOf(address))).join('');
  const extra = ['team', 'forward'].map((name) => line(name, `${mailRoot}/${name}`)).join('');
  const vpop = `+${domains.attic}-:${domains.attic}:${vpopmail}:${vpopmail}:${vpopmailDomain}:-::\n`;
  return `${isMysql ? '' : users + extra}${vpop}.\n`;
}

/** dot-qmail(7): what each home or alias says; a Maildir alone needs no file. */
export function dotQmail(): Readonly<Record<string, string>> {
  const to = (address: string) => (aliases[address] ?? []).map((each) => `&${each}\n`).join('');
  const third = virtualUser(3);
  const bert = `bert@${domains.local}`;
  const others = (address: string) =>
    (aliases[address] ?? [])
      .filter((each) => each !== address)
      .map((each) => `&${each}\n`)
      .join('');
  return {
    [`${mailRoot}/team/.qmail`]: to(`team@${domains.virtual}`),
    [`${mailRoot}/forward/.qmail`]: `&friend@${outside.domain}\n`,
    [`${homeOf(third)}/.qmail`]: `./Maildir/\n${others(third)}`,
    [`${homeOf(bert)}/.qmail`]: `./Maildir/\n${others(bert)}`,
    '/var/qmail/alias/.qmail-list': to(`list@${domains.local}`),
    '/var/qmail/alias/.qmail-pipe': `|/var/qmail/bin/forward ${special.piped}\n`,
    ...Object.fromEntries(
      ['postmaster', 'mailer-daemon', 'root'].map((name) => [
        `/var/qmail/alias/.qmail-${name}`,
        `&anna@${domains.local}\n`,
      ]),
    ),
  };
}

/** Tables of the MySQL patches as their author's programs fill them. */
export function tables(role: Role, mailboxes: readonly string[]): string {
  const { vmail } = qmailIds[role];
  const rows =
    role === 'new'
      ? ''
      : [
          ...mailboxes.map((address) => {
            const user = localPart(address);
            return `insert into mailbox values ('${user}', ${vmail}, ${vmail}, '${homeOf(address)}', '${password}', 'Plain');
insert into virtual values ('${user}', '${user}', '${domains.virtual}');`;
          }),
          ...(aliases[`team@${domains.virtual}`] ?? []).map(
            (to) =>
              `insert into alias values ('alias', 'team@${domains.virtual}', '${localPart(to)}', '');`,
          ),
          `insert into alias values ('alias', 'forward@${domains.virtual}', 'friend', '${outside.domain}');`,
          ...['team', 'forward'].map(
            (name) => `insert into virtual values ('alias', '${name}', '${domains.virtual}');`,
          ),
          `insert into rcpthosts values ('${domains.virtual}');`,
        ].join('\n');
  return `create database ${database.name};
use ${database.name};
create table mailbox (username varchar(64) primary key, uid int not null, gid int not null, home varchar(200) not null, password varchar(64), password_type varchar(16));
create table virtual (username varchar(64) not null, virtual_username varchar(64) not null, virtual_host varchar(128) not null);
create table alias (username varchar(64) not null, alias varchar(128) not null, alias_username varchar(64) not null, alias_host varchar(128) not null default '');
create table rcpthosts (host varchar(128) primary key);
${rows}
create user '${database.user}'@'localhost' identified by '${database.password}';
grant all on ${database.name}.* to '${database.user}'@'localhost';
`;
}

/**
 * checkpassword's interface (cr.yp.to/checkpwd/interface.html) for the lab's users: name, NUL,
 * password, NUL on descriptor 3; then the user, home and environment, and the program.
 */
export const checkPassword = `#!/usr/bin/perl
use strict;
use POSIX ();
open(my $in, '<&=3') or exit 2;
read($in, my $text, 512);
my ($name, $given) = split /\\0/, $text;
open(my $list, '<', '/etc/lab-pop3') or exit 111;
while (<$list>) {
  chomp;
  my ($user, $uid, $gid, $home, $password) = split /:/, $_, 5;
  next unless $user eq $name;
  exit 1 unless $given eq $password;
  $( = $) = "$gid $gid";
  POSIX::setgid($gid);
  POSIX::setuid($uid);
  chdir $home or exit 111;
  @ENV{qw(USER HOME SHELL)} = ($user, $home, '/bin/sh');
  exec @ARGV;
  exit 111;
}
exit 1;
`;

export function popUsers(role: Role, mailboxes: readonly string[]): string {
  const { vmail, vpopmail, anna, bert } = qmailIds[role];
  const ids: Readonly<Record<string, number>> = {
    [domains.virtual]: vmail,
    [domains.attic]: vpopmail,
  };
  const own: Readonly<Record<string, number>> = { anna, bert };
  return [...mailboxes, ...special.localUsers, ...special.atticUsers]
    .map((address) => {
      const id = ids[address.slice(address.indexOf('@') + 1)] ?? own[localPart(address)];
      return `${address}:${id}:${id}:${homeOf(address)}:${password}\n`;
    })
    .join('');
}

/** Start of each service, as a shell script of a supervisor. */
export function services(role: Role, smtpUser: string): Readonly<Record<string, string>> {
  const server = `tcpserver -v -R -H -l 0 -c 100 ${smtpUser}`;
  return {
    'qmail-send':
      'exec env - PATH="/var/qmail/bin:/usr/bin:/bin" qmail-start ./Maildir/ splogger qmail',
    'qmail-smtpd': `exec ${server} 0 25 /var/qmail/bin/qmail-smtpd 2>&1`,
    'qmail-pop3d': `exec tcpserver -v -R -H -l 0 0 110 /var/qmail/bin/qmail-popup ${hostName(role)} /usr/local/bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>&1`,
  };
}
