import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { attributesInStores } from '../attributes.ts';
import { blocks, type Contents, type Finding, type MailContext, warns } from '../mail-system.ts';
import { mountsInStores } from '../mounts.ts';
import { missingOwners, ownersOf } from '../postfix-dovecot/owners.ts';
import { room } from '../room.ts';
import { missingPrograms } from './commands.ts';
import { type Control, lines, pathOf, readControl } from './control.ts';
import { withDatabase } from './database.ts';
import { homesOnNew, mboxes } from './home-checks.ts';
import { readHomes, storesOf } from './homes.ts';
import {
  equalNames,
  nameOfNew,
  relayedNames,
  strangeDomains,
  unknownDomains,
} from './name-checks.ts';
import { ask } from './program.ts';
import { readQueue } from './queue.ts';
import { usersElsewhere } from './vpopmail.ts';
import { wayToNew } from './way-to-new.ts';

/** Everything about two qmail hosts that can be wrong before anything is touched. */
export async function checks(
  context: MailContext,
  fresh: boolean,
  contents: Contents,
): Promise<readonly Finding[]> {
  const { old, new: target, migration } = context;
  const { stores } = contents;
  const [there, here, homes] = await Promise.all([
    readControl(old, migration),
    readControl(target, migration),
    readHomes(old, migration),
  ]);
  return [
    ...openRelay(old, there),
    ...openRelay(target, here),
    ...(await staleTable(old, migration)),
    ...(await staleTable(target, migration)),
    ...equalNames(there, here),
    ...strangeDomains(old, there),
    ...unknownDomains(context, there),
    ...(await nameOfNew(context, here)),
    ...(await relayedNames(context, there, here)),
    ...(await services(old, target)),
    ...(await wayToNew(context, there, here)),
    ...(await lifetime(context, there)),
    ...(await mboxes(context, there, homes)),
    ...(await homesOnNew(context, homes)),
    ...(await missingPrograms(context, homes, contents)),
    ...(await usersElsewhere(context, homes)),
    ...(await sharedDatabase(context)),
    ...(await owners(context, stores)),
    ...(await room(old, target, stores)),
    ...(await mountsInStores(old, target, stores)),
    ...(await attributesInStores(old, stores)),
    ...(fresh ? await emptiness(target, migration, stores) : []),
  ];
}

/** qmail-smtpd(8): without the file every recipient of every domain is accepted. */
function openRelay(host: MailHost, control: Control): Finding[] {
  return control.files.get('rcpthosts') === undefined
    ? [
        blocks(
          `${host.label}: control/rcpthosts is missing, so it is an open relay`,
          'write the domains that it takes mail for into control/rcpthosts',
        ),
      ]
    : [];
}

/** qmail-newmrh(8) must run after each change of morercpthosts. */
async function staleTable(host: MailHost, migration: Migration): Promise<Finding[]> {
  const result = await host.read(
    script(
      'if [ -e "$1" ] && [ ! "$1.cdb" -nt "$1" ] && [ ! -e "$1.cdb" -o "$1" -nt "$1.cdb" ]; then printf stale; fi',
      [`${pathOf(migration)}/control/morercpthosts`],
      { purpose: 'look at morercpthosts.cdb' },
    ),
  );
  return result.stdout.length === 0
    ? []
    : [
        warns(
          `${host.label}: control/morercpthosts is newer than its table, so some of its domains may be refused`,
          'run qmail-newmrh there',
        ),
      ];
}

/** Supervised by daemontools, runit or systemd: else nothing could keep them from starting. */
async function services(old: MailHost, target: MailHost): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const [host, roles] of [
    [old, ['send']],
    [target, ['send', 'smtpd']],
  ] as const) {
    const seen = await ask(host, 'services');
    const there = new Set(seen.split('\n').map((line) => line.split('\t')[0]));
    for (const role of roles) {
      if (there.has(role)) continue;
      found.push(
        blocks(
          `${host.label}: no service was found that starts qmail-${role}`,
          'let daemontools or runit (in /service, /etc/service or /var/service) or a systemd unit start it',
        ),
      );
    }
  }
  return found;
}

const dayBefore = 86_400;

/** qmail-send(8): what is older than `queuelifetime` is tried once more and then bounces. */
async function lifetime({ old, migration }: MailContext, control: Control): Promise<Finding[]> {
  const limit = Number(lines(control.files.get('queuelifetime'))[0] ?? 604_800);
  const queue = await readQueue(old, migration);
  const born = queue.messages.map((message) => message.born);
  const age = born.length === 0 ? 0 : queue.now - Math.min(...born);
  const wanted = migration.freeze['max-minutes'] * 60 + dayBefore;
  return age > 0 && age + wanted > limit
    ? [
        warns(
          `${old.label}: the oldest message in its queue is ${Math.round(age / 3600)} h old, and bounces at ${Math.round(limit / 3600)} h (queuelifetime)`,
          `deliver it first (qmail-qread), or raise control/queuelifetime by a day and restart qmail-send`,
        ),
      ]
    : [];
}

/** Two hosts at one database: a redirect on OLD would take NEW's rows away. */
async function sharedDatabase({ old, new: target, migration }: MailContext): Promise<Finding[]> {
  if (migration.qmail?.variant !== 'mysql') return [];
  const where = async (host: MailHost) => {
    const result = await host.read(
      script(`${withDatabase}\nvalue server; value db`, [pathOf(migration)], {
        purpose: 'read where the database is',
      }),
    );
    return result.stdout.toString('utf8').trim();
  };
  const [there, here] = await Promise.all([where(old), where(target)]);
  return isOneDatabase(there, here)
    ? [
        blocks(
          `OLD and NEW use one database (${printable(there.replace('\n', ', '))})`,
          'give NEW a database of its own: this variant copies the tables',
        ),
      ]
    : [];
}

/** By server and database, a line each; what is local is each host's own. */
export function isOneDatabase(there: string, here: string): boolean {
  return there === here && !/^(localhost|127\.|::1)/.test(there);
}

async function owners(context: MailContext, stores: readonly string[]): Promise<Finding[]> {
  const missing = await missingOwners(context, await ownersOf(context, stores));
  return missing.length === 0
    ? []
    : [
        blocks(
          `${context.new.label}: these owners of mail on OLD don't exist there: ${missing.join(', ')}`,
          'create them (their numbers may differ)',
        ),
      ];
}

/** Two servers are not merged. */
async function emptiness(
  target: MailHost,
  migration: Migration,
  stores: readonly string[],
): Promise<Finding[]> {
  const own = storesOf(await readHomes(target, migration));
  const mail = await target.read(
    script(
      `for store; do
         if [ -d "$store" ]; then find "$store" -type f \\( -path '*/cur/*' -o -path '*/new/*' \\) -print0 -quit; fi
       done`,
      [...new Set([...stores, ...own])],
      { timeout: 3600, purpose: 'look for mail on NEW' },
    ),
  );
  const queue = await target.read(
    script('find "$1/queue/mess" -type f -printf x', [pathOf(migration)], {
      purpose: 'look at the queue of NEW',
    }),
  );
  return [
    ...mail.stdout
      .toString('utf8')
      .split('\0')
      .slice(0, -1)
      .map((path) =>
        blocks(
          `${target.label}: it holds mail already (${printable(path)})`,
          'move that mail away: NEW must be empty, since two servers are not merged',
        ),
      ),
    ...(queue.stdout.length === 0
      ? []
      : [
          blocks(
            `${target.label}: ${queue.stdout.length} messages are in its queue`,
            'deliver or delete them (qmail-qread), then plan again',
          ),
        ]),
  ];
}
