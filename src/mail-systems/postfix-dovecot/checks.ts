import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { Finding, MailContext } from '../mail-system.ts';
import { type Dovecot, readDovecot } from './dovecot.ts';
import { type Postfix, readPostfix } from './postfix.ts';
import { queueStatus } from './queue.ts';

const blocks = (text: string, cure: string): Finding => ({ severity: 'blocks', text, cure });
const warns = (text: string, cure: string): Finding => ({ severity: 'warns', text, cure });

/** TCP ports of mail, and who may be found listening there before the move. */
const mailPorts = [25, 110, 143, 465, 587, 993, 995, 4190];
const ourListeners = ['master', 'dovecot', 'smtpd', 'systemd'];

/** Everything about two Postfix and Dovecot hosts that can be wrong before anything is touched. */
export async function checks(context: MailContext, fresh: boolean, stores: readonly string[]): Promise<readonly Finding[]> {
  const { old, new: target } = context;
  const [oldRefused, newRefused] = await Promise.all([refusals(old, stores), refusals(target, [])]);
  if (oldRefused.length + newRefused.length > 0) return [...oldRefused, ...newRefused];
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
    ...missing,
    ...(await missingStores(old, stores)),
    ...(await otherDomains(context, oldPostfix)),
    ...configuration(context, oldPostfix, newPostfix),
    ...dovecotChecks(context, oldDovecot, newDovecot),
    ...(await space(context, stores)),
    ...(fresh ? await emptiness(target, stores) : []),
  ];
}

function installed(host: MailHost, postfix: Postfix | undefined, dovecot: Dovecot | undefined): Finding[] {
  return [
    ...(postfix ? [] : [blocks(`${host.label}: Postfix is not installed`, 'install it, or check the address')]),
    ...(dovecot ? [] : [blocks(`${host.label}: Dovecot is not installed`, 'install it, or check the address')]),
  ];
}

/** Systems that this suite can't move, each by name. `NAME<TAB>WHAT` a line. */
const refusalScript = String.raw`
say() { printf '%s\t%s\n' "$1" "$2"; }
if [ "$(uname -s)" != Linux ] || ! find --version 2>/dev/null | grep -q GNU; then
  say 'a system without GNU tools' "$(uname -s)"; exit 0
fi
for tool in rsync perl flock openssl; do
  command -v "$tool" >/dev/null || say "no $tool" "missing tool"
done
if command -v docker >/dev/null 2>&1; then
  containers=$(docker ps --format '{{.Image}} {{.Names}}' 2>/dev/null || :)
  case $containers in
    *mailcow*) say mailcow "$containers" ;;
    *docker-mailserver*|*mailserver/*) say docker-mailserver "$containers" ;;
    *mailu*) say Mailu "$containers" ;;
    *postfix*|*dovecot*|*mail*) say 'mail in containers' "$containers" ;;
  esac
fi
if [ -d /opt/mailcow-dockerized ]; then say mailcow /opt/mailcow-dockerized; fi
if command -v exim4 >/dev/null || command -v exim >/dev/null; then say Exim "$(command -v exim4 || command -v exim)"; fi
case $(readlink -f "$(command -v sendmail || echo /none)") in *sendmail.sendmail|*/lib/sm.bin/*|*/lib/sendmail-bin/*) say Sendmail "$(command -v sendmail)" ;; esac
if [ -d /usr/lib/cyrus ] || command -v cyradm >/dev/null || [ -e /etc/imapd.conf ]; then say 'Cyrus IMAP' "$(ls -d /usr/lib/cyrus /etc/imapd.conf 2>/dev/null | head -n 1)"; fi
if [ -d /etc/courier ] || command -v courierd >/dev/null || command -v imapd >/dev/null; then say Courier /etc/courier; fi
if command -v doveconf >/dev/null; then
  settings=$(doveconf -n 2>/dev/null || :)
  case $settings in *mail_replica*|*replication*) say 'dsync replication' 'doveconf: replication' ;; esac
  case $settings in *mail_crypt*) say mail_crypt 'doveconf: mail_crypt' ;; esac
fi
for store; do
  if [ -e "$store" ]; then
    case $(stat -f -c %T -- "$store") in nfs*|ceph|glusterfs|smb*|cifs) say "a store on $(stat -f -c %T -- "$store")" "$store" ;; esac
  fi
done`;

async function refusals(host: MailHost, stores: readonly string[]): Promise<readonly Finding[]> {
  const result = await host.read(
    script(refusalScript, stores, { purpose: 'find out what kind of server this is' }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name = '', what = ''] = line.split('\t');
      return what === 'missing tool'
        ? blocks(`${host.label}: ${name}`, `install ${name.replace(/^no /, '')} there`)
        : blocks(
            `${host.label}: ${name} (${what}) can't be moved by this suite`,
            'see "What is not supported" in the README',
          );
    });
}

async function missingStores(old: MailHost, stores: readonly string[]): Promise<Finding[]> {
  const result = await old.read(
    script('for store; do [ -e "$store" ] || printf "%s\\0" "$store"; done', stores, {
      purpose: 'look for the stores',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\0')
    .filter((path) => path !== '')
    .map((path) => blocks(`${old.label}: the store ${path} does not exist`, 'correct stores in the migration file'));
}

/** A migration of only some of OLD's domains would leave the rest without a server. */
async function otherDomains(context: MailContext, postfix: Postfix): Promise<Finding[]> {
  const hostname = (
    await context.old.read(script('hostname -f 2>/dev/null || hostname; hostname', [], { purpose: 'read its name' }))
  ).stdout
    .toString('utf8')
    .toLowerCase()
    .trim()
    .split('\n');
  const own = new Set([
    ...hostname,
    ...hostname.map((name) => name.split('.')[0] ?? ''),
    postfix.parameters.get('myhostname') ?? '',
    postfix.parameters.get('myorigin') ?? '',
    `localhost.${postfix.parameters.get('mydomain') ?? ''}`,
    'localhost',
    'localhost.localdomain',
  ]);
  const others = postfix.domains.filter(
    (domain) => !own.has(domain) && !context.migration.domains.includes(domain),
  );
  const unknown = context.migration.domains.filter(
    (domain) => !postfix.domains.includes(domain) && ![...postfix.parameters.values()].some((value) => value.includes(domain)),
  );
  return [
    ...(others.length === 0
      ? []
      : [
          blocks(
            `${context.old.label}: it also serves ${others.join(', ')}, and a part of a server can't be moved`,
            'name every domain in domains, or take the others off OLD first',
          ),
        ]),
    ...unknown.map((domain) =>
      warns(
        `${context.old.label}: ${domain} was not found in mydestination, virtual_mailbox_domains or transport_maps`,
        'if a database names it, all is well; else correct domains',
      ),
    ),
  ];
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

function configuration(context: MailContext, there: Postfix, here: Postfix): Finding[] {
  const lacking = there.domains.filter(
    (domain) => context.migration.domains.includes(domain) && !here.domains.includes(domain),
  );
  const ownTransports = new Set(['virtual_transport', 'local_transport']);
  const oldHeld = (there.parameters.get('transport_maps') ?? '').includes('mail-cutover-');
  const different = compared.filter(
    (parameter) =>
      !(oldHeld && ownTransports.has(parameter)) &&
      there.parameters.get(parameter) !== here.parameters.get(parameter),
  );
  return [
    ...(lacking.length === 0 || context.migration.provision === 'copy'
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
  const location = (dovecot: Dovecot) => dovecot.settings.get('mail_location') ?? '';
  return [
    ...(upgraded && context.migration.provision === 'copy'
      ? [
          blocks(
            `Dovecot ${there.version} on OLD and ${here.version} on NEW: their configuration can't be copied`,
            'set NEW up yourself and use provision: prepared',
          ),
        ]
      : []),
    ...(context.migration.provision === 'prepared' && location(there) !== location(here)
      ? [
          blocks(
            `mail_location differs: OLD has "${location(there)}", NEW has "${location(here)}"`,
            'make NEW look for mail where OLD keeps it',
          ),
        ]
      : []),
  ];
}

async function space(context: MailContext, stores: readonly string[]): Promise<Finding[]> {
  const used = await context.old.read(
    script('for store; do if [ -e "$store" ]; then du -sk -- "$store"; fi; done', stores, {
      timeout: 3600,
      purpose: 'measure the stores',
    }),
  );
  const needed = used.stdout
    .toString('utf8')
    .split('\n')
    .reduce((sum, line) => sum + Number(line.split('\t')[0] || 0), 0);
  const present = await context.new.read(
    script('for store; do if [ -e "$store" ]; then du -sk -- "$store"; fi; done', stores, {
      timeout: 3600,
      purpose: 'measure the stores',
    }),
  );
  const already = present.stdout
    .toString('utf8')
    .split('\n')
    .reduce((sum, line) => sum + Number(line.split('\t')[0] || 0), 0);
  const free = await context.new.read(
    script(
      'path=$1; while [ ! -e "$path" ]; do path=$(dirname -- "$path"); done; df -Pk -- "$path" | awk \'NR == 2 { print $4 }\'',
      [stores[0] ?? '/var'],
      { purpose: 'look for free space' },
    ),
  );
  const available = Number(free.stdout.toString('utf8').trim());
  // A tenth more, because mail keeps coming.
  return available + already >= needed * 1.1
    ? []
    : [
        blocks(
          `${context.new.label}: ${Math.floor(available / 1024)} MiB are free, but OLD's mail takes ${Math.ceil((needed * 1.1) / 1024)} MiB`,
          'make room on NEW',
        ),
      ];
}

/** NEW must have no mail, no queue and no mail service of its own. */
async function emptiness(target: MailHost, stores: readonly string[]): Promise<Finding[]> {
  const mail = await target.read(
    script(
      'for store; do if [ -d "$store" ]; then find "$store" -type f -path "*/[cn][ue][rw]/*" -print -quit; fi; done',
      stores,
      { purpose: 'look for mail on NEW' },
    ),
  );
  const found = mail.stdout.toString('utf8').trim().split('\n')[0] ?? '';
  const queue = await queueStatus(target);
  const listeners = await foreignListeners(target);
  return [
    ...(found === ''
      ? []
      : [blocks(`${target.label}: it holds mail already (${found})`, 'NEW must be empty: two servers are not merged')]),
    ...(queue.messages === 0
      ? []
      : [
          blocks(
            `${target.label}: ${queue.messages} messages are in its queue`,
            'deliver or delete them (`postqueue -p`), then plan again',
          ),
        ]),
    ...listeners.map((listener) =>
      blocks(`${target.label}: ${listener} is not part of this mail system`, 'stop it, or move it to another port'),
    ),
  ];
}

async function foreignListeners(target: MailHost): Promise<readonly string[]> {
  const result = await target.read(script('ss -Hltnp', [], { purpose: 'list the listeners' }));
  const foreign = new Set<string>();
  for (const line of result.stdout.toString('utf8').split('\n')) {
    const port = Number(/:(\d+)\s+\S+\s/.exec(line)?.[1]);
    const program = /users:\(\("([^"]+)"/.exec(line)?.[1];
    if (mailPorts.includes(port) && program && !ourListeners.includes(program))
      foreign.add(`port ${port} of ${program}`);
  }
  return [...foreign];
}
