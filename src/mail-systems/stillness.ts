import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';

/** Prints `PID PROGRAM PATH` of every process that has a file below `$1` open for writing. */
const openForWriting = String.raw`
pattern=$(printf '%s' "$1" | sed 's/[][*?\\]/\\&/g')
find /proc/[0-9]*/fd -lname "$pattern/*" -printf '%p %l\n' 2>/dev/null |
while read -r fd file; do
  process=$(dirname "$(dirname "$fd")")
  case $(sed -n 's/^flags:[[:space:]]*//p' "$process/fdinfo/$(basename "$fd")" 2>/dev/null) in
    *[12]) printf '%s %s %s\n' "$(basename "$process")" "$(cat "$process/comm" 2>/dev/null)" "$file" ;;
  esac
done`;

/**
 * Looks at a tree, runs the search for writers, looks again, and prints the paths that changed in
 * between, each after a NUL. Any write shows in a file's size or change time, any rename or unlink
 * in the directory's modification time (not its change time: overlayfs sets that when a directory
 * is read and it drops a mark of its own).
 */
const twoLooks = String.raw`
umask 077
out=$(mktemp -d /run/mail-cutover.XXXXXX)
trap 'rm -rf -- "$out"' EXIT
look() {
  if [ -e "$1" ]; then LC_ALL=C find "$1" -type d -printf '%i %m %u %T@ %P\0' -o -printf '%i %s %u %C@ %P\0' > "$2"; else : > "$2"; fi
  LC_ALL=C sort -z -o "$2" "$2"
}
look "$1" "$out/first"
( ${openForWriting}
) > "$out/writers"
look "$1" "$out/second"
cat "$out/writers"
printf '\0'
LC_ALL=C comm -z -3 "$out/first" "$out/second"`;

/**
 * Proves that a frozen store stands still: nobody has a file of it open for writing, and a second
 * look, after that check, sees what the first saw. Returns a line of evidence.
 */
export async function proveStill(host: MailHost, stores: readonly string[]): Promise<string> {
  for (const store of stores) {
    const result = await host.read(
      script(twoLooks, [store], { timeout: 3600, purpose: `look whether ${store} stands still` }),
    );
    const [writers = '', ...changed] = result.stdout.toString('utf8').split('\0');
    if (writers !== '')
      throw new UserError(
        `${host.label}: still open for writing in ${store}: ${writers.trim().split('\n').slice(0, 3).join('; ')}. Stop that program, then run freeze again`,
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

function printable(path: string): string {
  return path.replace(/[^\x20-\x7e\u00a0-\uffff]/g, '?');
}
