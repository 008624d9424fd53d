/** What an edit replaces, on disk before the edit is made. Shell text, a part of `hostctl`. */
export const undoRecords = String.raw`# --- undo records ---------------------------------------------------------------------------------
# undo/GROUP/NNNN-ID/{kind,what,before,sum}; made and removed under another name, so one is whole or absent.
# sum: of what the record holds, as sha256sum(1) has it, below 16 random bytes. The sum of that goes on
# record, and nobody can try passwords against it. The text of a block is ours, and no part of it.
# undo-log: a line for each record that was made or is gone; "hostctl append" hands it on to the journal.
recorded() {
  for known in "$base/undo/$1"/[0-9][0-9][0-9][0-9]-"$2"; do [ -e "$known" ]; return; done
}

record() { # GROUP ID KIND WHAT, the state before on standard input
  prepare_record "$@"
  keep_records "$1" "$2"
}

prepare_record() { # GROUP ID KIND WHAT [BEFORE]: as record; it counts only when it is kept
  # A freeze whose limit passed in the middle of it must not go on closing: nothing would end it.
  # A fenced host serves nothing, and what still comes to it may be sent on.
  if [ "$1" = freeze ] && [ ! -e "$base/frozen" ] && [ ! -e "$base/fenced" ]; then
    die 'the freeze has reached its limit, and this host serves again. Run freeze again, or raise freeze.max-minutes'
  fi
  if [ ! -d "$base/undo/$1" ]; then
    mkdir -p "$base/undo/$1"
    [ -e "$base/undo-log" ] || : > "$base/undo-log"
    durable "$base" "$base/undo"
  fi
  temporary="$base/undo/$1/.new.$$.$2"
  [ ! -e "$temporary" ] || rm -rf -- "$temporary"
  mkdir "$temporary"
  printf '%s' "$3" > "$temporary/kind"
  printf '%s' "$4" > "$temporary/what"
  if [ "$#" -gt 4 ]; then printf '%s' "$5" > "$temporary/before"
  else cat > "$temporary/before"; fi
}

keep_records() { # GROUP ID...: what was prepared, whole on disk before it counts, in this order
  kept=$1; folder="$base/undo/$1"; shift
  last=$(ls "$folder" | sed -n '$s/-.*//p')
  first=10000 # with a digit in front: a leading 0 would be octal
  if [ -n "$last" ]; then first=$((1$last + 1)); fi
  salt=$(od -An -N16 -tx1 /dev/urandom)
  made=
  for each; do
    printf '#%s\n' "$salt" > "$folder/.new.$$.$each/sum"
    made="$made .new.$$.$each"
  done
  # shellcheck disable=SC2086
  sums=$(cd "$folder" && sum_up "$kept" . $made)
  # Before they count: no record is ever without its line.
  count=$first
  for each; do
    log_record "$kept" "\${count#1}-$each" made
    count=$((count + 1))
  done
  durable "$folder/.new.$$."*/* "$folder/.new.$$."* "$base/undo-log"
  count=$first
  for each; do
    mv -- "$folder/.new.$$.$each" "$folder/\${count#1}-$each"
    count=$((count + 1))
  done
  durable "$folder"
}

# In the folder of GROUP: adds what each RECORD holds to INTO/RECORD/sum -> "SHA256  INTO/RECORD/sum", a line
# each, in their order
sum_up() { # GROUP INTO RECORD...
  of=$1; into=$2; shift 2
  todo=$#
  lists=
  while [ "$todo" -gt 0 ]; do
    kind=; before=; id=\${1#.new."$$".}; id=\${id#[0-9][0-9][0-9][0-9]-}
    read -r kind < "$1/kind" || :
    read -r before < "$1/before" || :
    case $kind:$before in
      file:saved)
        stat -c '# %f %u %g %N' -- "../saved/$of-$id" >> "$into/$1/sum" || :
        if [ ! -L "../saved/$of-$id" ]; then set -- "$@" "$1/../../saved/$of-$id"; fi ;;
      tree:saved)
        ( cd -- "$1" && find "../../saved/$of-$id" -printf '# %y %m %U %G %p %l\n' -type f -exec sha256sum -- {} + ) \
          > "$into/.sums.$$" || return 1
        sort -- "$into/.sums.$$" >> "$into/$1/sum" || return 1 ;;
    esac
    lists="$lists $into/$1/sum"
    set -- "$@" "$1/kind" "$1/what" "$1/before"
    shift
    todo=$((todo - 1))
  done
  sha256sum -- "$@" > "$into/.sums.$$" || return 1
  while read -r sum path; do
    printf '%s  %s\n' "$sum" "\${path#*/}" >> "$into/\${path%%/*}/sum" || return 1
  done < "$into/.sums.$$"
  rm -f -- "$into/.sums.$$"
  # shellcheck disable=SC2086
  sha256sum -- $lists
}

# The same of what lies there now; nothing where it can't be told, for an undo goes on without it.
sums_now() { ( sum_up_now "$@" ) 2>/dev/null || :; }

sum_up_now() { # GROUP RECORD...: changes the folder
  of=$1; shift
  cd -- "$base/undo/$of" || return 1
  # In memory, where there is room even on a full disk.
  work="/run/mail-cutover-sums.$$"
  [ -w /run ] || work="$base/.sums.$$"
  folders=
  for each; do folders="$folders $work/$each"; done
  [ "$#" -gt 0 ] || return 0
  # shellcheck disable=SC2086
  mkdir -p $folders || return 1
  code=0
  { salt_again "$@" && sum_up "$of" "$work" "$@"; } || code=1
  rm -rf -- "$work"
  return "$code"
}

salt_again() { # RECORD...
  for each; do
    # One without is none of ours, or of an older version.
    read -r salt < "$each/sum" || salt="#$(od -An -N16 -tx1 /dev/urandom)"
    printf '%s\n' "$salt" > "$work/$each/sum" || return 1
  done
}

# The first of the sums, which are in the order of their records. No search: a shell is slow at that.
log_record() { # GROUP RECORD made|gone
  printf '%s/%s %s %s\n' "$1" "$2" "$3" "\${sums%% *}" >> "$base/undo-log"
  sums=\${sums#*"$newline"}
}
newline='
'

# Where nothing could be summed up, that is said.
gone() { # GROUP RECORD
  [ -n "$sums" ] || sums='- '
  log_record "$1" "$2" gone 2>/dev/null || :
}

# A record that was changed or renamed by us: on record anew.
record_again() { # GROUP RECORD
  # One of an older version has no sum, and gets none.
  [ -e "$base/undo/$1/$2/sum" ] || return 0
  read -r salt < "$base/undo/$1/$2/sum"
  printf '%s\n' "$salt" > "$base/undo/$1/$2/sum"
  sums=$(cd "$base/undo/$1" && sum_up "$1" . "$2") || return 1
  log_record "$1" "$2" made
  durable "$base/undo/$1/$2/sum" "$base/undo-log"
}

# Those of a version that summed up none are on record from now on.
adopt_records() {
  [ ! -e "$base/undo-log" ] || return 0
  : > "$base/undo-log"
  for folder in "$base"/undo/*; do
    for each in $(records_of "\${folder##*/}"); do
      [ ! -e "$folder/$each/sum" ] || continue
      printf '#%s\n' "$(od -An -N16 -tx1 /dev/urandom)" > "$folder/$each/sum"
      record_again "\${folder##*/}" "$each" || return 1
    done
  done
}

# -> "GROUP/RECORD SHA256" a line: of every record, as it lies there now
undo_sums() {
  for folder in "$base"/undo/*; do
    group=\${folder##*/}
    # shellcheck disable=SC2046
    set -- $(records_of "$group")
    [ "$#" -gt 0 ] || continue
    sums=$(sums_now "$group" "$@")
    for record; do
      printf '%s/%s %s\n' "$group" "$record" "\${sums%% *}"
      sums=\${sums#*"$newline"}
    done
  done
}

records_of() { ls "$base/undo/$1" 2>/dev/null | sed -n '/^[0-9]\{4\}-/p'; } # GROUP, the oldest first

running() { systemctl is-active --quiet "$1" 2>/dev/null; }

dovecot_config() { doveconf 2>/dev/null | sed -n '1s/^# [^:]*: //p'; }
`;
