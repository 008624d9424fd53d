import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding, type MailContext, warns } from '../mail-system.ts';
import { type Control, lines } from './control.ts';
import type { Homes } from './homes.ts';

/** dot-qmail(5): a path without a slash at its end is an mbox. */
export async function mboxes(
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
export async function homesOnNew({ new: target }: MailContext, homes: Homes): Promise<Finding[]> {
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
