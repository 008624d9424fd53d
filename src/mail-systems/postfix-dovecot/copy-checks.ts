import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { blocks, type Contents, type Finding, type MailContext, warns } from '../mail-system.ts';
import type { Dovecot } from './dovecot.ts';
import type { Postfix } from './postfix.ts';
import { words } from './postfix.ts';

/** What `provision: copy` can't do, and what NEW lacks for it. Nothing of it for `prepared`. */
export async function copyChecks(
  context: MailContext,
  { carried }: Pick<Contents, 'carried'>,
  postfix: { readonly old: Postfix; readonly new: Postfix },
  dovecot: { readonly old: Dovecot; readonly new: Dovecot },
): Promise<readonly Finding[]> {
  if (context.migration.provision !== 'copy') return [];
  return [
    ...versions(postfix),
    ...overwritten(context),
    ...(await mapTypes(context, postfix.old)),
    ...(await dovecotParts(context, dovecot)),
    ...(await programs(context, postfix.old)),
    ...(await numericOwners(context, carried, dovecot.old)),
  ];
}

function versions(postfix: { old: Postfix; new: Postfix }): Finding[] {
  const major = (version: string) => version.split('.')[0];
  return major(postfix.old.version) === major(postfix.new.version)
    ? []
    : [
        blocks(
          `Postfix ${postfix.old.version} on OLD and ${postfix.new.version} on NEW: their configuration can't be copied`,
          'set NEW up yourself and use provision: prepared',
        ),
      ];
}

/** Every pass brings what is carried as it is on OLD, over what was rewritten. */
function overwritten({ migration }: MailContext): Finding[] {
  const rewritten = [
    '/etc/postfix',
    '/etc/dovecot',
    '/etc/postfix/main.cf',
    '/etc/postfix/master.cf',
    '/etc/dovecot/dovecot.conf',
  ];
  return migration.carry
    .filter((path) => rewritten.some((each) => each === path || each.startsWith(`${path}/`)))
    .map((path) =>
      blocks(
        `carry names ${path}, which provision: copy rewrites: every pass would put OLD's back`,
        'take it out of carry; name single files there that must go with every pass',
      ),
    );
}

const say = (host: MailHost, what: string, packageName: string): Finding =>
  blocks(
    `${host.label}: ${what} is missing, and OLD's configuration uses it`,
    `install ${packageName} there`,
  );

async function mapTypes({ old, new: target }: MailContext, postfix: Postfix): Promise<Finding[]> {
  const types = async (host: MailHost) =>
    words(
      (
        await host.read(script('postconf -m', [], { purpose: 'list the map types' }))
      ).stdout.toString('utf8'),
    );
  const [there, here] = await Promise.all([types(old), types(target)]);
  const settings = [...postfix.parameters.values(), ...postfix.services.values()];
  const used = (type: string) =>
    settings.some((value) => new RegExp(`(?:^|[\\s,={:])${type}:[/{]`).test(value));
  return there
    .filter((type) => !here.includes(type) && used(type))
    .map((type) => say(target, `Postfix's map type ${type}`, `postfix-${type}`));
}

/** Programs in Dovecot's libexec_dir that serve a protocol, and Debian's packages of them. */
const protocolPrograms: Readonly<Record<string, readonly [program: string, packageName: string]>> =
  {
    imap: ['imap', 'dovecot-imapd'],
    pop3: ['pop3', 'dovecot-pop3d'],
    lmtp: ['lmtp', 'dovecot-lmtpd'],
    sieve: ['managesieve', 'dovecot-managesieved'],
    submission: ['submission', 'dovecot-submissiond'],
  };

function pluginPackage(plugin: string): string {
  if (/sieve/.test(plugin)) return 'dovecot-sieve';
  const match = /^fts_(solr|lucene|xapian|flatcurve)$/.exec(plugin)?.[1];
  return match
    ? `dovecot-${match === 'xapian' || match === 'flatcurve' ? `fts-${match}` : match}`
    : 'dovecot-core';
}

async function dovecotParts(
  { new: target }: MailContext,
  dovecot: { old: Dovecot },
): Promise<Finding[]> {
  const { settings } = dovecot.old;
  const protocols = words(settings.get('protocols')).filter(
    (protocol) => protocol in protocolPrograms,
  );
  const plugins = new Set(
    [...settings]
      .filter(([name]) => name.split('/').at(-1) === 'mail_plugins')
      .flatMap(([, value]) => words(value))
      .filter((plugin) => !plugin.startsWith('$')),
  );
  const drivers = new Set(
    [...settings]
      .filter(([name]) => /^(?:passdb|userdb)(?:#\d+)?\/driver$/.test(name))
      .map(([, value]) => value),
  );
  const result = await target.read(
    script(
      `programs=$(doveconf -h libexec_dir 2>/dev/null || printf /usr/lib/dovecot)
       modules=$(doveconf -h mail_plugin_dir 2>/dev/null || printf /usr/lib/dovecot/modules)
       for need; do
         case $need in
           program/*) [ -e "$programs/\${need#*/}" ] || printf '%s\\n' "$need" ;;
           plugin/*) ls "$modules"/lib[0-9]*_"\${need#*/}"_plugin.so > /dev/null 2>&1 || printf '%s\\n' "$need" ;;
           driver/*) ls "$modules"/auth/lib*_"\${need#*/}".so "$modules"/auth/libdriver_"\${need#*/}".so > /dev/null 2>&1 ||
             ls "$modules"/auth/ 2>/dev/null | grep -q -- "\${need#*/}" || printf '%s\\n' "$need" ;;
         esac
       done`,
      [
        ...protocols.map((protocol) => `program/${protocolPrograms[protocol]?.[0]}`),
        ...[...plugins].map((plugin) => `plugin/${plugin}`),
        ...[...drivers]
          .filter((driver) => driver === 'ldap' || driver === 'lua')
          .map((driver) => `driver/${driver}`),
      ],
      { purpose: "look for Dovecot's parts" },
    ),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [kind = '', name = ''] = line.split('/');
      if (kind === 'plugin') return say(target, `Dovecot's plugin ${name}`, pluginPackage(name));
      if (kind === 'driver')
        return say(
          target,
          `Dovecot's driver ${name}`,
          name === 'lua' ? 'dovecot-auth-lua' : `dovecot-${name}`,
        );
      const packageName = Object.values(protocolPrograms).find(
        ([program]) => program === name,
      )?.[1];
      return say(target, `Dovecot's ${name}`, packageName ?? 'dovecot-core');
    });
}

/** Programs that aliases and transports run are the user's own: named, never copied. */
async function programs({ old, new: target }: MailContext, postfix: Postfix): Promise<Finding[]> {
  const result = await old.read(
    script(
      `sed -n 's/^[^#]*|[[:space:]]*\\(\\/[^ "]*\\).*/\\1/p' /etc/aliases 2>/dev/null || :
       if command -v opendkim > /dev/null && [ -e /etc/opendkim.conf ]; then command -v opendkim; fi`,
      [],
      { purpose: 'look for programs that aliases run' },
    ),
  );
  const settings = ['mailbox_command', 'mailbox_command_maps', 'fallback_transport'].map(
    (parameter) => postfix.parameters.get(parameter) ?? '',
  );
  const named = [
    ...result.stdout.toString('utf8').split('\n'),
    ...settings.flatMap((value) => /^\/\S+/.exec(value)?.[0] ?? []),
    ...[...postfix.services.values()].flatMap((entry) => /\bargv=(\/\S+)/.exec(entry)?.[1] ?? []),
  ].filter((path) => path.startsWith('/'));
  const paths = [...new Set(named)];
  // Debian's master.cf names programs of packages that are not there: what OLD lacks, NEW need not have.
  const present = async (host: MailHost) =>
    (
      await host.read(
        script('for path; do if [ -e "$path" ]; then printf "%s\\n" "$path"; fi; done', paths, {
          purpose: 'look for the programs',
        }),
      )
    ).stdout
      .toString('utf8')
      .split('\n');
  const [there, here] = await Promise.all([present(old), present(target)]);
  return paths
    .filter((path) => there.includes(path) && !here.includes(path))
    .map((path) =>
      path.endsWith('/opendkim')
        ? say(target, 'OpenDKIM', 'opendkim')
        : warns(
            `${target.label}: ${path}, which OLD's aliases or transports run, is missing`,
            'install it there, or name it in carry',
          ),
    );
}

/** A passwd-file goes with every pass as it is, so a number in it must mean the same owner on NEW. */
async function numericOwners(
  { old, new: target }: MailContext,
  carried: readonly string[],
  dovecot: Dovecot,
): Promise<Finding[]> {
  const files = dovecot.files.filter((file) =>
    carried.some((path) => file === path || file.startsWith(`${path}/`)),
  );
  if (files.length === 0) return [];
  const listed = await old.read(
    script(
      `for file; do
         if [ -e "$file" ]; then
           awk -F: -v file="$file" '!/^#/ && $3 ~ /^[0-9]+$/ { print "passwd", $3, file } !/^#/ && $4 ~ /^[0-9]+$/ { print "group", $4, file }' "$file"
         fi
       done | sort -u | while read -r kind number file; do
         printf '%s %s %s %s\\n' "$kind" "$number" "$(getent "$kind" "$number" | cut -d: -f1)" "$file"
       done`,
      files,
      { purpose: 'look for numbers in password files' },
    ),
  );
  const numbers = listed.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
  if (numbers.length === 0) return [];
  const others = await target.read(
    script(
      `while read -r kind number name file; do
         of_name=$(getent "$kind" "$name" | cut -d: -f3)
         of_number=$(getent "$kind" "$number" | cut -d: -f1)
         if [ "$of_name" = "$number" ]; then continue; fi
         if [ -z "$of_name" ] && [ -z "$of_number" ]; then continue; fi
         printf '%s %s %s\\n' "$number" "$name" "$file"
       done`,
      [],
      { stdin: `${numbers.join('\n')}\n`, purpose: 'compare the numbers' },
    ),
  );
  return others.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [number, name, ...file] = line.split(' ');
      return blocks(
        `${file.join(' ')} has the number ${number} for ${name}, which is another owner's, or another number, on ${target.label}`,
        'write names in it instead, or give the owner this number on NEW',
      );
    });
}
