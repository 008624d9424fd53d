/** Edits of configuration: parameters, files, marked blocks. Shell text, a part of `hostctl`. */
export const edits = String.raw`# --- edits: each first records, then changes, and does nothing when it is so already ----------------
edit_postconf() { # GROUP PARAMETER VALUE [PARAMETER VALUE...]
  group=$1; shift
  todo=$#
  fresh=
  while [ "$todo" -gt 0 ]; do
    recorded "$group" "$1" || fresh="$fresh $1"
    # Words are rotated: two off the front, one "parameter=value" on at the end.
    set -- "$@" "$1=$2"
    shift 2
    todo=$((todo - 2))
  done
  if [ -n "$fresh" ]; then
    # Not in a pipeline: a main.cf that can't be read must not be taken for parameters that are not set.
    # shellcheck disable=SC2086
    before="$newline$(postconf -n $fresh)$newline"
    for parameter in $fresh; do
      prepare_record "$group" "$parameter" postconf "$parameter" "$(set_to "$parameter")"
    done
    # shellcheck disable=SC2086
    keep_records "$group" $fresh
  fi
  postconf -e "$@"
  settle
}

# No program is started for it: there may be twenty, in the downtime.
set_to() { # PARAMETER -> "=VALUE", as "before" has it, which postconf printed; nothing where it is not set
  case $before in
    *"$newline$1 ="*) ;;
    *) return 0 ;;
  esac
  value=\${before#*"$newline$1 ="}
  value=\${value%%"$newline"*}
  printf '=%s\n' "\${value# }"
}

# Every Postfix program waits up to 2 s before it reads a main.cf that is younger than that, lest it
# be written still (dict_open(3)). Ours is renamed into place, whole: no mail need wait for it.
# postconf syncs the file, but not the rename: what closes a host must outlive a power cut.
settle() {
  folder=$(postconf -dh config_directory)
  touch -d "@$(($(now) - 5))" -- "$folder/main.cf"
  durable "$folder"
}

edit_master() { # GROUP ID SERVICE/TYPE ENTRY [ID SERVICE/TYPE ENTRY...]
  group=$1; shift
  todo=$#
  fresh=
  before=
  while [ "$todo" -gt 0 ]; do
    if ! recorded "$group" "$1"; then
      [ -n "$before" ] || before=$(postconf -M)
      prepare_record "$group" "$1" master "$2" "$(entry_of "$2")"
      fresh="$fresh $1"
    fi
    # As above: three off the front, one on at the end.
    set -- "$@" "$2=$3"
    shift 3
    todo=$((todo - 3))
  done
  # shellcheck disable=SC2086
  [ -z "$fresh" ] || keep_records "$group" $fresh
  postconf -M "$@"
  durable "$(postconf -dh config_directory)"
}

entry_of() { # SERVICE/TYPE -> its entry, as "before" has it
  printf '%s\n' "$before" | SERVICE=$1 awk '$1 "/" $2 == ENVIRON["SERVICE"]'
}

edit_file() { # GROUP ID PATH MODE OWNER:GROUP < content
  if ! recorded "$1" "$2"; then
    if [ -e "$3" ] || [ -L "$3" ]; then
      mkdir -p "$base/undo/saved"
      cp -a --remove-destination -- "$3" "$base/undo/saved/$1-$2"
      durable "$base/undo/saved" "$base/undo/saved/$1-$2"
      printf saved | record "$1" "$2" file "$3"
    else
      record "$1" "$2" file "$3" < /dev/null
    fi
  fi
  mkdir -p -- "\${3%/*}"
  rm -f -- "$3.mail-cutover"
  cat > "$3.mail-cutover"
  chmod "$4" "$3.mail-cutover"
  chown "$5" "$3.mail-cutover"
  replace "$3"
}

edit_files() { # GROUP MODE OWNER:GROUP ID PATH [ID PATH...] < content: the same in each
  group=$1; mode=$2; owner=$3; shift 3
  text="$base/.text.$$"
  cat > "$text"
  while [ "$#" -gt 0 ]; do
    edit_file "$group" "$1" "$2" "$mode" "$owner" < "$text"
    shift 2
  done
  rm -f -- "$text"
}

# replace PATH: by PATH.mail-cutover, the one temporary name, so that what a kill left is used up later
replace() {
  durable "$1.mail-cutover"
  mv -f -- "$1.mail-cutover" "$1"
  durable "\${1%/*}"
}

# FILE without our block. Where one of its two marks was deleted, only lines that are still as we wrote
# them (TEXT) go with the other: what follows is the administrator's.
without_block() { # FILE ID TEXT
  awk -v b="# BEGIN $marker $2" -v e="# END $marker $2" -v text="$3" '
    BEGIN { while ((getline line < text) > 0) ours[++n] = line }
    { all[NR] = $0; if ($0 == b) first = NR; if ($0 == e) last = NR }
    END {
      if (first && !last) {
        last = first
        while (last < NR && last - first < n && all[last + 1] == ours[last - first + 1]) last++
      } else if (last && !first) {
        first = last
        while (first > 1 && last - first < n && all[first - 1] == ours[n - (last - first)]) first--
      }
      for (i = 1; i <= NR; i++) if (!first || i < first || i > last) print all[i]
    }' "$1"
}

edit_block() { # GROUP ID FILE < text: our marked lines at the end of FILE
  text=$(cat)
  # What is recorded: the last byte, if it is not a newline.
  recorded "$1" "$2" || { tail -c 1 -- "$3" | tr -d '\n'; } | record "$1" "$2" block "$3"
  # cp: owner, mode and the rest of the inode's attributes stay.
  cp -a --remove-destination -- "$3" "$3.mail-cutover"
  without_block "$3" "$2" "$base/undo/saved/$1-$2" > "$3.mail-cutover"
  # What we write, before we write it: should a mark be deleted, it is known by this.
  mkdir -p "$base/undo/saved"
  printf '%s\n' "$text" | put "$base/undo/saved/$1-$2"
  printf '# BEGIN %s %s\n%s\n# END %s %s\n' "$marker" "$2" "$text" "$marker" "$2" >> "$3.mail-cutover"
  replace "$3"
}

undo_block() { # FILE ID BEFORE TEXT
  cp -a --remove-destination -- "$1" "$1.mail-cutover"
  without_block "$1" "$2" "$4" > "$1.mail-cutover"
  # awk ended the last line; it had no newline before.
  if [ -s "$3" ] && ! cmp -s -- "$1" "$1.mail-cutover"; then truncate -s -1 -- "$1.mail-cutover"; fi
  replace "$1"
}
`;
