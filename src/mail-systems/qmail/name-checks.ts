import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding, type MailContext, warns } from '../mail-system.ts';
import {
  acceptedNames,
  type Control,
  lines,
  me,
  movedNames,
  ownNames,
  virtualDomains,
} from './control.ts';
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

/** Names by which logs, bounces and messages are told apart. */
export function equalNames(there: Control, here: Control): Finding[] {
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
export function strangeDomains(host: MailHost, control: Control): Finding[] {
  return virtualDomains(control)
    .filter(({ name, prepend }) => name.includes('@') || (name === '' && prepend !== ''))
    .map(({ name, prepend }) =>
      blocks(
        `${host.label}: control/virtualdomains has "${printable(`${name}:${prepend}`)}", which no route to NEW can stand for`,
        'name whole domains there',
      ),
    );
}

/** Domains of the migration file that OLD does not deliver itself. */
export function unknownDomains({ migration, old }: MailContext, control: Control): Finding[] {
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
