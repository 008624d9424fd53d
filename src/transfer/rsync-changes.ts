import { createHash, randomUUID } from 'node:crypto';
import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';

/*
 * What rsync need not look at, where the mirror program can't run. Before a pass the source notes the
 * change time of every folder of a store, of every file that is no message, and of messages with several
 * links. The next pass hands rsync only folders in which one of these differs, each without what is below
 * it. The same rules as in the mirror program hold, and its comments say why: a message never changes
 * under its name; a change time that was young when it was looked at proves nothing; the note counts only
 * if the target has the token of the same pass, and the clock was not set since. A pass in the other
 * direction removes both (ends.ts).
 */

/** A store of which rsync keeps a note, from one pass to the next. */
export interface NotedStore {
  readonly source: Host;
  readonly target: Host;
  readonly migration: string;
  readonly path: string;
}

/** What rsync is to look at in a store. */
export interface Changes {
  /** File on the source, folders parted by NUL, for rsync's `--files-from`; undefined: everything. */
  readonly list: string | undefined;
  /** How many folders are in it. */
  readonly folders: number;
  /** To be called when the pass has ended well and is on disk. */
  remember(): Promise<void>;
}

/** Where the notes of this source and the tokens of this target lie, and what their names begin with. */
function noteOf({ migration, path }: NotedStore): string {
  const name = createHash('sha256').update(path).digest('hex').slice(0, 16);
  return `/var/lib/mail-cutover/${migration}/rsync-${name}`;
}

/** Looks what changed since the last pass. The target forgets that it was equal. */
export async function changesOf(store: NotedStore): Promise<Changes> {
  const { source, target, path } = store;
  const [note, token] = [noteOf(store), randomUUID()];
  const taken = await target.change(
    script(takeToken, [note, path], { purpose: 'take the token of the last pass' }),
  );
  const looked = await source.change(
    script(lookForChanges, [note, path, taken.stdout.toString('utf8').trim(), token], {
      timeout: 3600,
      purpose: 'look for changed folders',
    }),
  );
  const [word, count] = looked.stdout.toString('utf8').trim().split(' ');
  return {
    list: word === 'some' ? `${note}.list` : undefined,
    folders: Number(count),
    remember: async () => {
      await target.change(
        script(leaveToken, [note, path, token], { purpose: 'leave a token of this pass' }),
      );
      await source.change(
        script('mv -f -- "$1.next" "$1.note"; rm -f -- "$1.list"', [note], {
          purpose: 'keep the note of this pass',
        }),
      );
    },
  };
}

/** Words for rsync(1): each folder of the list with its files, and nothing below. */
export function listWords(list: string): readonly string[] {
  return [`--files-from=${list}`, '--from0', '--dirs', '--ignore-missing-args'];
}

/** Whether the folder of the store is still the one that the token speaks of: inode and mtime. */
const rootOf = `root_of() { stat -L -c '%i.%y' -- "$1" 2>/dev/null | tr ' ' _ || :; }`;

const takeToken = `${rootOf}
token= root=
read -r token root 2>/dev/null < "$1.token" || :
rm -f -- "$1.token"
if [ -n "$token" ] && [ "$root" = "$(root_of "$2")" ]; then printf '%s\\n' "$token"; fi`;

const leaveToken = `${rootOf}
printf '%s %s\\n' "$3" "$(root_of "$2")" > "$1.token"`;

/**
 * Path of the note, store, token of the target, token of this pass. A record: kind, change time or "?",
 * inode, mode, owners, "/", path below the store. No name is ever on a line of its own.
 */
const lookForChanges = String.raw`
LC_ALL=C
export LC_ALL
umask 077
if ! comm -z /dev/null /dev/null 2>/dev/null; then : > "$1.next"; echo all; exit 0; fi # coreutils before 8.25
IFS=. read -r up rest < /proc/uptime
now=$(date +%s)
clock="$(cat /proc/sys/kernel/random/boot_id) $((now - up))"
young=$((now - 2))
if ! find -H "$2" \( ! -type f -o -links +1 -o ! -regex '.*/\(cur\|new\)/[0-9]+\.[^/]*' \) \
  \( -newerct "@$young" -printf '%y ? %i %m %U %G /%P\0' -o -printf '%y %C@ %i %m %U %G /%P\0' \) \
  > "$1.found" 2> "$1.fault"; then
  # What vanishes while it is looked at has changed its folder.
  if grep -v 'No such file or directory' "$1.fault" >&2; then exit 1; fi
fi
{ printf '%s %s\0' "$4" "$clock"; sort -z "$1.found"; } > "$1.next"
rm -f -- "$1.found" "$1.fault"

same_clock() { # BOOT AHEAD BOOT AHEAD
  [ "$1" != "$3" ] || { [ "$(($2 - $4))" -le 1 ] && [ "$(($4 - $2))" -le 1 ]; }
}
is_trusted() {
  [ -n "$token" ] && [ -s "$note.note" ] || return 1
  head=$(head -z -n 1 "$note.note" | tr -d '\0')
  # shellcheck disable=SC2086
  set -- $head $clock
  [ "$1" = "$token" ] && same_clock "$2" "$3" "$4" "$5"
}
note=$1 token=$3
if ! is_trusted; then echo all; exit 0; fi

cd "$(dirname "$note")"
work=$(mktemp -d "$note.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
tail -z -n +2 "$note.note" > "$work/before"
tail -z -n +2 "$note.next" > "$work/now"
comm -z -3 "$work/before" "$work/now" > "$work/differ"
sed -z 's/^\t//' "$work/differ" > "$work/changed"
sed -z -n '/^. ? /p' "$work/before" >> "$work/changed"
# A link in a folder that was renamed is new, while the others are as they were.
sed -z -n 's/^f [^ ]* \([0-9]*\) .*$/\1/p' "$work/changed" > "$work/inodes"
sort -z -u "$work/inodes" > "$work/files"
sed -z -n 's/^f [^ ]* \([0-9]*\) /\1 /p' "$work/now" > "$work/by-inode"
sort -z -t ' ' -k 1,1 "$work/by-inode" > "$work/links"
join -z -t ' ' "$work/files" "$work/links" >> "$work/changed"
# The folders themselves, and those that hold what differs; of these what is there now.
sed -z -n 's|^d [^/]*/||p' "$work/changed" > "$work/folders"
sed -z 's|^[^/]*/||; /\//!s|^.*$||; s|/[^/]*$||' "$work/changed" >> "$work/folders"
sort -z -u "$work/folders" > "$work/wanted"
sed -z -n 's|^d [^/]*/||p' "$work/now" > "$work/there"
sort -z -u "$work/there" > "$work/known"
comm -z -12 "$work/wanted" "$work/known" > "$work/both"
sed -z 's|^|./|; s|$|/|; s|^\.//$|./|' "$work/both" > "$note.list"
tr -cd '\0' < "$note.list" > "$work/count"
echo "some $(wc -c < "$work/count")"`;
