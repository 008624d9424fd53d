import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import { type Finding, type MailContext, warns } from '../mail-system.ts';
import type { Homes } from './homes.ts';

/**
 * A domain of vpopmail is one folder, which is copied as it is: vpasswd and vpasswd.cdb, and users in
 * folders that a hash has chosen, so that nobody is added anew. Built with a database vpopmail keeps its
 * users there, and the folder has no vpasswd.
 */
export async function usersElsewhere(
  { old }: MailContext,
  { homes }: Homes,
): Promise<readonly Finding[]> {
  const result = await old.read(
    script(
      `while IFS= read -r home; do
         if [ -f "$home/.qmail-default" ] && grep -qs vdelivermail "$home/.qmail-default" && [ ! -e "$home/vpasswd" ]; then printf '%s\\n' "$home"; fi
       done`,
      [],
      {
        stdin: homes.map(({ path }) => `${path}\n`).join(''),
        purpose: "look for vpopmail's users",
      },
    ),
  );
  const found = result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map(printable);
  const more = found.length > 1 ? ` and ${found.length - 1} more` : '';
  return found.length === 0
    ? []
    : [
        warns(
          `${old.label}: ${found[0]}${more} of vpopmail has no vpasswd, so its users are in a database, which is not copied`,
          'give NEW that database (or a copy) and ~vpopmail/etc before prepare',
        ),
      ];
}
