/** Freeze and thaw, release and take: who may serve. Shell text, a part of `hostctl`. */
export const ownership = String.raw`# --- freeze and ownership -------------------------------------------------------------------------
# frozen: a freeze was begun here. Service has one holder, and each host says what it knows:
#   owner     this host took it (an OLD that never gave it away needs no such file)
#   released  this host gave it away: thaw refuses, and only from here on may it forward
# Both are one file under two names, so that a host is never both. opened: it has served the world.
# forwarding: what comes here goes on to the other host.
thaw() {
  make_room
  [ ! -e "$base/released" ] || die "service was handed over at $(cat "$base/released"); use the rollback stage, or activate" 94
  if [ ! -e "$base/frozen" ] && [ ! -d "$base/undo/freeze" ] && [ ! -e "$base/thawing" ]; then
    printf 'not frozen\n'
    return 0
  fi
  # Before anything is undone: a thaw that is cut off half-way must not leave a host that may be released.
  stamp | put "$base/thawed"
  # Until its end: one that is cut off after the undo still has the queue to flush.
  stamp | put "$base/thawing"
  rm -f -- "$base/frozen"
  durable "$base"
  leaving=
  # Where nothing is left to undo, nothing is reloaded and none leaves.
  if [ -d "$base/undo/freeze" ]; then leaving=$(queue_managers); fi
  hook thawing
  undo_group freeze
  hook thawed
  # What was held is delivered now, not at the next run of the queue. This host serves in any case.
  # shellcheck disable=SC2086
  flush_queue $leaving || printf 'the queue could not be flushed\n' >&2
  # Last: while it is armed, a thaw that is cut off is made again.
  disarm
  rm -f -- "$base/thawing"
  printf 'thawed\n'
}

# Without a reload of all units, which takes longer than the rest of a release: the stop is what counts.
disarm() {
  if has_systemd; then systemctl disable --no-reload --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1 || :
  else rm -f -- "/etc/cron.d/mail-cutover-$name"; fi
}

has_systemd() { command -v systemctl > /dev/null; }

begin_freeze() { # MINUTES
  [ ! -e "$base/released" ] || die "service was already handed over at $(cat "$base/released")"
  [ -e "$base/frozen" ] || stamp | put "$base/frozen"
  rm -f -- "$base/thawed" "$base/thawing"
  due=$(($(now) + $1 * 60))
  printf '%s' "$due" | put "$base/deadline"
  deadline=$(date -u -d "@$due" '+%Y-%m-%d %H:%M:%S UTC')
  if ! has_systemd; then
    # Every minute, so that it is tried again until it has worked, and after a boot.
    printf '* * * * * root %s/bin/hostctl thaw-when-due >/dev/null 2>&1\n' "$base" | put "/etc/cron.d/mail-cutover-$name"
    chmod 644 "/etc/cron.d/mail-cutover-$name"
    printf '%s\n' "$deadline"
    return 0
  fi
  unit="/etc/systemd/system/mail-cutover-$name-thaw"
  # Tried again until it has worked: a command may be under way. 94: service was handed over.
  printf '[Unit]\nDescription=mail-cutover %s: end of the freeze\n[Service]\nExecStart=%s/bin/hostctl thaw-when-due\nRestart=on-failure\nRestartSec=30\nRestartPreventExitStatus=94\n' "$name" "$base" | put "$unit.service"
  # At each boot too: the limit may have passed, or a thaw been cut off, while the host was down.
  printf '[Unit]\nDescription=mail-cutover %s: limit of the freeze\n[Timer]\nOnCalendar=%s\nOnBootSec=30\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n' "$name" "$deadline" | put "$unit.timer"
  systemctl daemon-reload
  systemctl enable --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1
  printf '%s\n' "$deadline"
}

thaw_is_due() { [ "$(now)" -ge "$(cat "$base/deadline")" ] || [ -e "$base/thawed" ]; }

thaw_when_due() { if thaw_is_due; then thaw; fi; }

release() { # the one commit point, on the host that gives service away
  if [ ! -e "$base/released" ]; then
    # A fenced host serves nothing, so it may give back what it took and never used.
    [ -e "$base/frozen" ] || [ -e "$base/fenced" ] ||
      die "not frozen (thawed at $(cat "$base/thawed" 2>/dev/null || printf '?')): nothing was released"
    # Until the rename it is the owner, and says so.
    stamp | put "$base/owner"
    mv -f -- "$base/owner" "$base/released"
    durable "$base"
  fi
  disarm
  cat "$base/released"
}

take() { # the other half: only after the other host has released
  [ ! -e "$base/forwarding" ] || die "this host still forwards to the other one: two opposite forwards would be a loop"
  if [ -e "$base/released" ]; then
    stamp | put "$base/released"
    mv -f -- "$base/released" "$base/owner"
    durable "$base"
  elif [ ! -e "$base/owner" ]; then
    stamp | put "$base/owner"
  fi
  cat "$base/owner"
}

begin_forward() { # DESTINATION
  [ -e "$base/released" ] || die "this host has not given service away, so it must not forward"
  rm -f -- "$base/flushed"
  printf '%s %s' "$1" "$(stamp)" | put "$base/forwarding"
}

# Messages that were copied to the other host and belong to it since: they must never come back.
drop_queue() {
  for record in "$base"/undo/*/[0-9][0-9][0-9][0-9]-*; do
    if [ "$(cat "$record/kind" 2>/dev/null)" = queue ]; then
      group=\${record%/*}; group=\${group##*/}
      sums=$(sums_now "$group" "\${record##*/}")
      forget_record "$record"
      gone "$group" "\${record##*/}"
    fi
  done
  rm -rf -- "$base/queue"
  durable "$base"
}

# On a fenced host that had forwarded after giving service back: its own configuration again, and
# nothing starts.
dismantle() {
  [ -e "$base/fenced" ] || die "this host is not fenced: what holds it back may not be taken away"
  undo_group freeze
  rm -f -- "$base/frozen" "$base/forwarding" "$base/flushed" "$base/thawed" "$base/thawing"
  durable "$base"
  disarm
}

# The end: undo data may hold secrets, and nothing is undone any more. GROUP stays.
clean_up() { # GROUP
  unit="/etc/systemd/system/mail-cutover-$name-thaw"
  disarm
  rm -f -- "$unit.timer" "$unit.service" "$base/deadline"
  if has_systemd; then systemctl daemon-reload; fi
  for group in "$base"/undo/*; do
    case \${group##*/} in
      "$1") continue ;;
      saved)
        for each in "$group"/*; do
          case \${each##*/} in "$1"-*) ;; *) rm -rf -- "$each" ;; esac
        done
        continue ;;
    esac
    records=$(records_of "\${group##*/}")
    # shellcheck disable=SC2086
    sums=$(sums_now "\${group##*/}" $records)
    rm -rf -- "$group"
    for record in $records; do gone "\${group##*/}" "$record"; done
  done
  rm -rf -- "$base/queue" "$base/reserve" "$base/passwords"
  # No rm -r: a store may be mounted there.
  clear_seal || :
  durable "$base"
}

forget_record() { # DIRECTORY: gone as a whole, wherever this is cut off
  mv -- "$1" "\${1%/*}/.undone.\${1##*/}"
  rm -rf -- "\${1%/*}/.undone.\${1##*/}"
}

undo_kind() { # GROUP KIND: only the records of one kind
  group=$1; wanted=$2
  set --
  for record in $(records_of "$group"); do
    if [ "$(kind_of "$base/undo/$group/$record")" = "$wanted" ]; then set -- "$record" "$@"; fi
  done
  [ "$#" -eq 0 ] || undo_records "$group" "$@"
}

undo_prefix() { # GROUP PREFIX: only the records whose names begin so, newest first
  group=$1; wanted=$2
  set --
  for record in $(records_of "$group"); do
    case \${record#*-} in "$wanted"*) set -- "$record" "$@" ;; esac
  done
  [ "$#" -eq 0 ] || undo_records "$group" "$@"
}

undo_some() { # GROUP ENDING...: only the records whose name ends so, the newest first
  group=$1; shift
  found=
  for record in $(records_of "$group"); do
    for ending; do
      case $record in *-"$ending") found="$record $found"; break ;; esac
    done
  done
  # shellcheck disable=SC2086
  [ -z "$found" ] || undo_records "$group" $found
  rmdir -- "$base/undo/$group" 2>/dev/null || :
}
`;
