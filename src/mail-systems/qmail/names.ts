import type { Migration } from '../../config/schema.ts';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { movedNames, pathOf, readControl } from './control.ts';
import { query } from './database.ts';

/**
 * Every name that moves: of the control files, of the migration file, of the tables, and those noted by
 * `prepare`: NEW's own control files from before do not have them, nor a table that was redirected.
 */
export async function namesOf(host: MailHost, migration: Migration): Promise<readonly string[]> {
  const control = await readControl(host, migration);
  const noted = (await linesOf(host, 'qmail', 'read which names move')).slice(1);
  const names = [...movedNames(control), ...migration.domains, ...noted];
  if (migration.qmail?.variant === 'mysql') names.push(...(await virtualHosts(host, migration)));
  return [...new Set(names)].sort();
}

/** For a thaw without a runner: where qmail is, and the names that move. */
export async function noteNames(
  host: MailHost,
  migration: Migration,
  names: readonly string[],
): Promise<void> {
  const noted = [pathOf(migration), ...names].map((line) => `${line}\n`).join('');
  await host.edit('put', ['qmail'], { stdin: noted, purpose: 'note the names that move' });
}

/** Which names NEW itself had when the migration began: they are no news when service goes back. */
export async function noteOwnNames(host: MailHost, migration: Migration): Promise<void> {
  const names = movedNames(await readControl(host, migration));
  await host.edit('put', ['own-names'], { stdin: names.map((name) => `${name}\n`).join('') });
}

/** Names that NEW takes mail for since it serves: OLD refuses them, so their mail could not go back. */
export async function newNames(
  fresh: MailHost,
  old: MailHost,
  migration: Migration,
): Promise<readonly string[]> {
  const known = new Set([
    ...(await namesOf(old, migration)),
    ...(await linesOf(fresh, 'own-names', 'read which names NEW had')),
  ]);
  return movedNames(await readControl(fresh, migration, 'now')).filter((name) => !known.has(name));
}

async function linesOf(host: MailHost, name: string, purpose: string): Promise<readonly string[]> {
  const result = await host.read(
    script('if [ -e "$1" ]; then cat "$1"; fi', [`${host.folder}/${name}`], { purpose }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

async function virtualHosts(host: MailHost, migration: Migration): Promise<readonly string[]> {
  const rows = await query(host, migration, 'select distinct lower(virtual_host) from virtual');
  return rows.map(([name = '']) => {
    if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
      throw new UserError(
        `${host.label}: table virtual: "${printable(name)}" is no host name. Correct it there`,
      );
    return name;
  });
}
