import { command, script } from '../../hosts/command.ts';
import type { Host } from '../../hosts/host.ts';

/** What `doveconf -n` says, flattened: `protocol lmtp/mail_plugins` → value. */
export interface Dovecot {
  readonly version: string;
  readonly settings: ReadonlyMap<string, string>;
  readonly configFile: string;
  /** Paths that hold mail, indexes, attachments or scripts, as far as they stand in the configuration. */
  readonly paths: readonly string[];
  /** passwd-file and other files that log-ins need. */
  readonly files: readonly string[];
  /** What the configuration leaves open, in words: mail could lie where nobody looks. */
  readonly unknown: readonly string[];
}

export async function readDovecot(host: Host): Promise<Dovecot | undefined> {
  const result = await host.read(
    script('command -v doveconf > /dev/null || exit 44; exec doveconf -n', [], {
      allow: [0, 44],
      purpose: 'read the Dovecot configuration',
    }),
  );
  if (result.code === 44) return undefined;
  const text = result.stdout.toString('utf8');
  const settings = parseSettings(text);
  const named = passwordFiles(settings);
  const files = await existing(host, named);
  const below = mailPaths(settings);
  const homes = below.some((path) => path.startsWith('~')) ? await passwdHomes(host, files) : [];
  return {
    version: /^# (\S+)/.exec(text)?.[1] ?? '?',
    configFile: /^# \S+(?: \(\w+\))?: (.*)$/m.exec(text)?.[1] ?? '/etc/dovecot/dovecot.conf',
    settings,
    paths: withoutNested([...(await expandHomes(host, below)), ...homes]),
    files,
    unknown: [
      ...named
        .filter((name) => name.includes('%') && !files.some((file) => matchesName(file, name)))
        .map((name) => `no file is there of those that passwd-file ${name} names`),
      ...unlistedHomes(settings, below),
    ],
  };
}

/** Flattens `name { … }` blocks; a block that occurs twice gets a number. */
export function parseSettings(text: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  const stack: string[] = [];
  const seen = new Map<string, number>();
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const open = /^(.*\S)\s*\{$/.exec(line);
    if (open?.[1] !== undefined) {
      const path = [...stack, open[1]].join('/');
      const count = (seen.get(path) ?? 0) + 1;
      seen.set(path, count);
      stack.push(count === 1 ? open[1] : `${open[1]}#${count}`);
    } else if (line === '}') {
      stack.pop();
    } else {
      const match = /^(\S+)\s*=\s*(.*)$/.exec(line);
      if (match?.[1] !== undefined) settings.set([...stack, match[1]].join('/'), match[2] ?? '');
    }
  }
  return settings;
}

/** Whether it speaks the words of 2.4, which names each path by itself and each block. */
export function isLater({ settings }: Pick<Dovecot, 'settings'>): boolean {
  return settings.has('dovecot_config_version');
}

/** Where mail lies, as 2.3 writes it: `maildir:/var/vmail/%d/%n/Maildir`; empty where it is left to the users. */
export function mailLocation({ settings }: Pick<Dovecot, 'settings'>): string {
  const path = settings.get('mail_path');
  return path === undefined
    ? (settings.get('mail_location') ?? '')
    : `${settings.get('mail_driver') ?? ''}:${path}`;
}

/** The line that closes every protocol: 2.3 knows `none`, 2.4 takes it for the name of one. */
export function noProtocols(dovecot: Pick<Dovecot, 'settings'>): string {
  return isLater(dovecot) ? 'protocols =' : 'protocols = none';
}

/**
 * Static parts of every location (Dovecot wiki, "Mail location"): `maildir:/var/vmail/%d/%n` names
 * `/var/vmail`; `INDEX=`, `CONTROL=`, `ALT=` count too. A path under the user's home keeps its `~`. In
 * 2.4 each has a setting of its own (doc.dovecot.org, "Upgrading Dovecot CE from 2.3 to 2.4").
 */
export function mailPaths(settings: ReadonlyMap<string, string>): readonly string[] {
  const paths = new Set<string>();
  const add = (path: string) => {
    const fixed = staticPart(path);
    if (fixed) paths.add(fixed);
  };
  for (const [name, value] of settings) {
    const key = name.split('/').at(-1) ?? '';
    if (key === 'mail_location' || key === 'location') locationPaths(value).forEach(add);
    else if (key === 'mail_attachment_dir' || key === 'mail_home') add(value);
    else if (ownPath.test(key) || (name.startsWith('userdb') && /^home(:default)?$/.test(key)))
      locationPaths(value).forEach(add);
    else if (name.startsWith('sieve_script') && /^(?:active_)?path$/.test(key))
      locationPaths(value).forEach(add);
    else if (/^(args|default_fields|override_fields)$/.test(key) && name.startsWith('userdb')) {
      for (const match of value.matchAll(/\b(?:home|mail)=(\S+)/g)) {
        for (const path of locationPaths(match[1] ?? '')) add(path);
      }
    } else if (/^sieve(_dir|_default|_global_dir|_before\d*|_after\d*)?$/.test(key)) {
      // "file:~/sieve;active=~/.dovecot.sieve"
      for (const part of value.split(';')) {
        for (const path of locationPaths(part.replace(/^active=/, ''))) add(path);
      }
    }
  }
  return withoutNested([...paths]);
}

/** Paths of 2.4, of the whole configuration, of a namespace or among the fields of a userdb. */
const ownPath =
  /^mail_(?:(?:inbox|index|index_private|control|alt|list_index|volatile|ext_attachment)_)?path(?::default)?$/;

function locationPaths(location: string): readonly string[] {
  const [first = '', ...options] = location.split(':').filter((part) => part !== '');
  const isDriver = /^(maildir|mdbox|sdbox|dbox|mbox|file|imapc|pop3c)$/.test(first);
  const parts = isDriver ? options : [first, ...options];
  return parts
    .map((part) =>
      part.replace(/^(?:INDEX|CONTROL|ALT|INDEXPVT|VOLATILEDIR|INBOX|LISTINDEX|ITERINDEX)=/, ''),
    )
    .map((part) => part.replace(/^(?:%h|%\{home\})(?=\/|$)/, '~'))
    .filter((part) => /^[/~]/.test(part));
}

/** The longest leading folder without a variable; undefined when nothing fixed is left. */
function staticPart(path: string): string | undefined {
  if (path.startsWith('~')) return path;
  const variable = path.indexOf('%');
  const fixed = variable < 0 ? path : path.slice(0, path.lastIndexOf('/', variable));
  return fixed === '' ? undefined : fixed.replace(/\/+$/, '');
}

export function withoutNested(paths: readonly string[]): readonly string[] {
  return [...new Set(paths)]
    .sort()
    .filter((path, _, all) => !all.some((other) => other !== path && path.startsWith(`${other}/`)));
}

/** `~/Maildir` becomes one path for each system user who has it; virtual users' homes are elsewhere. */
async function expandHomes(host: Host, paths: readonly string[]): Promise<readonly string[]> {
  const below = paths.filter((path) => path.startsWith('~/')).map((path) => path.slice(2));
  const fixed = paths.filter((path) => path.startsWith('/'));
  if (below.length === 0) return fixed;
  const result = await host.read(
    script(
      `getent passwd | while IFS=: read -r name x uid gid gecos home shell; do
         if [ "$uid" -lt 1000 ] || [ "$uid" -ge 60000 ]; then continue; fi
         for below; do if [ -e "$home/$below" ]; then printf '%s\\0' "$home/$below"; fi; done
       done`,
      below,
      { purpose: "find the users' mail folders" },
    ),
  );
  const homes = result.stdout
    .toString('utf8')
    .split('\0')
    .filter((path) => path !== '');
  return withoutNested([...fixed, ...homes]);
}

/** As they stand in the configuration; a variable in a name stands for many files. */
function passwordFiles(settings: ReadonlyMap<string, string>): readonly string[] {
  const files = new Set<string>();
  for (const [name, driver] of settings) {
    // 2.4: one setting, without options.
    if (/^(?:passdb|userdb)\b.*\/passwd_file_path$/.test(name)) files.add(driver);
    if (!/^(passdb|userdb)(#\d+)?\/driver$/.test(name) || driver !== 'passwd-file') continue;
    const args = settings.get(name.replace(/driver$/, 'args')) ?? '';
    const file = args.split(/\s+/).at(-1) ?? '';
    if (file.startsWith('/')) files.add(file);
  }
  return [...files];
}

/** Variables of Dovecot, `%d` and `%{domain}` alike. */
const variable = /%(?:\{[^}]*\}|[-0-9.]*[A-Z]?[a-z])/g;

/** Names with variables become the files that fit; others stay, there or not. */
async function existing(host: Host, names: readonly string[]): Promise<readonly string[]> {
  const patterns = names.filter((name) => name.includes('%'));
  if (patterns.length === 0) return names;
  const result = await host.read(
    script(
      'IFS=; for pattern; do for file in $pattern; do if [ -e "$file" ]; then printf \'%s\\0\' "$file"; fi; done; done',
      patterns.map((name) => name.replace(variable, '*')),
      { purpose: 'look for the password files' },
    ),
  );
  const found = result.stdout.toString('utf8').split('\0').slice(0, -1);
  return [...new Set([...names.filter((name) => !name.includes('%')), ...found])];
}

function matchesName(file: string, name: string): boolean {
  const literal = name.split(variable).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`).test(file);
}

/**
 * Folders above the homes and mailboxes that stand in passwd-files (Dovecot wiki, "Passwd-file": the
 * sixth field, and `mail=` behind the seventh). Of virtual users they lie side by side.
 */
async function passwdHomes(host: Host, files: readonly string[]): Promise<readonly string[]> {
  const result = await host.read(
    script(homesScript, files, { purpose: 'read homes from the password files' }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((path) => /^\/./.test(path));
}

/** A folder right below / is too much: then it is each home by itself. */
const homesScript = String.raw`
for file; do
  if [ ! -f "$file" ]; then continue; fi
  perl -ne '
    next if /^\s*(?:#|$)/;
    chomp;
    my (undef, undef, undef, undef, undef, $home, undef, $extra) = split /:/, $_, 8;
    my @paths = ($home // "", ($extra // "") =~ m{(?:^|\s)(?:userdb_)?mail=(?:[a-z]+:)?(/[^:\s]*)}g);
    for (@paths) {
      s{/+$}{};
      next unless m{^/[^%]+$};
      my $above = s{/[^/]*$}{}r;
      $seen{$above =~ m{^/[^/]+/} ? $above : $_} = 1;
    }
    END { for (sort keys %seen) { print "$_\n" if -e } }' "$file"
done`;

/** User databases that can't be listed in a host that is down, as it is in a freeze. */
const opaque = /^(?:sql|ldap|dict|lua|checkpassword|vpopmail)$/;

function unlistedHomes(
  settings: ReadonlyMap<string, string>,
  below: readonly string[],
): readonly string[] {
  if (!below.some((path) => path.startsWith('~')) || settings.has('mail_home')) return [];
  return userDatabases(settings).flatMap(({ driver, fields }) =>
    !opaque.test(driver) || fields.some((field) => /\bhome(?::default)?=\//.test(field))
      ? []
      : [`mail lies in homes that only the userdb ${driver} knows`],
  );
}

/** Each userdb with what it sets, as `name=value`. In 2.4 it has a name, its driver where none is given. */
function userDatabases(
  settings: ReadonlyMap<string, string>,
): readonly { readonly driver: string; readonly fields: readonly string[] }[] {
  const blocks = new Map<string, [string, string][]>();
  for (const [path, value] of settings) {
    const [block = '', ...rest] = path.split('/');
    if (!/^userdb\b/.test(block)) continue;
    blocks.set(block, [...(blocks.get(block) ?? []), [rest.at(-1) ?? '', value]]);
  }
  return [...blocks].map(([block, values]) => ({
    driver: new Map(values).get('driver') ?? /^userdb ([^#]+)/.exec(block)?.[1] ?? '',
    fields: values.map(([key, value]) =>
      /^(?:args|default_fields|override_fields)$/.test(key) ? value : `${key}=${value}`,
    ),
  }));
}

/** Session and delivery processes of Dovecot, by their executables' names. */
export const sessionProcesses = [
  'imap',
  'imap-login',
  'imap-hibernate',
  'pop3',
  'pop3-login',
  'lmtp',
  'managesieve',
  'managesieve-login',
  'submission',
  'submission-login',
  'doveadm-server',
] as const;

export async function isRunning(host: Host, unit: string): Promise<boolean> {
  const result = await host.read(
    command(['systemctl', 'is-active', '--quiet', unit], {
      allow: [0, 1, 3, 4],
      purpose: `look at ${unit}`,
    }),
  );
  return result.code === 0;
}
