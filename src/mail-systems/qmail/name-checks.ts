import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import { type Finding, type MailContext, warns } from '../mail-system.ts';
import { acceptedNames, type Control, lines, me, ownNames } from './control.ts';
import { namesOf } from './names.ts';

const shown = 5;

/**
 * Stage zero of the article: NEW's own name must resolve. OLD takes mail for it from `prepare` on, and
 * qmail-remote(8) gives a name without an address back at once, 5.1.2. It asks the DNS and nothing else.
 */
export async function nameOfNew({ old }: MailContext, here: Control): Promise<Finding[]> {
  const name = me(here);
  const result = await old.read(
    script('getent -s dns ahosts -- "$1" | head -n 1 || :', [name], {
      timeout: 60,
      purpose: "look up NEW's name",
    }),
  );
  return result.stdout.length > 0
    ? []
    : [
        warns(
          `${old.label}: the DNS there has no address for ${printable(name)}, the name of NEW (control/me), so what OLD sends to that name bounces`,
          'add the name to the DNS before the move',
        ),
      ];
}

/**
 * What OLD takes and sends on, as a second MX or to a server behind it, is configuration of its own,
 * which does not move: once the names of OLD lead to NEW, NEW would refuse it.
 */
export async function relayedNames(
  { old, new: target, migration }: MailContext,
  there: Control,
  here: Control,
): Promise<Finding[]> {
  const known = [...(await namesOf(old, migration)), ...acceptedNames(here), me(there), me(here)];
  const names = [...acceptedNames(there)].filter(
    (name) => !ownNames.test(name) && !known.some((each) => covers(each, name)),
  );
  if (names.length === 0) return [];
  const more = names.length > shown ? ` and ${names.length - shown} more` : '';
  const routes = lines(there.files.get('smtproutes')).length > 0 ? ' and smtproutes' : '';
  return [
    warns(
      `${target.label}: it does not take mail for ${names.slice(0, shown).map(printable).join(', ')}${more}, which OLD takes (rcpthosts, morercpthosts) and sends on`,
      `if their mail is to come to NEW, write them into its rcpthosts${routes}`,
    ),
  ];
}

/** A name that begins with a dot stands for all below it (qmail-smtpd(8), qmail-send(8)). */
function covers(known: string, name: string): boolean {
  return known === name || (known.startsWith('.') && name.endsWith(known));
}
