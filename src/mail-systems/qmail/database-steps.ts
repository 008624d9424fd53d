import type { Step } from '../../engine/step.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has, mark } from '../../hosts/marks.ts';
import { called, type MailContext } from '../mail-system.ts';
import { sameNames } from './assign.ts';
import { query, tables, withDatabase } from './database.ts';

/** For mysqldump(1): what can be loaded into tables that are there. */
const rowsOnly = [
  '--no-create-info',
  '--skip-add-locks',
  '--skip-disable-keys',
  '--complete-insert',
] as const;

/** Undo records on NEW of what was in its tables before. */
const accounts = 'accounts';

/** On the host, for an undo without a runner: `load` runs what comes on standard input. */
const databaseProgram = `#!/bin/sh
set -eu
base=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
word=$1; shift
set -- "$(sed -n 1p "$base/qmail")" "$@"
${withDatabase}
shift
case $word in
  load) sql ;;
  dump) dump "$@" ;;
esac
`;

async function install(host: MailHost): Promise<void> {
  await host.change(
    script('umask 077; cat > "$1.new"; chmod 700 "$1.new"; mv -f "$1.new" "$1"', [program(host)], {
      stdin: databaseProgram,
      purpose: 'install the program for the database',
    }),
  );
}

const program = (host: MailHost) => `${host.folder}/bin/qmail-database`;

/** Dump and load of the tables, with NEW's numbers; then a Maildir for each row of `mailbox`. */
export function loadSteps(context: MailContext): readonly Step[] {
  const { source, target, migration } = context;
  if (migration.qmail?.variant !== 'mysql') return [];
  return [
    {
      id: 'database',
      title: `Copy the tables ${tables.join(', ')} to ${called(target)}, with its own numbers`,
      // What was redirected is no longer what NEW must have: it was copied just before.
      done: () => has(source, 'tables-redirected'),
      do: async () => {
        await install(source);
        await install(target);
        const dumped = await source.read(
          command([program(source), 'dump', ...tables], { purpose: 'dump the tables' }),
        );
        await keepTables(target);
        await target.change(
          command([program(target), 'load'], {
            stdin: Buffer.concat([dumped.stdout, Buffer.from(await renumber(context))]),
            purpose: 'load the tables',
          }),
        );
        return `${await makeMaildirs(context)} mailboxes`;
      },
    },
  ];
}

/** What was in NEW's tables before the first load, for an undo. */
async function keepTables(host: MailHost): Promise<void> {
  await host.change(
    script(
      `umask 077
       "$2" dump ${tables.join(' ')} > "$1/tables.sql"
       "$1/bin/hostctl" record ${accounts} database qmailctl:database tables < "$1/tables.sql"
       rm -f -- "$1/tables.sql"`,
      [host.folder, program(host)],
      { purpose: 'keep the tables as they were' },
    ),
  );
}

async function numbersOf(host: MailHost, context: MailContext) {
  return query(host, context.migration, 'select uid, gid from mailbox');
}

async function renumber(context: MailContext): Promise<string> {
  const pairs = await numbersOf(context.source, context);
  const keys = [...new Set(pairs.flatMap(([uid, gid]) => [`u${uid}`, `g${gid}`]))];
  const map = await sameNames(context.source, context.target, keys);
  const cases = (letter: string, column: string) => {
    const found = [...map].filter(([key]) => key.startsWith(letter));
    const when = found.map(
      ([key, number]) => `when ${Number(key.slice(1))} then ${Number(number)}`,
    );
    return when.length === 0 ? column : `case ${column} ${when.join(' ')} else ${column} end`;
  };
  return `\nupdate mailbox set uid = ${cases('u', 'uid')}, gid = ${cases('g', 'gid')};\n`;
}

/** The article's script, with owners by the target's own table and without a shell in the query. */
async function makeMaildirs({ target, migration }: MailContext): Promise<number> {
  const rows = await query(target, migration, 'select uid, gid, home from mailbox');
  await target.change(
    script(
      `umask 022
       while IFS='	' read -r uid gid home; do
         mkdir -p -- "\${home%/*}"
         if [ ! -d "$home" ]; then mkdir -m 700 -- "$home"; chown "$uid:$gid" -- "$home"; fi
         for part in '' /cur /new /tmp; do
           if [ ! -d "$home/Maildir$part" ]; then mkdir -m 700 -- "$home/Maildir$part"; chown "$uid:$gid" -- "$home/Maildir$part"; fi
         done
       done`,
      [],
      { stdin: rows.map((row) => `${row.join('\t')}\n`).join(''), purpose: 'make the Maildirs' },
    ),
  );
  return rows.length;
}

/**
 * The way back: what NEW's tables hold now is what OLD's tables become when it serves again, in place
 * of its own rows from before. Until then OLD's tables stay redirected.
 */
function rowsBack(context: MailContext): Step {
  const { source, target } = context;
  return {
    id: 'rows-back',
    title: `Keep the rows of ${called(source)} for ${called(target)}, which loads them when it serves again`,
    done: () => has(source, 'tables-redirected'),
    do: async () => {
      await install(source);
      await install(target);
      const dumped = await source.read(
        command([program(source), 'dump', ...rowsOnly, ...tables], { purpose: 'dump the rows' }),
      );
      const rows = [
        'start transaction;',
        ...tables.map((table) => `delete from ${table};`),
        // Clients from before 2024 don't know this line of newer dumpers.
        dumped.stdout.toString('latin1').replace(/^\/\*M?!999999.*\n/, ''),
        await renumber(context),
        'commit;',
      ].join('\n');
      await target.change(
        script(
          `for record in "$1"/undo/freeze/[0-9][0-9][0-9][0-9]-database; do
             if [ -e "$record/kind" ]; then
               exec "$1/bin/hostctl" put "undo/freeze/\${record##*/}/before"
             fi
           done
           exec "$1/bin/hostctl" record freeze database qmailctl:database tables`,
          [target.folder],
          { stdin: Buffer.from(rows, 'latin1'), purpose: 'keep the rows' },
        ),
      );
      return `${(await numbersOf(source, context)).length} mailboxes`;
    },
  };
}

/** `freeze` by redirect: what the tables hold for moved names must not be local either. */
export function databaseStep(context: MailContext): readonly Step[] {
  const { source, migration } = context;
  if (migration.qmail?.variant !== 'mysql') return [];
  return [
    ...(source.role === 'old' ? loadSteps(context) : [rowsBack(context)]),
    {
      id: 'redirect-tables',
      title: `Turn virtual hosts in the tables on ${called(source)} to ${called(context.target)}`,
      done: () => has(source, 'tables-redirected'),
      do: () => redirectTables(context),
    },
  ];
}

/**
 * As in the article: accepted hosts first, so that no name is refused meanwhile; then the virtual hosts
 * go. Aliases with an empty host stay as they are: that means this host's own name, which is routed to
 * the other host like all that move, and comes home like them when the redirect is taken back. What
 * brings the rows back is recorded before, as statements on rows: a table is never gone for a moment.
 */
export async function redirectTables({ source, migration }: MailContext): Promise<string> {
  if (await has(source, 'tables-redirected')) return 'done before';
  await install(source);
  const added = await query(
    source,
    migration,
    'select distinct virtual_host from virtual where virtual_host not in (select host from rcpthosts)',
  );
  const hosts = added.map(([host = '']) => `'${host.replaceAll(/[^A-Za-z0-9._-]/g, '')}'`);
  const back = [
    'delete from virtual;',
    ...(hosts.length > 0 ? [`delete from rcpthosts where host in (${hosts.join(', ')});`] : []),
  ];
  await source.change(
    script(
      `umask 077
       { printf 'start transaction;\\n'; cat; } > "$1/tables.sql"
       "$2" dump ${rowsOnly.join(' ')} virtual >> "$1/tables.sql"
       printf 'commit;\\n' >> "$1/tables.sql"
       "$1/bin/hostctl" record freeze database qmailctl:database tables < "$1/tables.sql"
       rm -f -- "$1/tables.sql"`,
      [source.folder, program(source)],
      { stdin: `${back.join('\n')}\n`, purpose: 'keep what brings the tables back' },
    ),
  );
  await source.change(
    command([program(source), 'load'], {
      stdin: `insert into rcpthosts (host) select distinct virtual_host from virtual where virtual_host not in (select host from rcpthosts);
start transaction;
delete from virtual;
commit;
`,
      purpose: 'redirect the tables',
    }),
  );
  await mark(source, 'tables-redirected');
  return `${hosts.length} hosts are accepted that were not`;
}
