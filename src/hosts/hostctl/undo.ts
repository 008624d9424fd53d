/** Taking edits back, the newest first. Shell text, a part of `hostctl`. */
export const undo = String.raw`# Without another program: an undo goes through many records, in the downtime too.
kind_of() { # DIRECTORY
  kind=
  read -r kind < "$1/kind" || :
  printf '%s' "$kind"
}

undo_one() { # DIRECTORY
  what=$(cat "$1/what")
  case $(kind_of "$1") in
    postconf)
      if [ -s "$1/before" ]; then postconf -e "$what$(cat "$1/before")"; else postconf -X "$what"; fi
      settle ;;
    master)
      if [ -s "$1/before" ]; then postconf -M "$what=$(cat "$1/before")"
      elif [ -n "$(postconf -M "$what" 2>/dev/null)" ]; then postconf -MX "$what"; fi ;;
    file)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      if [ -s "$1/before" ]; then
        cp -a --remove-destination -- "$base/undo/saved/$group-$id" "$what.mail-cutover"
        replace "$what"
      else rm -f -- "$what" "$what.mail-cutover"; fi
      case $what in
        /etc/systemd/*)
          rmdir -- "\${what%/*}" 2>/dev/null || : # a folder for drop-ins that holds none
          units_changed=1 ;;
      esac ;;
    block)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      undo_block "$what" "$id" "$1/before" "$base/undo/saved/$group-$id" ;;
    tree)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      undo_tree "$1" "$what" "$base/undo/saved/$group-$id" ;;
    group) undo_group_account "$what" ;;
    user) undo_user "$1" "$what" ;;
    password) undo_password "$what" "$1/before" ;;
    member)
      if id -- "\${what#*:}" > /dev/null 2>&1; then gpasswd -d "\${what#*:}" "\${what%%:*}" > /dev/null; fi ;;
    queue) move_queue as-it-is "$base/queue" "$what" ;;
    serve)
      systemctl disable -q --now "$what" 2>/dev/null || :
      # What a socket has started goes on without it.
      case $what in *.socket) systemctl stop "\${what%.socket}.service" 2>/dev/null || : ;; esac ;;
    seal)
      unseal "$what"
      clear_seal || : ;;
    unit)
      if [ "$(cat "$1/before")" = active ]; then
        [ "$(systemctl show -p NeedDaemonReload --value "$what")" = no ] || systemctl daemon-reload
        systemctl start "$what"
      fi ;;
    *:*) # of a mail system's own program, beside this one
      kind=$(kind_of "$1")
      "$base/bin/\${kind%%:*}" undo "\${kind#*:}" "$what" "$1/before" ;;
    *) die "undo record $1 is of an unknown kind" ;;
  esac
}

# A mail system's own program is told of the turning points of a thaw.
hook() {
  for program in "$base"/bin/*; do
    case \${program##*/} in *ctl) ;; *) continue ;; esac
    if [ "$program" != "$base/bin/hostctl" ] && [ -x "$program" ]; then "$program" hook "$1"; fi
  done
}

# units: nothing else was changed, so no service has anything to read anew.
undo_group() { # GROUP [units]: newest first, what ran last of all; a record goes when its undo is done
  group=$1; only=\${2:-}
  [ -d "$base/undo/$group" ] || return 0
  units_changed=
  others=
  set --
  for record in $(ls -r "$base/undo/$group"); do
    if [ "$(kind_of "$base/undo/$group/$record")" = unit ]; then set -- "$@" "$record"
    else others="$others $record"; fi
  done
  # shellcheck disable=SC2086
  sums=$(sums_now "$group" $others "$@")
  for record in $others; do
    undo_one "$base/undo/$group/$record"
    mv -- "$base/undo/$group/$record" "$base/undo/$group/.undone.$record"
    gone "$group" "$record"
    saved="$base/undo/saved/$group-\${record#*-}"
    if [ -e "$saved" ] || [ -L "$saved" ]; then rm -rf -- "$saved"; fi
  done
  [ -z "$units_changed" ] || ! has_systemd || systemctl daemon-reload
  # Before the start: what begins now reads what is there now, and reloading it would only hold it up.
  [ "$only" = units ] || reload_services
  start_again "$group" "$@"
  for record; do gone "$group" "$record"; done
  # With what a kill left under names that don't count, and of lines that it left out. No line is like
  # another: "append" looks for the last one that was heard.
  sums="$(printf '%064d' "$(now)$$") "
  gone "$group" '*'
  rm -rf -- "$base/undo/$group"
}

undo_records() { # GROUP RECORD...: those alone, in this order
  group=$1; shift
  sums=$(sums_now "$group" "$@")
  units_changed=
  for record; do
    undo_one "$base/undo/$group/$record"
    forget_record "$base/undo/$group/$record"
    rm -rf -- "$base/undo/saved/$group-\${record#*-}"
    gone "$group" "$record"
  done
  [ -z "$units_changed" ] || ! has_systemd || systemctl daemon-reload
}

# Where they were told by a mark alone that they may not start, they may again, and do; what told them
# so can be taken down when there is time for it.
lift_fence() { # UNIT...: those too that did not run before
  [ -e "$base/owner" ] || die 'this host has not taken service, so its fence stays'
  rm -f -- "$base/fenced"
  durable "$base"
  units=$(for record in $(records_of fence); do
    if [ "$(kind_of "$base/undo/fence/$record")" = unit ]; then printf '%s\n' "$record"; fi
  done)
  # shellcheck disable=SC2086
  start_again fence $units
  [ "$#" -eq 0 ] || systemctl start "$@"
}

start_again() { # GROUP RECORD...: the units that ran, in one go: systemd knows their order
  group=$1; shift
  todo=$#
  for record; do
    if [ "$(cat "$base/undo/$group/$record/before")" = active ]; then
      set -- "$@" "$(cat "$base/undo/$group/$record/what")"
    fi
  done
  shift "$todo"
  [ "$#" -gt 0 ] || return 0
  case $(systemctl show -p NeedDaemonReload --value "$@") in *yes*) systemctl daemon-reload ;; esac
  systemctl start "$@"
}

reload_services() {
  if master_runs && ! postfix reload 2>/dev/null && postfix status 2>/dev/null; then
    die 'Postfix does not reload: see its log'
  fi
  if command -v doveadm >/dev/null && running dovecot; then doveadm reload; fi
}
`;
