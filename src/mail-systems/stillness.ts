import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import { inTurns } from '../hosts/in-turns.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { printable } from '../hosts/printable.ts';

/** Prints `PID PROGRAM PATH` of every process that has a file below `$1` open for writing, one a line. */
const openForWriting = String.raw`
# A store that is a link is open by its other name.
real=$(readlink -f -- "$1")
pattern=$(printf '%s' "$real" | sed 's/[][*?\\]/\\&/g')
find /proc/[0-9]*/fd -lname "$pattern/*" -printf '%p %l\n' 2>/dev/null |
while read -r fd file; do
  process=$(dirname "$(dirname "$fd")")
  case $(sed -n 's/^flags:[[:space:]]*//p' "$process/fdinfo/$(basename "$fd")" 2>/dev/null) in
    *[12]) printf '%s %s %s\n' "$(basename "$process")" "$(cat "$process/comm" 2>/dev/null)" "$file" ;;
  esac
done`;

/**
 * Looks at a tree, runs the search for writers, looks again, and prints the paths that changed in
 * between, each after a NUL. Any write shows in a file's size or change time, any delivery, rename
 * or unlink in the names. Owners by number: for a name find(1) reads the user database anew for each file,
 * which takes ten times as long as the rest. Folders' own times don't count: overlayfs changes one when a folder is
 * read, and what does not count below (`$2` …) changes the other. comm(1) knows NUL only since 2016,
 * so NUL and newline are exchanged.
 */
const twoLooks = String.raw`
umask 077
out=$(mktemp -d /run/mail-cutover.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf -- "$out"' EXIT
tree=$1; shift
todo=$#
while [ "$todo" -gt 0 ]; do
  set -- "$@" ! -name "$1"
  shift
  todo=$((todo - 1))
done
look() {
  file=$1; shift
  : > "$file.raw"
  if [ ! -e "$tree" ]; then return 0; fi
  set -- -type d -printf '%i %m %U - %p\0' -o "$@" -printf '%i %s %U %C@ %p\0'
  find -H "$tree" -ignore_readdir_race -maxdepth 2 "$@" > "$file.raw"
  find -H "$tree" -ignore_readdir_race -mindepth 2 -maxdepth 2 -type d -print0 > "$file.below"
  tr '\n\0' '\0\n' < "$file.below" > "$file.lines"
  sed -n 'p;n' "$file.lines" > "$file.lines.1"
  sed -n 'n;p' "$file.lines" > "$file.lines.2"
  below "$file" 1 "$@" &
  below "$file" 2 "$@"
  wait "$!"
  cat "$file.1" "$file.2" >> "$file.raw"
}
# One of the two halves of what lies deeper, each by a processor of its own.
below() { # FILE 1|2 EXPRESSION...
  file=$1; half=$2; shift 2
  tr '\n\0' '\0\n' < "$file.lines.$half" > "$file.below.$half"
  # What can't be read is told as a change: it was there a moment ago.
  xargs -0 -r sh -c "$behind" sh "$(($# + 3))" -ignore_readdir_race -mindepth 1 "$@" \
    < "$file.below.$half" > "$file.$half" ||
    printf '%s - - - %s could not be read to its end\0' "$file" "$tree" >> "$file.$half"
}
# find(1) wants its paths first, xargs(1) puts them last: the words before them go behind.
behind='
todo=$1; shift
while [ "$todo" -gt 0 ]; do set -- "$@" "$1"; shift; todo=$((todo - 1)); done
exec find "$@"'
order() { # FILE
  tr '\n\0' '\0\n' < "$1.raw" > "$1"
  LC_ALL=C sort -o "$1" "$1"
}
look "$out/first" "$@"
search() {
${openForWriting}
}
search "$tree" > "$out/writers"
look "$out/second" "$@"
cat "$out/writers"
printf '\0'
if cmp -s "$out/first.raw" "$out/second.raw"; then exit 0; fi
order "$out/first"
order "$out/second"
LC_ALL=C comm -3 "$out/first" "$out/second" > "$out/changed"
tr '\n\0' '\0\n' < "$out/changed"`;

/**
 * Proves that a frozen store stands still: nobody has a file of it open for writing, and a second
 * look, after that check, sees what the first saw. `ignored` are names of files that do not count.
 * Returns a line of evidence.
 */
export async function proveStill(
  host: MailHost,
  stores: readonly string[],
  ignored: readonly string[],
): Promise<string> {
  // Some trees at the same time: nothing is served meanwhile. A qmail with MySQL has one for each user.
  const looks = await inTurns(stores, 4, (store) =>
    host.read(
      script(twoLooks, [store, ...ignored], {
        timeout: 3600,
        purpose: `look whether ${store} stands still`,
      }),
    ),
  );
  for (const [index, { stdout }] of looks.entries()) {
    const store = stores[index] ?? '';
    const [listed = '', ...changed] = stdout.toString('utf8').split('\0');
    const writers = listed
      .trim()
      .split('\n')
      .filter((line) => line !== '' && !ignored.some((name) => matches(line, name)));
    if (writers.length > 0)
      throw new UserError(
        `${host.label}: still open for writing in ${store}: ${writers.slice(0, 3).join('; ')}. Stop that program, then run freeze again`,
      );
    const paths = new Set(changed.map((entry) => printable(entry.split(' ').slice(4).join(' '))));
    paths.delete('');
    if (paths.size > 0)
      throw new UserError(
        `${host.label}: ${store} changed after every known writer was closed: ${[...paths].slice(0, 3).join(', ')}. Find the program (cron job, fetchmail, webmail?), stop it, then run freeze again`,
      );
  }
  return `${stores.length} trees stand still, nobody has a file open for writing`;
}

/** Whether a path ends in a file of that name; a star at the name's end stands for any ending. */
function matches(path: string, name: string): boolean {
  const file = path.slice(path.lastIndexOf('/') + 1);
  return name.endsWith('*') ? file.startsWith(name.slice(0, -1)) : file === name;
}
