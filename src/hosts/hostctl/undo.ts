/** Taking edits back, the newest first. Shell text, a part of `hostctl`. */
export const undo = String.raw`undo_one() { # DIRECTORY
  what=$(cat "$1/what")
  case $(cat "$1/kind") in
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
    queue) move_queue "$base/queue" "$what" ;;
    serve)
      systemctl disable -q --now "$what" 2>/dev/null || :
      # What a socket has started goes on without it.
      case $what in *.socket) systemctl stop "\${what%.socket}.service" 2>/dev/null || : ;; esac ;;
    seal)
      # Lazily: somebody may be reading there.
      if sealed "$what"; then umount -l -- "$what"; fi ;;
    unit)
      if [ "$(cat "$1/before")" = active ]; then
        [ "$(systemctl show -p NeedDaemonReload --value "$what")" = no ] || systemctl daemon-reload
        systemctl start "$what"
      fi ;;
    *:*) # of a mail system's own program, beside this one
      kind=$(cat "$1/kind")
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

undo_group() { # GROUP: newest first; a record goes when its undo is done
  [ -d "$base/undo/$1" ] || return 0
  units_changed=
  for record in $(ls -r "$base/undo/$1"); do
    undo_one "$base/undo/$1/$record"
    mv -- "$base/undo/$1/$record" "$base/undo/$1/.undone.$record"
    rm -rf -- "$base/undo/saved/$1-\${record#*-}"
  done
  # With what a kill left under names that don't count.
  rm -rf -- "$base/undo/$1"
  [ -z "$units_changed" ] || ! has_systemd || systemctl daemon-reload
  reload_services
}

reload_services() {
  if command -v postfix >/dev/null && postfix status 2>/dev/null; then postfix reload 2>/dev/null; fi
  if command -v doveadm >/dev/null && running dovecot; then doveadm reload; fi
}
`;
