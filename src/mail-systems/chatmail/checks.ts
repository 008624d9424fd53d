import { isIP } from 'node:net';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { attributesInStores } from '../attributes.ts';
import { blocks, type Finding, type MailContext, warns } from '../mail-system.ts';
import { mountsInStores } from '../mounts.ts';
import { bans } from '../postfix-dovecot/checks.ts';
import { emptiness } from '../postfix-dovecot/emptiness.ts';
import { latePort } from '../postfix-dovecot/names.ts';
import { missingOwners, ownersOf } from '../postfix-dovecot/owners.ts';
import { room } from '../room.ts';
import { type Checkout, readCheckout } from './checkout.ts';
import { dnsChecks } from './dns-checks.ts';
import { freezesByCmdeploy } from './freeze.ts';
import { differences, type RelayIni } from './ini.ts';
import { probePorts } from './probe.ts';
import { carriedBy, type Relay, readRelay, storesOf } from './relay.ts';

/** Everything about a relay and its new host that can be wrong before anything is touched. */
export async function checks(context: MailContext, fresh: boolean): Promise<readonly Finding[]> {
  const { old, new: target, migration } = context;
  const there = await readRelay(old);
  if (!there)
    return [blocks(`${old.label}: it is no chatmail relay`, 'correct old.address, or mail-system')];
  const identity = domainOf(context, there.ini);
  if (identity.length > 0) return identity;
  const [checkout, here] = await Promise.all([checkoutOf(context), readRelay(target)]);
  if ('severity' in checkout) return [checkout];
  const stores = migration.stores ?? storesOf(there.ini);
  // Not more than a few at once: all of them share one connection a host.
  const [missing, space, empty, ports] = await Promise.all([
    missingPaths(old, [...stores, ...carriedBy(there.ini)]),
    room(old, target, stores),
    fresh ? emptyNew(context, stores, there.ini) : [],
    fresh ? foreignPorts(target) : [],
  ]);
  return [
    ...deployments(context, there, here, checkout.found),
    ...missing,
    ...(await ownersOnNew(context, here, stores)),
    ...space,
    ...(await mountsInStores(old, target, stores)),
    ...(await attributesInStores(old, stores)),
    ...empty,
    ...ports,
    ...(await dnsChecks(context, there.ini)),
    ...(await certificate(old, there.ini)),
    ...(await bans(context)),
    ...(await unsynced(old)),
    ...(await outgoing(context)),
    ...(await python(context)),
  ];
}

function domainOf({ migration, old }: MailContext, ini: RelayIni): Finding[] {
  if (isIP(ini.domain) !== 0)
    return [
      blocks(
        `${old.label}: this relay has the address ${ini.domain} for a domain, so its users' addresses end with it`,
        'a relay without a name can not move to another address',
      ),
    ];
  return migration.domains.length === 1 && migration.domains[0] === ini.domain
    ? []
    : [
        blocks(
          `${old.label}: the relay's mail_domain is ${printable(ini.domain)}, the migration file says ${migration.domains.join(', ')}`,
          'correct domains, or the address of OLD',
        ),
      ];
}

async function checkoutOf(
  context: MailContext,
): Promise<Finding | { readonly found: Checkout | undefined }> {
  const { migration, runner, old, new: target } = context;
  const hosts = [
    ...(migration.provision === 'cmdeploy' ? [target] : []),
    ...(freezesByCmdeploy(context) ? [old] : []),
  ];
  if (hosts.length === 0) return { found: undefined };
  for (const host of hosts) {
    const { user } = migration[host.role];
    if (user !== 'root')
      return blocks(
        `${host.label}: cmdeploy logs in as root, the migration file as ${user}`,
        `set ${host.role}.user: root, or set NEW up yourself, and write provision: prepared and chatmail.freeze: systemd`,
      );
  }
  try {
    return { found: await readCheckout(runner.checkout) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const [, text = error.message, cure = ''] = /^(.*?)\. ([A-Z].*)$/.exec(error.message) ?? [];
    return blocks(text, cure.charAt(0).toLowerCase() + cure.slice(1));
  }
}

/** The same settings and the same revision on OLD, on NEW, and where NEW is made from. */
function deployments(
  context: MailContext,
  there: Relay,
  here: Relay | undefined,
  checkout: Checkout | undefined,
): Finding[] {
  const { old, new: target, migration } = context;
  const others = [
    ...(here ? [{ ...here, what: target.label }] : []),
    ...(checkout ? [{ ...checkout, what: 'the checkout' }] : []),
  ];
  const short = (revision: string) => revision.slice(0, 12) || 'unknown';
  return [
    ...(migration.provision === 'prepared' && !here
      ? [
          blocks(
            `${target.label}: no relay is installed there`,
            'run CMDEPLOY_STAGES=install,configure scripts/cmdeploy run against it, or write provision: cmdeploy',
          ),
        ]
      : []),
    ...others.flatMap(({ what, ini, revision }) => [
      ...(ini.domain === there.ini.domain
        ? []
        : [
            blocks(
              `${what}: chatmail.ini is of ${printable(ini.domain)}, not of ${there.ini.domain}`,
              'use the chatmail.ini that OLD was deployed with',
            ),
          ]),
      ...(ini.mailboxes === there.ini.mailboxes || ini.domain !== there.ini.domain
        ? []
        : [
            blocks(
              `${what}: mailboxes_dir is ${printable(ini.mailboxes)}, on OLD ${printable(there.ini.mailboxes)}`,
              'use the chatmail.ini that OLD was deployed with',
            ),
          ]),
      ...(revision === there.revision
        ? []
        : [
            warns(
              `${old.label}: it runs revision ${short(there.revision)} of the relay, ${what} has ${short(revision)}`,
              'deploy OLD from the same revision first, so that the move changes one thing at a time',
            ),
          ]),
      ...(ini.domain === there.ini.domain ? settingsApart(what, ini, there.ini) : []),
    ]),
  ];
}

function settingsApart(what: string, ini: RelayIni, there: RelayIni): Finding[] {
  const names = differences(ini, there).filter(
    (name) => !['mail_domain', 'mailboxes_dir'].includes(name),
  );
  return names.length === 0
    ? []
    : [
        warns(
          `${what}: chatmail.ini differs from OLD's in ${names.map(printable).join(', ')}`,
          'make them equal, unless you mean it',
        ),
      ];
}

async function missingPaths(old: MailHost, paths: readonly string[]): Promise<Finding[]> {
  const result = await old.read(
    script('for path; do [ -e "$path" ] || printf "%s\\0" "$path"; done', paths, {
      purpose: 'look for what is moved',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\0')
    .slice(0, -1)
    .map((path) =>
      blocks(
        `${old.label}: ${printable(path)} does not exist`,
        'a relay that serves has it; look whether this is the right host, or set stores',
      ),
    );
}

/** With `cmdeploy` they are made in prepare. */
async function ownersOnNew(
  context: MailContext,
  here: Relay | undefined,
  stores: readonly string[],
): Promise<Finding[]> {
  if (context.migration.provision === 'cmdeploy' || !here) return [];
  const missing = await missingOwners(context, await ownersOf(context, stores));
  return missing.length === 0
    ? []
    : [
        blocks(
          `${context.new.label}: these owners of mail on OLD don't exist there: ${missing.join(', ')}`,
          'run cmdeploy with the stages install,configure against it',
        ),
      ];
}

/** A message, or an account without one: two relays are not merged. */
async function emptyNew(
  context: MailContext,
  stores: readonly string[],
  ini: RelayIni,
): Promise<Finding[]> {
  const { new: target, migration } = context;
  const [found, accounts] = await Promise.all([
    emptiness(target, {
      stores,
      doorPorts: [migration['late-mail'].port, latePort(migration), ...probePorts],
    }),
    target.read(
      script(
        'find "$1" -maxdepth 1 -name "*@*" -printf "%f\\0" -quit 2>/dev/null || :',
        [ini.mailboxes],
        {
          purpose: 'look for accounts on NEW',
        },
      ),
    ),
  ]);
  const [account] = accounts.stdout.toString('utf8').split('\0').filter(Boolean);
  const holdsMail = found.some(({ text }) => text.includes('holds mail already'));
  return [
    // Of nginx and filtermail it knows nothing; those of a relay are judged below.
    ...found,
    ...(account !== undefined && !holdsMail
      ? [
          blocks(
            `${target.label}: it has accounts already (${printable(account)})`,
            'remove them: NEW must be empty, since two relays are not merged',
          ),
        ]
      : []),
  ];
}

/** Ports of a relay, and who may be found there (deployers.py of cmdeploy looks for the same, and ends there). */
const relayPorts: readonly (readonly [ports: readonly number[], programs: readonly string[]])[] = [
  [
    [25, 465, 587, 10025, 10026],
    ['master', 'smtpd'],
  ],
  [
    [143, 993],
    ['dovecot', 'imap-login'],
  ],
  [[10080, 10081, 10082, 10083], ['filtermail']],
  [[53], ['unbound']],
  [[80], ['nginx', 'acmetool']],
  [[402], ['acmetool']],
  [[443, 8443], ['nginx']],
  [[3340], ['iroh-relay']],
];

async function foreignPorts(target: MailHost): Promise<Finding[]> {
  const result = await target.read(script('ss -Hltnp', [], { purpose: 'list the listeners' }));
  const foreign = new Map<string, Finding>();
  for (const line of result.stdout.toString('utf8').split('\n')) {
    const port = Number(/:(\d+)\s+\S+\s/.exec(line)?.[1]);
    const program = /users:\(\("([^"]+)"/.exec(line)?.[1] ?? '';
    const ours = relayPorts.find(([ports]) => ports.includes(port))?.[1];
    if (ours === undefined || ours.includes(program)) continue;
    const text = `${target.label}: ${program || 'a program'} listens on port ${port}, which the relay needs`;
    // cmdeploy stops and masks this one itself.
    foreign.set(
      text,
      program.startsWith('systemd-resolve')
        ? warns(text, 'cmdeploy stops it; see that names are still resolved there afterwards')
        : blocks(text, 'stop and disable it'),
    );
  }
  return [...foreign.values()];
}

/** Many providers block port 25 outwards until asked. Asked of OLD, which answers there for sure. */
async function outgoing({ old, new: target }: MailContext): Promise<Finding[]> {
  const result = await target.read(
    script(
      `perl -MIO::Socket -e 'exit(IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 25, Timeout => 10) ? 0 : 1)' "$1"`,
      [old.address],
      { allow: [0, 1], timeout: 30, purpose: 'try port 25 outwards' },
    ),
  );
  return result.code === 0
    ? []
    : [
        warns(
          `${target.label}: it can't reach port 25 of OLD`,
          'if its provider blocks port 25 outwards, have that lifted before the move: users could not send',
        ),
      ];
}

/** cmdeploy asks the host by programs of its own, in Python, before it installs anything (sshexec.py). */
async function python({ migration, new: target }: MailContext): Promise<Finding[]> {
  if (migration.provision !== 'cmdeploy') return [];
  const result = await target.read(
    script('command -v python3 > /dev/null', [], {
      allow: [0, 1, 127],
      purpose: 'look for Python',
    }),
  );
  return result.code === 0
    ? []
    : [blocks(`${target.label}: python3 is not there, and cmdeploy needs it`, 'install python3')];
}

/** Days before its end at which a certificate should have been renewed long ago (acmetool: 30). */
const dueDays = 14;

/** What moves must serve for a while: renewal on NEW needs names that point there. */
async function certificate(old: MailHost, ini: RelayIni): Promise<Finding[]> {
  const result = await old.read(
    script(
      `certificate=$1; seconds=$2; name=$3
       case $(openssl x509 -in "$certificate" -noout -checkhost "$name" 2>/dev/null) in
         *'does match'*) ;;
         *) echo other ;;
       esac
       openssl x509 -in "$certificate" -noout -checkend "$seconds" > /dev/null 2>&1 || echo due`,
      [ini.certificate, String(dueDays * 86_400), ini.domain],
      { purpose: 'look at the certificate' },
    ),
  );
  const said = result.stdout.toString('utf8').trim().split('\n');
  const faults = [
    ...(said.includes('other') ? [`is not for ${ini.domain}`] : []),
    ...(said.includes('due') ? [`ends within ${dueDays} days`] : []),
  ];
  if (faults.length === 0) return [];
  return [
    warns(
      `${old.label}: its certificate ${faults.join(' and ')} (${printable(ini.certificate)})`,
      'have it renewed on OLD first (`acmetool reconcile`): what moves is what clients will see',
    ),
  ];
}

/** Not our doing, and no cure before the move; but whoever approves should know. */
async function unsynced(old: MailHost): Promise<Finding[]> {
  const result = await old.read(
    script('doveconf -f protocol=lmtp -h mail_fsync 2>/dev/null || :', [], {
      purpose: 'look whether deliveries are synced',
    }),
  );
  return result.stdout.toString('utf8').trim() === 'never'
    ? [
        warns(
          `${old.label}: Dovecot acknowledges deliveries before they are on disk (mail_fsync = never, as relays are set up)`,
          'a power cut on either host can lose the last seconds of mail, during the move as on any other day; passes sync what they copy',
        ),
      ]
    : [];
}
