import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding } from '../mail-system.ts';
import { pathOf } from './control.ts';

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
