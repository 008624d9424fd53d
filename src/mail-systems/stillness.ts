import { createHash } from 'node:crypto';
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

/** Names, sizes, and change times of a whole tree: any write, rename or unlink shows in it. */
const look = String.raw`
out=$(mktemp /run/mail-cutover.XXXXXX)
trap 'rm -f -- "$out"' EXIT
if [ -e "$1" ]; then LC_ALL=C find "$1" -printf '%i %s %C@ %P\0' > "$out"; fi
LC_ALL=C sort -z -o "$out" "$out"
sha256sum < "$out"`;

/**
 * Proves that a frozen store stands still: nobody has a file of it open for writing, and a second
 * look, after that check, sees what the first saw. Returns a line of evidence.
 */
export async function proveStill(host: MailHost, stores: readonly string[]): Promise<string> {
  const digest = createHash('sha256');
  for (const store of stores) {
    const first = await lookAt(host, store);
    const writers = await host.read(
      script(openForWriting, [store], { purpose: `look for writers in ${store}` }),
    );
    const open = writers.stdout.toString('utf8').trim();
    if (open !== '')
      throw new UserError(
        `${host.label}: still open for writing in ${store}: ${open.split('\n').slice(0, 3).join('; ')}. Stop that program, then run freeze again`,
      );
    if ((await lookAt(host, store)) !== first)
      throw new UserError(
        `${host.label}: ${store} changed after every known writer was closed. Find the program (cron job, fetchmail, webmail?), stop it, then run freeze again`,
      );
    digest.update(`${store}\0${first}\0`);
  }
  return `${stores.length} trees stand still, ${digest.digest('hex').slice(0, 16)}`;
}

async function lookAt(host: MailHost, store: string): Promise<string> {
  const result = await host.read(script(look, [store], { timeout: 3600, purpose: `look at ${store}` }));
  return result.stdout.toString('utf8').trim();
}
