import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Contents, type Finding, type MailContext, warns } from '../mail-system.ts';
import { missingOwners, ownersOf } from '../postfix-dovecot/owners.ts';
import { room } from '../room.ts';
import { missingPrograms } from './commands.ts';
import {
  type Control,
  lines,
  me,
  movedNames,
  pathOf,
  readControl,
  virtualDomains,
} from './control.ts';
import { withDatabase } from './database.ts';
import { type Homes, readHomes, storesOf } from './homes.ts';
import { nameOfNew, relayedNames } from './name-checks.ts';
import { ask } from './program.ts';
import { readQueue } from './queue.ts';
import { usersElsewhere } from './vpopmail.ts';
import { wayToNew } from './way-to-new.ts';

const lookScript = String.raw`
say() { printf '%s\t%s\n' "$1" "$2"; }
system=$(uname -s)
if [ "$system" != Linux ] || ! find --version 2>/dev/null | grep -q GNU; then say gnu "$system"; exit 0; fi
for tool in rsync perl flock awk od sha256sum; do command -v "$tool" >/dev/null || say tool "$tool"; done
if ! flock --help 2>&1 | grep -q -- ' -E'; then say tool 'flock of util-linux 2.22 or newer'; fi
if ! ssh -Q key 2>/dev/null | grep -q ssh-ed25519; then say tool 'ssh of OpenSSH 6.5 or newer'; fi
if [ -e /.dockerenv ]; then say inside /.dockerenv; fi
if [ -e /run/.containerenv ]; then say inside /run/.containerenv; fi
if [ ! -x "$1/bin/qmail-send" ] || [ ! -d "$1/queue/mess" ]; then say qmail "$1"; fi
if [ "$2" = mysql ]; then
  command -v mariadb >/dev/null || command -v mysql >/dev/null || say tool 'mysql or mariadb'
  command -v mariadb-dump >/dev/null || command -v mysqldump >/dev/null || say tool 'mysqldump or mariadb-dump'
  [ -r "$1/control/sqlserver" ] || say sqlserver "$1/control/sqlserver"
fi`;

/** What can't be moved at all; reads only, and relies on nothing that such a host may lack. */
export async function refusals(host: MailHost, migration: Migration): Promise<readonly Finding[]> {
  const result = await host.read(
    script(lookScript, [pathOf(migration), migration.qmail?.variant ?? 'files'], {
      purpose: 'find out what kind of server this is',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [kind = '', seen = ''] = line.split('\t');
      return refusal(host, kind, printable(seen));
    });
}

function refusal(host: MailHost, kind: string, seen: string): Finding {
  switch (kind) {
    case 'gnu':
      return blocks(
        `${host.label}: it is a ${seen} without GNU tools, which this suite can't work on`,
        'use a Linux host with GNU coreutils and findutils',
      );
    case 'inside':
      return blocks(
        `${host.label}: SSH ends inside a container (${seen}), which this suite can't move`,
        'name the address of the host itself',
      );
    case 'qmail':
      return blocks(
        `${host.label}: there is no qmail in ${seen}`,
        'install it there, or set qmail.path in the migration file',
      );
    case 'sqlserver':
      return blocks(
        `${host.label}: ${seen} can't be read, and variant: mysql needs it`,
        'write it there, or leave qmail.variant out',
      );
    default:
      return blocks(`${host.label}: the program ${seen} is missing`, `install ${seen} there`);
  }
}

/** Everything about two qmail hosts that can be wrong before anything is touched. */
export async function checks(
  context: MailContext,
  fresh: boolean,
  contents: Contents,
): Promise<readonly Finding[]> {
  const { old, new: target, migration } = context;
  const { stores } = contents;
  const [there, here, homes] = await Promise.all([
    readControl(old, migration),
    readControl(target, migration),
    readHomes(old, migration),
  ]);
  return [
    ...openRelay(old, there),
    ...openRelay(target, here),
    ...(await staleTable(old, migration)),
    ...(await staleTable(target, migration)),
    ...equalNames(there, here),
    ...strangeDomains(old, there),
    ...unknownDomains(context, there),
    ...(await nameOfNew(context, here)),
    ...(await relayedNames(context, there, here)),
    ...(await services(old, target)),
    ...(await wayToNew(context, there, here)),
    ...(await lifetime(context, there)),
    ...(await mboxes(context, there, homes)),
    ...(await homesOnNew(context, homes)),
    ...(await missingPrograms(context, homes, contents)),
    ...(await usersElsewhere(context, homes)),
    ...(await sharedDatabase(context)),
    ...(await owners(context, stores)),
    ...(await room(old, target, stores)),
    ...(fresh ? await emptiness(target, migration, stores) : []),
  ];
}

/** qmail-smtpd(8): without the file every recipient of every domain is accepted. */
function openRelay(host: MailHost, control: Control): Finding[] {
  return control.files.get('rcpthosts') === undefined
    ? [
        blocks(
          `${host.label}: control/rcpthosts is missing, so it is an open relay`,
          'write the domains that it takes mail for into control/rcpthosts',
        ),
      ]
    : [];
}

/** qmail-newmrh(8) must run after each change of morercpthosts. */
async function staleTable(host: MailHost, migration: Migration): Promise<Finding[]> {
  const result = await host.read(
    script(
      'if [ -e "$1" ] && [ ! "$1.cdb" -nt "$1" ] && [ ! -e "$1.cdb" -o "$1" -nt "$1.cdb" ]; then printf stale; fi',
      [`${pathOf(migration)}/control/morercpthosts`],
      { purpose: 'look at morercpthosts.cdb' },
    ),
  );
  return result.stdout.length === 0
    ? []
    : [
        warns(
          `${host.label}: control/morercpthosts is newer than its table, so some of its domains may be refused`,
          'run qmail-newmrh there',
        ),
      ];
}

function equalNames(there: Control, here: Control): Finding[] {
  const found: Finding[] = [];
  if (me(there) === me(here))
    found.push(
      warns(
        `control/me is ${me(there)} on OLD and NEW, so their logs and bounces can't be told apart`,
        'give NEW a name of its own',
      ),
    );
  if (there.hostName === here.hostName)
    found.push(
      warns(
        `OLD and NEW are both called ${there.hostName}, and qmail-local makes names of messages from it`,
        'give NEW another host name; late passes go by a list of names, not by the host name, but two messages of one second could still bear one name',
      ),
    );
  return found;
}

/** What no route can say: one address of a domain that is not local, or every domain there is. */
function strangeDomains(host: MailHost, control: Control): Finding[] {
  return virtualDomains(control)
    .filter(({ name, prepend }) => name.includes('@') || (name === '' && prepend !== ''))
    .map(({ name, prepend }) =>
      blocks(
        `${host.label}: control/virtualdomains has "${printable(`${name}:${prepend}`)}", which no route to NEW can stand for`,
        'name whole domains there',
      ),
    );
}

function unknownDomains({ migration, old }: MailContext, control: Control): Finding[] {
  if (migration.qmail?.variant === 'mysql') return [];
  const names = movedNames(control);
  return migration.domains
    .filter(
      (domain) =>
        !names.some((name) => name === domain || (name.startsWith('.') && domain.endsWith(name))),
    )
    .map((domain) =>
      warns(
        `${old.label}: ${domain} stands neither in locals nor in virtualdomains`,
        'correct domains in the migration file',
      ),
    );
}

/** Supervised by daemontools, runit or systemd: else nothing could keep them from starting. */
async function services(old: MailHost, target: MailHost): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const [host, roles] of [
    [old, ['send']],
    [target, ['send', 'smtpd']],
  ] as const) {
    const seen = await ask(host, 'services');
    const there = new Set(seen.split('\n').map((line) => line.split('\t')[0]));
    for (const role of roles) {
      if (there.has(role)) continue;
      found.push(
        blocks(
          `${host.label}: no service was found that starts qmail-${role}`,
          'let daemontools or runit (in /service, /etc/service or /var/service) or a systemd unit start it',
        ),
      );
    }
  }
  return found;
}

const dayBefore = 86_400;

/** qmail-send(8): what is older than `queuelifetime` is tried once more and then bounces. */
async function lifetime({ old, migration }: MailContext, control: Control): Promise<Finding[]> {
  const limit = Number(lines(control.files.get('queuelifetime'))[0] ?? 604_800);
  const queue = await readQueue(old, migration);
  const born = queue.messages.map((message) => message.born);
  const age = born.length === 0 ? 0 : queue.now - Math.min(...born);
  const wanted = migration.freeze['max-minutes'] * 60 + dayBefore;
  return age > 0 && age + wanted > limit
    ? [
        warns(
          `${old.label}: the oldest message in its queue is ${Math.round(age / 3600)} h old, and bounces at ${Math.round(limit / 3600)} h (queuelifetime)`,
          `deliver it first (qmail-qread), or raise control/queuelifetime by a day and restart qmail-send`,
        ),
      ]
    : [];
}

/** dot-qmail(5): a path without a slash at its end is an mbox. */
async function mboxes(
  { old, migration }: MailContext,
  control: Control,
  homes: Homes,
): Promise<Finding[]> {
  const result = await old.read(
    script(
      `while IFS= read -r home; do
         for file in "$home"/.qmail*; do
           if [ -f "$file" ] && grep -Eq '^[./].*[^/[:space:]][[:space:]]*$' "$file"; then printf '%s\\n' "$file"; fi
         done
         if [ -s "$home/Mailbox" ]; then printf '%s/Mailbox\\n' "$home"; fi
       done
       tr '\\0' '\\n' < "/proc/$(cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\\([0-9]*\\) (qmail-lspawn) .*/\\1/p' | head -n 1)/cmdline" 2>/dev/null | sed -n '2s/^/default /p' || :`,
      [],
      {
        stdin: homes.homes.map(({ path }) => `${path}\n`).join(''),
        purpose: 'look for mbox mailboxes',
      },
    ),
  );
  const found = result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
  const byDefault = [
    ...found.filter((line) => line.startsWith('default ')).map((line) => line.slice(8)),
    ...lines(control.files.get('defaultdelivery')),
  ].filter((line) => /^[./].*[^/\s]\s*$/.test(line));
  const files = found.filter((line) => !line.startsWith('default ')).map(printable);
  const all = [...files, ...byDefault.map((line) => `the default delivery ${printable(line)}`)];
  if (all.length === 0) return [];
  const text = `${old.label}: mail is delivered into mbox files: ${all.slice(0, 3).join(', ')}${all.length > 3 ? ` and ${all.length - 3} more` : ''}`;
  const cure = 'turn them into Maildirs first (and the lines that name them)';
  return migration.qmail?.strategy === 'snapshot'
    ? [blocks(`${text}; a late pass can only add files, so late mail would stay on OLD`, cure)]
    : [warns(`${text}; a message that OLD still had to deliver itself would stay there`, cure)];
}

/** qmail-getpw(9): an account that does not own its home does not count, and its mail bounces. */
async function homesOnNew({ new: target }: MailContext, homes: Homes): Promise<Finding[]> {
  const wanted = homes.homes.filter(({ from }) => from === 'passwd');
  const result = await target.read(
    script(
      `while IFS='	' read -r user home; do
         entry=$(getent passwd "$user") || { printf 'user\\t%s\\t%s\\n' "$user" "$home"; continue; }
         own=$(printf '%s' "$entry" | cut -d: -f6)
         if [ ! -d "$own" ]; then printf 'missing\\t%s\\t%s\\n' "$user" "$own"
         elif [ "$(stat -c %u -- "$own")" != "$(printf '%s' "$entry" | cut -d: -f3)" ]; then printf 'owner\\t%s\\t%s\\n' "$user" "$own"
         elif [ "$own" != "$home" ]; then printf 'other\\t%s\\t%s\\n' "$user" "$own"; fi
       done`,
      [],
      {
        stdin: wanted.map(({ user, path }) => `${user}\t${path}\n`).join(''),
        purpose: 'look at the homes',
      },
    ),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [kind, user = '', home = ''] = line.split('\t').map(printable);
      const bounce = `so qmail-getpw passes over it and mail for ${user} bounces`;
      switch (kind) {
        case 'missing':
          return blocks(
            `${target.label}: the home ${home} of ${user} is missing, ${bounce}`,
            'make it, owned by that user',
          );
        case 'owner':
          return blocks(
            `${target.label}: the home ${home} of ${user} belongs to somebody else, ${bounce}`,
            `chown it to ${user}`,
          );
        case 'other':
          return blocks(
            `${target.label}: the home of ${user} is ${home} there, and another one on OLD`,
            'give the account the same home on both hosts',
          );
        default:
          return blocks(
            `${target.label}: the account ${user} is missing there, so its mail bounces`,
            'create it (its number may differ)',
          );
      }
    });
}

/** Two hosts at one database: a redirect on OLD would take NEW's rows away. */
async function sharedDatabase({ old, new: target, migration }: MailContext): Promise<Finding[]> {
  if (migration.qmail?.variant !== 'mysql') return [];
  const where = async (host: MailHost) => {
    const result = await host.read(
      script(`${withDatabase}\nvalue server; value db`, [pathOf(migration)], {
        purpose: 'read where the database is',
      }),
    );
    return result.stdout.toString('utf8').trim();
  };
  const [there, here] = await Promise.all([where(old), where(target)]);
  return isOneDatabase(there, here)
    ? [
        blocks(
          `OLD and NEW use one database (${printable(there.replace('\n', ', '))})`,
          'give NEW a database of its own: this variant copies the tables',
        ),
      ]
    : [];
}

/** By server and database, a line each; what is local is each host's own. */
export function isOneDatabase(there: string, here: string): boolean {
  return there === here && !/^(localhost|127\.|::1)/.test(there);
}

async function owners(context: MailContext, stores: readonly string[]): Promise<Finding[]> {
  const missing = await missingOwners(context, await ownersOf(context, stores));
  return missing.length === 0
    ? []
    : [
        blocks(
          `${context.new.label}: these owners of mail on OLD don't exist there: ${missing.join(', ')}`,
          'create them (their numbers may differ)',
        ),
      ];
}

/** Two servers are not merged. */
async function emptiness(
  target: MailHost,
  migration: Migration,
  stores: readonly string[],
): Promise<Finding[]> {
  const own = storesOf(await readHomes(target, migration));
  const mail = await target.read(
    script(
      `for store; do
         if [ -d "$store" ]; then find "$store" -type f \\( -path '*/cur/*' -o -path '*/new/*' \\) -print0 -quit; fi
       done`,
      [...new Set([...stores, ...own])],
      { timeout: 3600, purpose: 'look for mail on NEW' },
    ),
  );
  const queue = await target.read(
    script('find "$1/queue/mess" -type f -printf x', [pathOf(migration)], {
      purpose: 'look at the queue of NEW',
    }),
  );
  return [
    ...mail.stdout
      .toString('utf8')
      .split('\0')
      .slice(0, -1)
      .map((path) =>
        blocks(
          `${target.label}: it holds mail already (${printable(path)})`,
          'move that mail away: NEW must be empty, since two servers are not merged',
        ),
      ),
    ...(queue.stdout.length === 0
      ? []
      : [
          blocks(
            `${target.label}: ${queue.stdout.length} messages are in its queue`,
            'deliver or delete them (qmail-qread), then plan again',
          ),
        ]),
  ];
}
