/** The words of the command line, each under the lock that it needs. Shell text, a part of `hostctl`. */
export const words = String.raw`under_state() { # COMMAND...
  [ -d "$base/lock" ] || mkdir -p "$base/lock"
  flock -x -w 30 -E 93 -o "$base/lock/state" "$@"
}

under_lock() { # s|x SECONDS COMMAND...: -o keeps the lock out of daemons that COMMAND starts
  mode=$1; wait=$2; shift 2
  [ -d "$base/lock" ] || mkdir -p "$base/lock"
  code=0
  flock "-$mode" -w "$wait" -E 93 -o "$base/lock/flock" "$@" || code=$?
  [ "$code" -ne 93 ] || die "a command of $(cat "$base/lock/holder" 2>/dev/null || printf 'another run') is still under way on this host" 93
  return "$code"
}

# For a thaw: a pass under way may take hours, and the limit of the freeze holds for it too. What has not
# ended by itself is ended.
under_lock_at_last() { # COMMAND...
  [ -d "$base/lock" ] || mkdir -p "$base/lock"
  code=0
  flock -x -w 10 -E 93 -o "$base/lock/flock" "$@" || code=$?
  [ "$code" -eq 93 ] || return "$code"
  end_former "$(($(number) + 1))"
  under_lock x 60 "$@"
}

# Each with so many BYTES of standard input, and COUNT words in all. One that fails is the last.
several() { # [BYTES COUNT WORD...]...
  while [ "$#" -gt 0 ]; do
    ( first_of "$@" )
    shift "$(($2 + 2))"
  done
}

first_of() { # BYTES COUNT WORD..., and the others, which are left out
  bytes=$1; todo=$2; shift 2
  others=$(($# - todo))
  # Words are rotated: to the end, until the others are in front.
  while [ "$todo" -gt 0 ]; do
    set -- "$@" "$1"; shift
    todo=$((todo - 1))
  done
  shift "$others"
  if [ "$bytes" -eq 0 ]; then perform "$@" < /dev/null; return; fi
  # Whole before anything is done with it: a connection that is lost must leave no shortened file.
  head -c "$bytes" > "$base/input.$$"
  if [ "$(wc -c < "$base/input.$$")" -ne "$bytes" ]; then
    rm -f -- "$base/input.$$"
    die 'not all of the input came: was the connection lost? Nothing was done with it'
  fi
  exec 3< "$base/input.$$"
  rm -f -- "$base/input.$$"
  perform "$@" <&3 3<&-
}

perform() { # WORD...
  action=\${1:-status}
  [ "$#" -eq 0 ] || shift
  case $action in
    status) status ;;
    thaw) under_lock_at_last "$0" thaw-locked ;;
    thaw-locked) thaw ;;
    thaw-when-due) if thaw_is_due; then under_lock_at_last "$0" thaw-when-due-locked; fi ;;
    thaw-when-due-locked) thaw_when_due ;;
    lock) lock "$@" ;;
    lock-state) take_lock "$@" ;;
    renew) under_state "$0" renew-state "$@" ;;
    renew-state) check_number "$1"; printf '%s' "$(($(now) + $2))" | put "$base/lock/expires" ;;
    unlock) under_state "$0" unlock-state "$@" ;;
    # Removed, not written: that works on a full disk too.
    unlock-state) check_number "$1"; rm -f -- "$base/lock/expires" ;;
    run) # NUMBER COMMAND...
      under_lock s 60 "$0" run-locked "$@" ;;
    run-locked) run_locked "$@" ;;
    settled) settled "$1" ;;
    # Of whoever went before: the pass of the caller has not begun.
    end-passes) end_former "$(($(number) + 1))" others ;;
    release) # NUMBER
      under_lock x 60 "$0" release-locked "$@" ;;
    release-locked) check_number "$1"; release ;;
    take) # NUMBER
      under_lock x 60 "$0" take-locked "$@" ;;
    take-locked) check_number "$1"; take ;;
    begin-forward) begin_forward "$@" ;;
    queue-drop) drop_queue ;;
    undo-kind) undo_kind "$@" ;;
    undo-prefix) undo_prefix "$@" ;;
    undo-some) undo_some "$@" ;;
    undo-sums) undo_sums ;;
    record) recorded "$1" "$2" || record "$@" ;;
    dismantle) dismantle ;;
    reserve) reserve ;;
    make-room) make_room ;;
    clean-up) clean_up "$@" ;;
    greeting) greeting ;;
    begin-freeze) begin_freeze "$@" ;;
    postconf) edit_postconf "$@" ;;
    master) edit_master "$@" ;;
    file) edit_file "$@" ;;
    files) edit_files "$@" ;;
    block) edit_block "$@" ;;
    tree) edit_tree "$@" ;;
    accounts) edit_accounts "$@" ;;
    note-passwords) note_passwords ;;
    compare-passwords) compare_passwords ;;
    stop) edit_stop "$@" ;;
    serve) edit_serve "$@" ;;
    queue) edit_queue "$@" ;;
    seal) edit_seal "$@" ;;
    sealed) sealed "$@" ;;
    queue-release) move_queue at-once "$base/queue" "$1" ;;
    undo) undo_group "$@" ;;
    lift-fence) lift_fence "$@" ;;
    reload) reload_services ;;
    append) append "$@" ;;
    several) several "$@" ;;
    put)
      put "$base/$1"
      case $1 in undo/*/*/before) set -- "\${1%/before}"; record_again "$(basename "\${1%/*}")" "\${1##*/}" ;; esac ;;
    record-moved) sums=; gone "$1" "$2"; record_again "$3" "$4" ;;
    remove) rm -f -- "$base/$1"; durable "$base" ;;
    dovecot-config) dovecot_config ;;
    *) die "hostctl: no such word: $action" ;;
  esac
}

perform "$@"
`;
