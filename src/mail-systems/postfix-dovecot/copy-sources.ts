import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { type Postfix, words } from './postfix.ts';

/** What OLD's configuration consists of. */
export interface Sources {
  /** Folders that are replaced as a whole. */
  readonly trees: readonly string[];
  /** Files, and symbolic links with the files that they end at, outside the trees. */
  readonly files: readonly string[];
}

const trees = ['/etc/postfix', '/etc/dovecot', '/etc/opendkim', '/etc/dkimkeys'];
const files = ['/etc/opendkim.conf', '/etc/default/opendkim', '/etc/aliases', '/etc/mailname'];

/** Files under /etc that mail settings name but that are the system's, the same on every host. */
const systemFiles =
  /^\/etc\/(?:passwd|shadow|group|gshadow|hosts|resolv\.conf|services|nsswitch\.conf|protocols|ssl\/openssl\.cnf|ssl\/certs\/ca-certificates\.crt|pam\.d\/.*)$/;

/**
 * The trees and files that hold it: the well-known ones, and whatever `postconf`, `doveconf`,
 * opendkim.conf and the aliases name under /etc. A symbolic link comes with every step of its way.
 */
export async function sourcesOf(old: MailHost): Promise<Sources> {
  const result = await old.read(
    script(sourcesScript, [...trees, '--', ...files], { purpose: 'find the configuration' }),
  );
  const found = result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
  const folders = found.filter((line) => line.startsWith('d ')).map((line) => line.slice(2));
  const others = found
    .filter((line) => line.startsWith('f '))
    .map((line) => line.slice(2))
    .filter((path) => !systemFiles.test(path) && !/^\/(?:usr|dev|proc|sys|run)\//.test(path))
    .filter(
      (path) => !path.endsWith('.db') && !folders.some((folder) => path.startsWith(`${folder}/`)),
    );
  return { trees: folders, files: [...new Set(others)].sort() };
}

/** `d PATH` for a tree, `f PATH` for a file or a link. Every path under /etc that a setting names counts. */
const sourcesScript = String.raw`
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then printf 'd %s\n' "$1"; fi
  shift
done
shift
out=$(mktemp /run/mail-cutover.XXXXXX)
trap 'rm -f -- "$out"' EXIT
printf '%s\n' "$@" > "$out"
{
  postconf -xn 2>/dev/null
  postconf -P 2>/dev/null || :
  doveconf -n 2>/dev/null || :
  cat /etc/dovecot/*.ext 2>/dev/null || :
  sed 's/#.*//' /etc/opendkim.conf /etc/opendkim/* 2>/dev/null || :
  sed -n 's/^[^#].*:include:/:include: /p' /etc/aliases 2>/dev/null || :
} | grep -oE '(^|[[:space:]:=<",|])/etc/[^][:space:]",;:}{)(]+' | sed 's/^[^/]*//' >> "$out"
sort -u -o "$out" "$out"
while read -r path; do
  hops=0
  while [ -L "$path" ] && [ "$hops" -lt 10 ] && [ -f "$path" ]; do
    printf 'f %s\n' "$path"
    link=$(readlink -- "$path")
    case $link in /*) path=$link ;; *) path=$(realpath -s -- "$(dirname -- "$path")/$link") ;; esac
    hops=$((hops + 1))
  done
  if [ -f "$path" ]; then printf 'f %s\n' "$path"; fi
done < "$out"`;

/** A lookup table of Postfix: its type, and the file it is made from. */
export interface Table {
  readonly type: string;
  readonly path: string;
  /** Which settings name it. */
  readonly settings: readonly string[];
}

/** Tables that the settings name; `root` is a folder before the paths that `postconf -c` prints. */
export function tablesOf({ parameters }: Pick<Postfix, 'parameters'>, root = ''): readonly Table[] {
  const tables = new Map<string, { type: string; path: string; settings: string[] }>();
  for (const [setting, value] of parameters) {
    for (const word of words(value.replaceAll(/[{}]/g, ' '))) {
      const match = /^(?:proxy:)?([a-z]+):(\/.+)$/.exec(word);
      if (!match?.[1] || !match[2]) continue;
      const path =
        root !== '' && match[2].startsWith(root) ? match[2].slice(root.length) : match[2];
      const key = `${match[1]}:${path}`;
      const table = tables.get(key) ?? { type: match[1], path, settings: [] };
      table.settings.push(setting);
      tables.set(key, table);
    }
  }
  return [...tables.values()];
}

/** Table types that postmap(1) makes a file for, and what that file's name ends in. */
export const built: Readonly<Record<string, string>> = {
  hash: '.db',
  btree: '.db',
  lmdb: '.lmdb',
  cdb: '.cdb',
};

/** aliases(5) tables are made by postalias(1), all others by postmap(1). */
export function builder(table: Table): 'postalias' | 'postmap' {
  return table.settings.some((setting) => /^alias_(?:maps|database)$/.test(setting))
    ? 'postalias'
    : 'postmap';
}
