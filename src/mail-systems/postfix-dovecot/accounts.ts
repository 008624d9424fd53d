import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { registerSecret } from '../../hosts/redaction.ts';
import type { MailContext } from '../mail-system.ts';
import { demandPostfix, words } from './postfix.ts';

/** Users and groups that matter to mail, as passwd(5) and group(5) of their host have them. */
export interface Accounts {
  readonly users: readonly User[];
  readonly groups: readonly Group[];
  /** Memberships of these users, and of the mail services' own, in groups that matter to mail. */
  readonly members: readonly { readonly group: string; readonly user: string }[];
}

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly gecos: string;
  readonly home: string;
  readonly shell: string;
}

export interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** passwd(5) and group(5) of one host. */
export interface AccountFiles {
  readonly users: readonly User[];
  readonly groups: readonly Group[];
}

/** Accounts that the packages make, and whose memberships make the services work together. */
const services = [
  ...['postfix', 'dovecot', 'dovenull', 'opendkim', 'opendmarc', 'policyd-spf', 'postgrey'],
  ...['debian-spamd', '_rspamd', 'clamav', 'amavis', 'mail', 'ssl-cert', 'sasl'],
];

/** Groups whose members may do more than mail: none of them gets a member from us, nor is it somebody's own. */
export const privileged = [
  'root',
  'sudo',
  'wheel',
  'adm',
  'docker',
  'lxd',
  'shadow',
  'disk',
  'staff',
];

/** login.defs(5), UID_MIN and UID_MAX of Debian: people. */
export const isRegular = (number: number) => number >= 1000 && number < 60000;

/** The accounts of `host` that own mail there (`owners`) or that local mail is for. */
export async function wantedAccounts(
  host: MailHost,
  { migration }: Pick<MailContext, 'migration'>,
  owners: readonly string[],
): Promise<Accounts> {
  const there = await accountsOf(host);
  const owning = new Set(
    owners.filter((owner) => owner.startsWith('u:')).map((owner) => owner.slice(2)),
  );
  const owningGroups = new Set(
    owners.filter((owner) => owner.startsWith('g:')).map((owner) => owner.slice(2)),
  );
  const receiving = (await deliversLocally(host, migration.domains))
    ? there.users.filter(({ uid }) => isRegular(uid)).map(({ name }) => name)
    : await spooled(host);
  const users = there.users.filter(
    ({ name, uid }) => uid !== 0 && (owning.has(name) || receiving.includes(name)),
  );
  const primary = new Set(users.map(({ gid }) => gid));
  const groups = there.groups.filter(
    ({ name, gid }) => gid !== 0 && (owningGroups.has(name) || primary.has(gid)),
  );
  return { users, groups, members: memberships(there, users, groups) };
}

function memberships(
  there: AccountFiles,
  users: readonly User[],
  groups: readonly Group[],
): Accounts['members'] {
  const people = new Set([...users.map(({ name }) => name), ...services]);
  const wanted = new Set(
    [...groups.map(({ name }) => name), ...services].filter((name) => !privileged.includes(name)),
  );
  return there.groups
    .filter(({ name }) => wanted.has(name))
    .flatMap(({ name, members }) =>
      members.filter((user) => people.has(user)).map((user) => ({ group: name, user })),
    );
}

/** Whether local(8) serves a domain that moves: then every regular user is a recipient. */
async function deliversLocally(host: MailHost, domains: readonly string[]): Promise<boolean> {
  const { parameters } = await demandPostfix(host);
  const destinations = words(parameters.get('mydestination'));
  return destinations.some((word) => word.includes('/') || domains.includes(word.toLowerCase()));
}

/** Regular users with a mailbox under /var/mail. */
async function spooled(host: MailHost): Promise<readonly string[]> {
  const result = await host.read(
    script(
      '[ ! -d /var/mail ] || find /var/mail/ -mindepth 1 -maxdepth 1 -size +0 -printf "%f\\n"',
      [],
      {
        purpose: 'look for mailboxes in /var/mail',
      },
    ),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((name) => name !== '');
}

/** Local files only: users of a directory service are brought to NEW by joining it. */
export async function accountsOf(host: MailHost): Promise<AccountFiles> {
  const read = async (path: string) =>
    (await host.read(command(['cat', path], { purpose: `read ${path}` }))).stdout
      .toString('utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .filter((fields) => fields.length >= 4);
  const [passwd, groups] = await Promise.all([read('/etc/passwd'), read('/etc/group')]);
  return {
    users: passwd.map(([name = '', , uid, gid, gecos = '', home = '', shell = '']) => ({
      name,
      uid: Number(uid),
      gid: Number(gid),
      gecos,
      home,
      shell,
    })),
    groups: groups.map(([name = '', , gid, members = '']) => ({
      name,
      gid: Number(gid),
      members: members.split(',').filter((member) => member !== ''),
    })),
  };
}

/** Of the wanted ones what `here` lacks; a membership only where user and group are, or will be, there. */
export function missingAccounts(wanted: Accounts, here: AccountFiles): Accounts {
  const users = new Set(here.users.map(({ name }) => name));
  const groups = new Map(here.groups.map((each) => [each.name, each]));
  const missingUsers = wanted.users.filter(({ name }) => !users.has(name));
  const missingGroups = wanted.groups.filter(({ name }) => !groups.has(name));
  const willBe = new Set([...users, ...missingUsers.map(({ name }) => name)]);
  const groupsToBe = new Set([...groups.keys(), ...missingGroups.map(({ name }) => name)]);
  return {
    users: missingUsers,
    groups: missingGroups,
    members: wanted.members.filter(
      ({ group: name, user }) =>
        willBe.has(user) && groupsToBe.has(name) && !groups.get(name)?.members.includes(user),
    ),
  };
}

/** The lines that hostctl's `accounts` takes. They hold password hashes: for standard input only. */
export async function accountLines(
  host: MailHost,
  { users, groups, members }: Accounts,
): Promise<string> {
  const there = await accountsOf(host);
  const nameOf = (gid: number) => {
    const name = there.groups.find((each) => each.gid === gid)?.name;
    return name === undefined || privileged.includes(name) ? 'nogroup' : name;
  };
  const [homes, shadow] = await Promise.all([homesOf(host, users), shadowOf(host, users)]);
  const lines = [
    ...groups.map(({ name, gid }) => `group:${name}:${gid}`),
    ...users.map(({ name, uid, gid, home, shell, gecos }) =>
      [
        'user',
        name,
        uid,
        nameOf(gid),
        home,
        shell,
        homes.get(name) ?? '-::',
        shadow.get(name) ?? ':::::::',
        gecos,
      ].join(':'),
    ),
    ...members.map((member) => `member:${member.group}:${member.user}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** `MODE:OWNER:GROUP` of each home that is there. */
async function homesOf(
  host: MailHost,
  users: readonly User[],
): Promise<ReadonlyMap<string, string>> {
  const result = await host.read(
    script(
      'while IFS=: read -r name home; do if [ "$home" != / ] && [ -d "$home" ]; then stat -c "$name:%a:%U:%G" -- "$home"; fi; done',
      [],
      {
        stdin: users.map(({ name, home }) => `${name}:${home}\n`).join(''),
        purpose: 'look at the homes',
      },
    ),
  );
  return byName(result.stdout.toString('utf8'));
}

/** Hash and ages, the second to the eighth field of shadow(5). */
export async function shadowOf(
  host: MailHost,
  users: readonly { readonly name: string }[],
): Promise<ReadonlyMap<string, string>> {
  if (users.length === 0) return new Map();
  const result = await host.read(
    script(
      `awk -F: -v OFS=: 'NR == FNR { want[$1]; next } $1 in want { print $1, $2, $3, $4, $5, $6, $7, $8 }' - /etc/shadow`,
      [],
      { stdin: users.map(({ name }) => `${name}\n`).join(''), purpose: 'read the password hashes' },
    ),
  );
  const fields = byName(result.stdout.toString('utf8'));
  // No fault of a command may ever show one.
  for (const line of fields.values()) {
    const hash = line.split(':')[0] ?? '';
    if (hash.length > 8) registerSecret(hash);
  }
  return fields;
}

function byName(text: string): ReadonlyMap<string, string> {
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
}
