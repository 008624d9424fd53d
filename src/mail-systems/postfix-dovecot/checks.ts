import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { attributesInStores } from '../attributes.ts';
import { blocks, type Contents, type Finding, type MailContext, warns } from '../mail-system.ts';
import { mountsInStores } from '../mounts.ts';
import { room } from '../room.ts';
import { carriedPorts } from './carry.ts';
import { copyChecks } from './copy-checks.ts';
import { type Dovecot, mailLocation as location, mailPaths, readDovecot } from './dovecot.ts';
import { emptiness } from './emptiness.ts';
import { latePort } from './names.ts';
import { missingOwners, ownersOf } from './owners.ts';
import { localDomains, type Postfix, readPostfix } from './postfix.ts';

/** Everything about two Postfix and Dovecot hosts that can be wrong before anything is touched. */
export async function checks(
  context: MailContext,
  fresh: boolean,
  { stores, carried }: Contents,
): Promise<readonly Finding[]> {
  const { old, new: target } = context;
  const [oldPostfix, newPostfix, oldDovecot, newDovecot] = await Promise.all([
    readPostfix(old),
    readPostfix(target),
    readDovecot(old),
    readDovecot(target),
  ]);
  const missing = [
    ...installed(old, oldPostfix, oldDovecot),
    ...installed(target, newPostfix, newDovecot),
  ];
  if (!oldPostfix || !newPostfix || !oldDovecot || !newDovecot) return missing;
  return [
    ...(await missingPaths(old, stores, 'the store', 'correct stores in the migration file')),
    ...(await missingPaths(
      old,
      carried,
      'the path',
      'correct carry in the migration file, or the passdb in Dovecot that names it',
    )),
    ...(await remoteStores(old, stores)),
    ...(await remoteStores(target, stores)),
    ...(await otherDomains(context, old, oldPostfix)),
    ...(await unknownDomains(context, oldPostfix)),
    ...(fresh ? await otherDomains(context, target, newPostfix) : []),
    ...(await configuration(context, oldPostfix, newPostfix)),
    ...dovecotChecks(context, oldDovecot, newDovecot),
    ...(await copyChecks(
      context,
      { carried },
      { old: oldPostfix, new: newPostfix },
      { old: oldDovecot, new: newDovecot },
    )),
    ...(await owners(context, stores)),
    ...(await room(old, target, stores)),
    ...(await mountsInStores(old, target, stores)),
    ...(await attributesInStores(old, stores)),
    ...(await bans(context)),
    ...(fresh
      ? await emptiness(target, {
          stores: [...new Set([...stores, ...newDovecot.paths])],
          doorPorts: [context.migration['late-mail'].port, latePort(context.migration)],
        })
      : []),
  ];
}

function installed(
  host: MailHost,
  postfix: Postfix | undefined,
  dovecot: Dovecot | undefined,
): Finding[] {
  return [
    ...(postfix
      ? []
      : [blocks(`${host.label}: Postfix is not installed`, 'install it, or check the address')]),
    ...(dovecot
      ? []
      : [blocks(`${host.label}: Dovecot is not installed`, 'install it, or check the address')]),
  ];
}

async function missingPaths(
  old: MailHost,
  paths: readonly string[],
  what: string,
  cure: string,
): Promise<Finding[]> {
  const result = await old.read(
    script('for path; do [ -e "$path" ] || printf "%s\\0" "$path"; done', paths, {
      purpose: 'look for stores and carried paths',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\0')
    .filter((path) => path !== '')
    .map((path) => blocks(`${old.label}: ${what} ${printable(path)} does not exist`, cure));
}

/** A store on a network file system: others may write there, and a freeze of OLD would not stop them. */
async function remoteStores(host: MailHost, stores: readonly string[]): Promise<Finding[]> {
  const result = await host.read(
    script(
      `for store; do
         path=$store
         while [ ! -e "$path" ]; do path=$(dirname -- "$path"); done
         kind=$(stat -f -c %T -- "$path")
         case $kind in
           nfs*|ceph*|gluster*|smb*|cifs|afs|lustre|gpfs|ocfs2|9p|v9fs) printf '%s\\0%s\\0' "$kind" "$store" ;;
         esac
       done`,
      stores,
      { purpose: 'look at the file systems of the stores' },
    ),
  );
  const words = result.stdout.toString('utf8').split('\0').slice(0, -1);
  return words.flatMap((store, index) =>
    index % 2 === 0
      ? []
      : [
          blocks(
            `${host.label}: the store ${printable(store)} lies on ${words[index - 1]}, where this suite can't tell who else writes`,
            'bring it to a local disk first',
          ),
        ],
  );
}

/** Names by which a Postfix takes mail for the host itself, as Debian and others set them up. */
async function ownNames(host: MailHost, postfix: Postfix): Promise<ReadonlySet<string>> {
  const said = await host.read(
    script('hostname -f 2>/dev/null || hostname; hostname', [], { purpose: 'read its name' }),
  );
  const names = said.stdout.toString('utf8').toLowerCase().trim().split('\n');
  return new Set([
    ...names,
    ...names.map((name) => name.split('.')[0] ?? ''),
    postfix.parameters.get('myhostname') ?? '',
    postfix.parameters.get('myorigin') ?? '',
    `localhost.${postfix.parameters.get('mydomain') ?? ''}`,
    'localhost',
    'localhost.localdomain',
    'localdomain',
  ]);
}

/**
 * A migration of only some of OLD's domains would leave the rest without a server; a NEW with domains
 * of its own would be closed to them by the fence.
 */
async function otherDomains(
  context: MailContext,
  host: MailHost,
  postfix: Postfix,
): Promise<Finding[]> {
  const own = await ownNames(host, postfix);
  const others = (await localDomains(host, postfix))
    .filter((domain) => !own.has(domain) && !context.migration.domains.includes(domain))
    .map(printable);
  if (others.length === 0) return [];
  const text = `${host.label}: it also serves ${others.join(', ')}`;
  return [
    host.role === 'old'
      ? blocks(
          `${text}, and a part of a server can't be moved`,
          'name every domain in domains, or take the others off OLD first',
        )
      : blocks(
          `${text}, and two servers can't be merged`,
          'take them off NEW, or name them in domains if OLD serves them too',
        ),
  ];
}

async function unknownDomains(context: MailContext, postfix: Postfix): Promise<Finding[]> {
  const domains = await localDomains(context.old, postfix);
  return context.migration.domains
    .filter(
      (domain) =>
        !domains.includes(domain) &&
        ![...postfix.parameters.values()].some((value) => value.includes(domain)),
    )
    .map((domain) =>
      warns(
        `${context.old.label}: ${domain} was not found in mydestination, virtual_mailbox_domains or transport_maps`,
        'if a database names it, all is well; else correct domains',
      ),
    );
}

/** Parameters that make NEW refuse or do what OLD does not. */
const compared = [
  'message_size_limit',
  'mailbox_size_limit',
  'virtual_mailbox_limit',
  'recipient_delimiter',
  'home_mailbox',
  'mailbox_command',
  'mailbox_transport',
  'virtual_transport',
  'local_transport',
  'virtual_mailbox_base',
  'smtpd_milters',
  'non_smtpd_milters',
  'content_filter',
  'smtpd_sasl_type',
  'smtpd_sasl_path',
] as const;

async function configuration(
  context: MailContext,
  there: Postfix,
  here: Postfix,
): Promise<Finding[]> {
  // prepare brings OLD's.
  if (context.migration.provision === 'copy') return [];
  const [thereDomains, hereDomains] = await Promise.all([
    localDomains(context.old, there),
    localDomains(context.new, here),
  ]);
  const lacking = thereDomains.filter(
    (domain) => context.migration.domains.includes(domain) && !hereDomains.includes(domain),
  );
  const ownTransports = new Set(['virtual_transport', 'local_transport']);
  const oldHeld = (there.parameters.get('transport_maps') ?? '').includes('mail-cutover-');
  const different = compared.filter(
    (parameter) =>
      !(oldHeld && ownTransports.has(parameter)) &&
      there.parameters.get(parameter) !== here.parameters.get(parameter),
  );
  return [
    ...(lacking.length === 0
      ? []
      : [
          blocks(
            `${context.new.label}: Postfix does not serve ${lacking.join(', ')}`,
            'add them to mydestination or virtual_mailbox_domains on NEW, or use provision: copy',
          ),
        ]),
    ...different.map((parameter) =>
      warns(
        `${parameter} differs: OLD has "${there.parameters.get(parameter) ?? ''}", NEW has "${here.parameters.get(parameter) ?? ''}"`,
        'make them equal, unless you mean it',
      ),
    ),
  ];
}

function dovecotChecks(context: MailContext, there: Dovecot, here: Dovecot): Finding[] {
  const series = (version: string) => version.split('.').slice(0, 2).join('.');
  const upgraded = series(there.version) !== series(here.version);
  // Each version has words of its own for where mail lies: only the folders can be compared.
  const folders = (dovecot: Dovecot) => mailPaths(dovecot.settings).join(', ');
  return [
    ...(context.migration.stores === undefined
      ? there.unknown.map((text) =>
          blocks(
            `${context.old.label}: ${text}`,
            'name every folder with mail in stores, and password files in carry',
          ),
        )
      : []),
    ...(upgraded && /^(?:mdbox|sdbox|dbox):/.test(location(there))
      ? [
          warns(
            `Dovecot ${there.version} on OLD and ${here.version} on NEW, with ${location(there).split(':')[0]}: once NEW serves there is no way back, because OLD can't read its indexes`,
            'install the same version on NEW if you want to be able to go back',
          ),
        ]
      : []),
    ...(upgraded && context.migration.provision === 'copy'
      ? [
          blocks(
            `Dovecot ${there.version} on OLD and ${here.version} on NEW: their configuration can't be copied`,
            'set NEW up yourself and use provision: prepared',
          ),
        ]
      : []),
    ...(context.migration.provision === 'prepared' && upgraded && folders(there) !== folders(here)
      ? [
          warns(
            `Dovecot looks for mail in ${folders(there)} on OLD, in ${folders(here)} on NEW`,
            'make NEW look for mail where OLD keeps it, unless you mean it',
          ),
        ]
      : []),
    ...(context.migration.provision === 'prepared' &&
    !upgraded &&
    location(there) !== location(here)
      ? [
          blocks(
            `mail_location differs: OLD has "${location(there)}", NEW has "${location(here)}"`,
            'make NEW look for mail where OLD keeps it',
          ),
        ]
      : []),
  ];
}

/** Programs that shut out an address by its failed log-ins, and would see OLD's for all carried clients. */
export async function bans(context: MailContext): Promise<Finding[]> {
  if (carriedPorts(context).length === 0) return [];
  const { new: target } = context;
  const result = await target.read(
    script(
      'for name in fail2ban-client crowdsec sshguard denyhosts; do if command -v "$name" > /dev/null; then printf "%s " "$name"; fi; done',
      [],
      { purpose: 'look for programs that ban addresses' },
    ),
  );
  const found = result.stdout.toString('utf8').trim();
  return found === ''
    ? []
    : [
        warns(
          `${target.label}: ${found} may shut OLD out, because all carried clients come by its address`,
          "list OLD's addresses where it lets addresses pass (fail2ban: ignoreip), or carry no ports",
        ),
      ];
}

/** Ownership travels by name; with `copy` the accounts are made in prepare. */
async function owners(context: MailContext, stores: readonly string[]): Promise<Finding[]> {
  if (context.migration.provision === 'copy') return [];
  const missing = await missingOwners(context, await ownersOf(context, stores));
  return missing.length === 0
    ? []
    : [
        blocks(
          `${context.new.label}: these owners of mail on OLD don't exist there: ${missing.join(', ')}`,
          'create them (their numbers may differ), or use provision: copy',
        ),
      ];
}
