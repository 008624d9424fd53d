/**
 * A tree's manifest by find(1), sort(1) and sha256sum(1), for hosts without perl and for the differences that a
 * message names. No pipeline in it: each part writes a file, so that a failure in any of them ends the script.
 *
 * -H: a tree that is a link to a folder is what lies there, as it is for rsync. File systems that are mounted
 * in it belong to it. Of folders the modification time counts only for `cur` and `new`, by which servers tell whether
 * an index is fresh. How many links a file has does not count, for some may lie elsewhere: of names that are
 * one file each has a record of its own, `h NAME//FIRST-NAME`.
 *
 * `$1` tree, `$2` depth, `$3` times: `exact` or `seconds`, `$4` what to put out: `digest` (with the number of entries, and
 * `whole` where no time on one of the tree's file systems has a fraction of a second) or `list`; then file names that do
 * not count.
 */
export const plainManifestScript = String.raw`
umask 077
out=$(mktemp -d /run/mail-cutover.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf -- "$out"' EXIT
LC_ALL=C
export LC_ALL
tree=$1; depth=$2; times=$3; wanted=$4; shift 4
todo=$#
while [ "$todo" -gt 0 ]; do
  set -- "$@" ! -name "$1"
  shift
  todo=$((todo - 1))
done
: > "$out/times"
: > "$out/linked"
if [ ! -e "$tree" ] && [ ! -L "$tree" ]; then printf 'missing\0' > "$out/list"
else
  find -H "$tree" -ignore_readdir_race \
    \( -type d \( -name cur -o -name new \) -printf 'd %T@ %m %u:%g %P\0' -fprintf "$out/times" '%D %T@\n' \) -o \
    \( -type d -printf 'd - %m %u:%g %P\0' \) -o \
    \( -type l -printf 'l %u:%g %P//%l\0' \) -o \
    \( -type f "$@" -printf 'f %T@ %m %u:%g %s %P\0' -fprintf "$out/times" '%D %T@\n' \
      \( -links 1 -o -fprintf "$out/linked" '%D:%i %P\0' \) \) -o \
    ! -type f -printf 'o %y %m %u:%g %P\0' > "$out/names"
  if [ "$times" = seconds ]; then
    sed -z 's/^\([fd] -\{0,1\}[0-9]*\)\.[0-9]*/\1/' "$out/names" > "$out/cut"
    mv -- "$out/cut" "$out/names"
  fi
  case $depth in
    full) find -H "$tree" -ignore_readdir_race -type f "$@" -print0 > "$out/files" ;;
    sample)
      find -H "$tree" -ignore_readdir_race -type f "$@" -print0 > "$out/all"
      sort -z -o "$out/all" "$out/all"
      tr -cd '\0' < "$out/all" > "$out/count"
      count=$(wc -c < "$out/count")
      awk -v RS='\0' -v ORS='\0' -v step=$((count / 200 + 1)) 'NR % step == 1 || step == 1' "$out/all" > "$out/files"
      find -H "$tree" -ignore_readdir_race -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 >> "$out/files" ;;
    *) find -H "$tree" -ignore_readdir_race -type f "$@" \( -name dovecot-uidlist -o -name 'dovecot-uidvalidity*' \) -print0 > "$out/files" ;;
  esac
  sort -z -u -o "$out/files" "$out/files"
  : > "$out/sums"
  if [ -s "$out/files" ]; then xargs -0 sha256sum -z -- < "$out/files" > "$out/sums"; fi
  cat "$out/names" "$out/sums" > "$out/list"
  sort -z -o "$out/list" "$out/list"
fi
tr -cd '\0' < "$out/list" > "$out/count"
entries=$(wc -c < "$out/count")
sort -z -o "$out/linked" "$out/linked"
awk -v RS='\0' -v ORS='\0' '{
  gap = index($0, " "); inode = substr($0, 1, gap - 1); name = substr($0, gap + 1)
  if (inode != last) { last = inode; first = name; told = 0; next }
  if (!told) print "h " first "//" first
  told = 1
  print "h " name "//" first
}' "$out/linked" > "$out/groups"
sort -z -o "$out/groups" "$out/groups"
cat "$out/groups" >> "$out/list"
if [ "$wanted" = list ]; then cat "$out/list"
else
  sha256sum < "$out/list" > "$out/digest"
  granularity=$(awk '{ split($2, time, "."); has[$1] = has[$1] || time[2] ~ /[1-9]/ }
    END { for (device in has) if (!has[device]) { print "whole"; exit }; print "fractions" }' "$out/times")
  read -r digest rest < "$out/digest"
  printf '%s %s %s\n' "$digest" "$entries" "$granularity"
fi`;
