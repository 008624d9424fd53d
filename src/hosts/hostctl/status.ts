/** What a person is told, and the files that the engine keeps. Shell text, a part of `hostctl`. */
export const status = String.raw`# One line for whoever logs in, by profile.d: why mail stands still here.
greeting() {
  if [ -e "$base/finished.json" ] && [ -e "$base/fenced" ]; then
    why='mail has moved to another host for good; mail services must not start here'
  elif [ -e "$base/forwarding" ]; then why='mail has moved: what comes here goes on to the other host'
  elif [ -e "$base/released" ]; then why='mail has moved to the other host'
  elif [ -e "$base/fenced" ]; then why='this host is fenced until mail is moved to it: mail services do not start'
  elif [ -e "$base/frozen" ]; then why="mail is being moved away: mailboxes are frozen until $(date -u -d "@$(cat "$base/deadline")" '+%Y-%m-%d %H:%M:%S UTC')"
  else return 0; fi
  printf '*** mail-cutover %s: %s. See: %s/bin/hostctl status\n' "$name" "$why" "$base"
}

status() {
  printf 'migration %s\n' "$name"
  printf 'lock %s held by %s\n' "$(number)" "$(cat "$base/lock/holder" 2>/dev/null || printf nobody)"
  for mark in fenced frozen thawing thawed released owner opened forwarding finished.json; do
    if [ -e "$base/$mark" ]; then printf '%s: %s\n' "$mark" "$(cat "$base/$mark")"; fi
  done
}

# append FILE EXPECTED-BYTES [LINE] < lines: only if the file is as long as the writer believes
# -> what has become of undo records since LINE of their log, or all of it where there is no such line
append() {
  file="$base/$1"
  [ -e "$file" ] || : > "$file"
  have=$(wc -c < "$file")
  [ "$have" -eq "$2" ] || die "$1 has $have bytes, not $2: somebody else wrote to it" 92
  dd of="$file" oflag=append conv=notrunc,fsync 2>/dev/null
  durable "$base"
  # The line stands: nothing about undo data may fail it.
  [ "$#" -le 2 ] || ( adopt_records ) || :
  if [ "$#" -gt 2 ] && [ -s "$base/undo-log" ]; then
    LINE=$3 awk '
      $0 == ENVIRON["LINE"] { n = 0; next }
      { news[n++] = $0 }
      END { for (i = 0; i < n; i++) print news[i] }' "$base/undo-log" || :
  fi
}
`;
