/** Space that is kept for a way back. Shell text, a part of `hostctl`. */
export const room = `# --- room -----------------------------------------------------------------------------------------
# Space that lies ready for a way back: a thaw or a rollback must work with a full disk. Random bytes,
# because some file systems store zeros in no space at all.
room=4194304

reserve() {
  [ "$(stat -c %s -- "$base/reserve" 2>/dev/null || printf 0)" -lt "$room" ] || return 0
  if ! head -c "$room" /dev/urandom > "$base/reserve.new" 2>/dev/null || ! sync -- "$base/reserve.new"; then
    rm -f -- "$base/reserve.new"
    die "less than $((room / 1048576)) MiB are free where $base lies: make room, then run this stage again" 95
  fi
  mv -f -- "$base/reserve.new" "$base/reserve"
}

make_room() {
  [ -e "$base/reserve" ] || return 0
  free=$(df -Pk -- "$base" | awk 'NR == 2 { print $4 }')
  if [ "$((free * 1024))" -lt "$room" ]; then rm -f -- "$base/reserve"; fi
}
`;
