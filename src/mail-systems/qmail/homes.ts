import type { Migration } from '../../config/schema.ts';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { pathOf } from './control.ts';
import { query } from './database.ts';

/** Somebody whose mail is delivered here. */
export interface Home {
  readonly from: 'assign' | 'passwd' | 'alias' | 'database';
  /** Account in charge. */
  readonly user: string;
  readonly uid: string;
  readonly path: string;
}

export interface Homes {
  readonly homes: readonly Home[];
  /** Entries of folders that hold homes, by folder. */
  readonly siblings: ReadonlyMap<string, readonly string[]>;
  /** `.qmail…` files in homes of accounts. */
  readonly dotFiles: readonly string[];
  /** Homes of accounts that have a Maildir. */
  readonly maildirs: readonly string[];
  readonly assign: string | undefined;
}

/**
 * qmail-getpw(9): an account counts when it is not root and owns its home. Of those only the ones that
 * can take mail: with a Maildir, an mbox or a `.qmail` file.
 */
const passwdScript = String.raw`
getent passwd | while IFS=: read -r name _ uid _ _ home _; do
  [ "$uid" != 0 ] && [ -d "$home" ] && [ "$home" != / ] || continue
  [ "$(stat -c %u -- "$home")" = "$uid" ] || continue
  has=
  for file in "$home"/.qmail*; do if [ -f "$file" ]; then has=1; printf 'dot\t%s\n' "$file"; fi; done
  if [ -d "$home/Maildir" ]; then has=1; printf 'maildir\t%s\n' "$home/Maildir"; fi
  if [ -f "$home/Mailbox" ]; then has=1; fi
  if [ -n "$has" ]; then printf 'passwd\t%s\t%s\t%s\n' "$name" "$uid" "$home"; fi
done
if [ -d "$1/alias" ]; then printf 'alias\talias\t%s\t%s\n' "$(stat -c %u -- "$1/alias")" "$1/alias"; fi`;

export async function readHomes(host: MailHost, migration: Migration): Promise<Homes> {
  const path = pathOf(migration);
  const [accounts, assigned] = await Promise.all([
    host.read(script(passwdScript, [path], { purpose: 'list the homes of accounts' })),
    host.read(
      script('[ -e "$1" ] || exit 44; cat -- "$1"', [`${path}/users/assign`], {
        allow: [0, 44],
        purpose: 'read users/assign',
      }),
    ),
  ]);
  const rows = accounts.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
  const named = rows
    .filter(([kind]) => kind === 'passwd' || kind === 'alias')
    .map(([from, user = '', uid = '', home = '']) => ({ from, user, uid, path: home }) as Home);
  const assign = assigned.code === 44 ? undefined : assigned.stdout.toString('utf8');
  const own = new Set(named.map((home) => home.path));
  const others = [...assignedHomes(assign), ...(await tableHomes(host, migration))];
  const homes = unique([...named, ...others.filter((home) => !own.has(home.path))]);
  const of = (kind: string) =>
    rows.filter(([first]) => first === kind).map(([, file = '']) => file);
  return {
    homes,
    siblings: await siblingsOf(host, homes),
    dotFiles: of('dot'),
    maildirs: of('maildir'),
    assign,
  };
}

/** qmail-users(9): `=local:user:uid:gid:homedir:dash:ext:`, `+loc:…`, up to a line with a dot. */
export function assignedHomes(text: string | undefined): readonly Home[] {
  const found: Home[] = [];
  for (const line of (text ?? '').split('\n')) {
    if (line === '.') break;
    if (!/^[=+]/.test(line)) continue;
    const [, user = '', uid = '', , path = ''] = line.split(':');
    if (path.startsWith('/')) found.push({ from: 'assign', user, uid, path: trimmed(path) });
  }
  return found;
}

async function tableHomes(host: MailHost, migration: Migration): Promise<readonly Home[]> {
  if (migration.qmail?.variant !== 'mysql') return [];
  const rows = await query(host, migration, 'select username, uid, home from mailbox');
  return rows.map(([user = '', uid = '', home = '']) => {
    if (!home.startsWith('/'))
      throw new UserError(
        `${host.label}: table mailbox: the home of ${user} is no absolute path. Correct it there`,
      );
    return { from: 'database', user, uid, path: trimmed(home) };
  });
}

function trimmed(path: string): string {
  return path.replace(/\/+$/, '');
}

function unique(homes: readonly Home[]): readonly Home[] {
  return [...new Map(homes.map((home) => [home.path, home])).values()];
}

async function siblingsOf(
  host: MailHost,
  homes: readonly Home[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const parents = [...new Set(homes.filter(isFolderOfMail).map(({ path }) => parentOf(path)))];
  if (parents.length === 0) return new Map();
  const result = await host.read(
    script(
      `while IFS= read -r parent; do
         printf 'parent\\t%s\\n' "$parent"
         if [ -d "$parent" ]; then find "$parent" -mindepth 1 -maxdepth 1 -printf 'entry\\t%p\\n'; fi
       done`,
      [],
      {
        stdin: parents.map((parent) => `${parent}\n`).join(''),
        purpose: 'list what lies beside the homes',
      },
    ),
  );
  const siblings = new Map<string, string[]>();
  let entries: string[] = [];
  for (const line of result.stdout.toString('utf8').split('\n')) {
    const [kind, path = ''] = line.split('\t');
    if (kind === 'parent') {
      entries = [];
      siblings.set(path, entries);
    }
    if (kind === 'entry') entries.push(path);
  }
  return siblings;
}

/** Homes that are there for mail alone; an account's own home holds other things as well. */
function isFolderOfMail(home: Home): boolean {
  return home.from === 'assign' || home.from === 'database';
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Folders whose entries never belong to mail alone, whatever lies there now. */
const shared = new Set(['/', '/home', '/var', '/usr', '/opt', '/srv', '/etc', '/root', '/tmp']);

/**
 * Trees that hold mailboxes. A folder that holds nothing but homes for mail is one tree, so that new
 * users and files beside the Maildirs (`.qmail`, vpopmail's `vpasswd`) come along.
 */
export function storesOf({ homes, siblings, maildirs }: Homes): readonly string[] {
  const mail = homes.filter(isFolderOfMail);
  const known = new Set(mail.map(({ path }) => path));
  const stores = mail.map(({ path }) => {
    const parent = parentOf(path);
    const whole = (siblings.get(parent) ?? []).every((entry) => known.has(entry));
    return whole && !shared.has(parent) ? parent : path;
  });
  const all = [...new Set([...stores, ...maildirs])].sort();
  return all.filter((path) => !all.some((other) => path.startsWith(`${other}/`)));
}
