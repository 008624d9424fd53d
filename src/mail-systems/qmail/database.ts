import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { pathOf } from './control.ts';

/**
 * The tables of the MySQL patches that the article speaks of: `mailbox`, `virtual`, `alias` and
 * `rcpthosts` (the article spells that one `rctphosts`).
 */
export const tables = ['mailbox', 'virtual', 'alias', 'rcpthosts'] as const;

/**
 * `control/sqlserver` holds lines `server`, `login`, `password` and `db`, each with its value. They
 * go into an option file of mysql(1) that only root can read and that is gone at the end: never on a
 * command line, never to the runner.
 */
export const withDatabase = String.raw`
umask 077
file=$1/control/sqlserver
[ -r "$file" ] || { printf 'control/sqlserver is missing\n' >&2; exit 46; }
options=$(mktemp)
trap 'rm -f -- "$options"' EXIT
value() { awk -v key="$1" '$1 == key { sub(/^[^ \t]+[ \t]+/, ""); print; exit }' "$file"; }
quoted() { value "$1" | sed 's/[\\"]/\\&/g'; }
printf '[client]\nhost="%s"\nuser="%s"\npassword="%s"\n' "$(quoted server)" "$(quoted login)" "$(quoted password)" > "$options"
db=$(value db)
client=$(command -v mariadb || command -v mysql)
dumper=$(command -v mariadb-dump || command -v mysqldump)
sql() { "$client" --defaults-extra-file="$options" --batch --skip-column-names "$db"; }
dump() { "$dumper" --defaults-extra-file="$options" --default-character-set=binary --skip-comments --single-transaction --no-tablespaces "$db" "$@"; }
`;

/** Rows of a query, columns parted by tabs as mysql(1) does in batch mode. */
export async function query(
  host: MailHost,
  migration: Migration,
  text: string,
): Promise<readonly (readonly string[])[]> {
  const result = await host.read(
    script(`${withDatabase}\nsql`, [pathOf(migration)], {
      stdin: `${text};\n`,
      purpose: 'ask the database',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}
