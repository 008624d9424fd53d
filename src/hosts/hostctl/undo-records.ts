/** What an edit replaces, on disk before the edit is made. Shell text, a part of `hostctl`. */
export const undoRecords = `# --- undo records ---------------------------------------------------------------------------------
# undo/GROUP/NNNN-ID/{kind,what,before}; made and removed under another name, so one is whole or absent.
recorded() { ls -d "$base/undo/$1"/[0-9][0-9][0-9][0-9]-"$2" >/dev/null 2>&1; }

record() { # GROUP ID KIND WHAT, the state before on standard input
  prepare_record "$@"
  keep_records "$1" "$2"
}

prepare_record() { # as record; it counts only when it is kept
  # A freeze whose limit passed in the middle of it must not go on closing: nothing would end it.
  # A fenced host serves nothing, and what still comes to it may be sent on.
  if [ "$1" = freeze ] && [ ! -e "$base/frozen" ] && [ ! -e "$base/fenced" ]; then
    die 'the freeze has reached its limit, and this host serves again. Run freeze again, or raise freeze.max-minutes'
  fi
  if [ ! -d "$base/undo/$1" ]; then
    mkdir -p "$base/undo/$1"
    durable "$base" "$base/undo"
  fi
  temporary="$base/undo/$1/.new.$$.$2"
  rm -rf -- "$temporary"
  mkdir "$temporary"
  printf '%s' "$3" > "$temporary/kind"
  printf '%s' "$4" > "$temporary/what"
  cat > "$temporary/before"
}

keep_records() { # GROUP ID...: what was prepared, whole on disk before it counts, in this order
  folder="$base/undo/$1"; shift
  durable "$folder/.new.$$."*/* "$folder/.new.$$."*
  last=$(ls "$folder" | sed -n '$s/-.*//p')
  count=0
  if [ -n "$last" ]; then count=$((1$last - 9999)); fi # 10008 - 9999: a leading 0 would be octal
  for each; do
    mv -- "$folder/.new.$$.$each" "$folder/$(printf '%04d' "$count")-$each"
    count=$((count + 1))
  done
  durable "$folder"
}

running() { systemctl is-active --quiet "$1" 2>/dev/null; }

dovecot_config() { doveconf 2>/dev/null | sed -n '1s/^# [^:]*: //p'; }
`;
