import type { Step } from '../../engine/step.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { called, type MailContext } from '../mail-system.ts';
import {
  type AccountFiles,
  type Accounts,
  accountLines,
  accountsOf,
  isRegular,
  missingAccounts,
  privileged,
  shadowOf,
  wantedAccounts,
} from './accounts.ts';
import { accountsGroup } from './copy-accounts.ts';

/*
 * System users that have mail are accounts of the host, and what changes in them while mail is moved goes
 * along: users that were made on the source, with their groups and passwords, and passwords of users that
 * both hosts have. Root, accounts of the system, and users who may do more on the target than read mail are
 * left alone, and named.
 */

/** Undo records on OLD of what came back. They hold the passwords that were there before. */
const returnedGroup = 'returned';

/** hostctl's exit code where nothing was noted when NEW began to serve. */
const notNoted = 44;

/** `activate`: what a password is compared with later. Not after the opening: from then on it may be changed. */
export function notePasswordsStep({ new: target }: MailContext): Step {
  return {
    id: 'note-passwords',
    title: 'Note the passwords of system users on NEW, to know later which were changed',
    done: () => has(target, 'opened'),
    do: async () => {
      await target.edit('note-passwords', [], { purpose: 'note the passwords' });
      return undefined;
    },
  };
}

/** Who owns mail on the source (`u:NAME`, `g:NAME`), and the stores. */
interface Mail {
  readonly owners: () => Promise<readonly string[]>;
  readonly trees: () => Promise<readonly string[]>;
}

/** `rollback`, turned: what was changed on NEW since it serves, for OLD. */
export function returnAccountsStep(context: MailContext, id: string, mail: Mail): Step {
  return alongStep(context, id, { ...mail, group: returnedGroup, compared: comparePasswords });
}

/** The final pass with `provision: copy`: what was changed on OLD since `prepare` made the accounts. */
export function latestAccountsStep(context: MailContext, mail: Mail): Step {
  const compared = async () => ({ changed: await madeHere(context.target), gone: [] });
  return alongStep(context, 'latest-accounts', { ...mail, group: accountsGroup, compared });
}

interface Along extends Mail {
  /** Of undo records on the target. */
  readonly group: string;
  /** Of whom the password may have been changed on the source; undefined where that can't be told. */
  readonly compared: (source: MailHost) => Promise<Compared | undefined>;
}

interface Compared {
  readonly changed: ReadonlySet<string>;
  readonly gone: readonly string[];
}

function alongStep(context: MailContext, id: string, along: Along): Step {
  const { source, target, log } = context;
  return {
    id,
    title: `Bring system users that were made or changed on ${called(source)} to ${called(target)}`,
    done: async () => {
      const { left, ...changes } = await changesOf(context, along);
      return isNothing(changes) && left.length === 0;
    },
    do: async () => {
      const changes = await changesOf(context, along);
      const { made, passwords, left } = changes;
      for (const line of left) log.warning(line);
      if (isNothing(changes)) return undefined;
      await target.edit('accounts', [along.group, ...(await along.trees())], {
        stdin: `${await accountLines(source, made)}${await passwordLines(source, passwords)}`,
        timeout: 3600,
        purpose: 'bring accounts along',
      });
      return inWords(changes);
    },
  };
}

interface Changes {
  /** What the target lacks. */
  readonly made: Accounts;
  /** Users of both hosts whose passwords are to be taken over. */
  readonly passwords: readonly string[];
  /** What is left to a person, a line each. */
  readonly left: readonly string[];
}

function isNothing({ made, passwords }: Omit<Changes, 'left'>): boolean {
  return made.users.length + made.groups.length + made.members.length + passwords.length === 0;
}

function inWords({ made, passwords }: Changes): string {
  const names = [...new Set([...made.users, ...made.groups].map(({ name }) => name))];
  const members = made.members.map(({ group: of, user }) => `${user} in ${of}`);
  return [
    ...(names.length > 0 ? [`made: ${names.join(', ')}`] : []),
    ...(members.length > 0 ? [`new members: ${members.join(', ')}`] : []),
    ...(passwords.length > 0 ? [`new passwords: ${passwords.join(', ')}`] : []),
  ].join('; ');
}

async function changesOf(context: MailContext, along: Along): Promise<Changes> {
  const { source, target } = context;
  const [all, here, compared] = await Promise.all([
    along.owners().then((owners) => wantedAccounts(source, context, owners)),
    accountsOf(target),
    along.compared(source),
  ]);
  const wanted = regularOnly(all);
  const mightier = mightierUsers(here);
  const common = wanted.users.filter(({ name }) =>
    here.users.some((user) => user.name === name && isRegular(user.uid)),
  );
  const changed = compared ? common.filter(({ name }) => compared.changed.has(name)) : common;
  const other = await otherHashes(source, target, changed);
  const passwords = compared ? other.filter((name) => !mightier.has(name)) : [];
  return {
    made: missingAccounts(wanted, here),
    passwords,
    left: leftAlone(context, { other, passwords, gone: compared?.gone ?? [] }, here),
  };
}

function regularOnly({ users, groups, members }: Accounts): Accounts {
  const own = users.filter(({ uid }) => isRegular(uid));
  const names = new Set(own.map(({ name }) => name));
  return {
    users: own,
    groups: groups.filter(({ gid }) => isRegular(gid)),
    members: members.filter(({ user }) => names.has(user)),
  };
}

/** Users who may become more than themselves: a password from elsewhere would be a way in. */
export function mightierUsers({ users, groups }: AccountFiles): ReadonlySet<string> {
  const mighty = groups.filter(({ name }) => privileged.includes(name));
  const numbers = new Set(mighty.map(({ gid }) => gid));
  return new Set([
    ...mighty.flatMap(({ members }) => members),
    // Nobody is listed as a member of his own group (passwd(5)).
    ...users.filter(({ gid }) => numbers.has(gid)).map(({ name }) => name),
  ]);
}

function leftAlone(
  { source, target }: MailContext,
  {
    other,
    passwords,
    gone,
  }: Pick<Changes, 'passwords'> & Record<'other' | 'gone', readonly string[]>,
  here: AccountFiles,
): readonly string[] {
  const kept = other.filter((name) => !passwords.includes(name));
  const still = gone.filter((name) => here.users.some((user) => user.name === name));
  return [
    ...(kept.length > 0
      ? [
          `${target.label}: the passwords of ${kept.join(', ')} are other than on ${called(source)}, and stay as they are. Set them there yourself if they were changed on ${called(source)}`,
        ]
      : []),
    ...(still.length > 0
      ? [
          `${target.label}: ${still.join(', ')} stay there, though they are gone from ${called(source)}. Remove them yourself`,
        ]
      : []),
  ];
}

/** What was changed since the host serves; undefined where nothing was noted then. */
async function comparePasswords(host: MailHost): Promise<Compared | undefined> {
  const result = await host.read(
    command([host.hostctl, 'compare-passwords'], {
      allow: [0, notNoted],
      purpose: 'look which passwords were changed',
    }),
  );
  if (result.code === notNoted) return undefined;
  const lines = result.stdout.toString('utf8').split('\n');
  const named = (word: string) =>
    lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
  return { changed: new Set(named('changed ')), gone: named('gone ') };
}

/** Users of the host that `prepare` made there: their passwords are OLD's. */
async function madeHere(host: MailHost): Promise<ReadonlySet<string>> {
  const result = await host.read(
    script(
      'for record in "$1"/[0-9][0-9][0-9][0-9]-user-*; do if [ -e "$record/what" ]; then cat "$record/what"; echo; fi; done',
      [`${host.folder}/undo/${accountsGroup}`],
      { purpose: 'look which users prepare made' },
    ),
  );
  return new Set(result.stdout.toString('utf8').split('\n').filter(Boolean));
}

async function otherHashes(
  source: MailHost,
  target: MailHost,
  users: readonly { readonly name: string }[],
): Promise<readonly string[]> {
  const [there, here] = await Promise.all([shadowOf(source, users), shadowOf(target, users)]);
  return users.map(({ name }) => name).filter((name) => hashOf(there, name) !== hashOf(here, name));
}

function hashOf(shadow: ReadonlyMap<string, string>, name: string): string {
  return shadow.get(name)?.split(':')[0] ?? '';
}

/** They hold password hashes: for standard input only. */
async function passwordLines(host: MailHost, names: readonly string[]): Promise<string> {
  const shadow = await shadowOf(
    host,
    names.map((name) => ({ name })),
  );
  return names
    .map((name) => {
      const [hash = '', last = ''] = shadow.get(name)?.split(':') ?? [];
      return `password:${name}:${hash}:${last}\n`;
    })
    .join('');
}
