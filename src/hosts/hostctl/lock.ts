/** The lock: a number that only grows, who holds it until when, and what of an older number still runs. Shell text, a part of `hostctl`. */
export const lock = String.raw`# --- lock -----------------------------------------------------------------------------------------
# lock/number only grows. lock/holder and lock/expires (seconds, this host's clock) say who has it.
# Two flock(1) files: lock/state for the moment in which these three change; lock/flock for as long as
# a command runs, shared by commands, alone for whoever must have no other beside it.
# Without another program: it is looked at before each change, and changes are made in the downtime.
number() {
  line=0
  if [ -e "$base/lock/number" ]; then read -r line < "$base/lock/number" || :; fi
  printf '%s' "$line"
}

# force: whoever holds it is taken for dead. It is safe if he is not: his number is the older one.
take_lock() { # HOLDER SECONDS MINIMUM [force] -> number
  have=$(number)
  holder=$(cat "$base/lock/holder" 2>/dev/null || :)
  expires=$(cat "$base/lock/expires" 2>/dev/null || printf 0)
  if [ -n "$holder" ] && [ "$holder" != "$1" ] && [ "$expires" -gt "$(now)" ] && [ "\${4:-}" != force ]; then
    printf '%s\n' "$holder"
    exit 90
  fi
  next=$((have + 1))
  [ "$next" -ge "$3" ] || next=$3
  put_lock "$next" "$1" "$(($(now) + $2))"
  printf '%s\n' "$next"
}

# All three on disk before anybody is told of the number.
put_lock() { # NUMBER HOLDER EXPIRES
  new="$base/lock/.new.$$"
  { printf '%s' "$1" > "$new.number" && printf '%s' "$2" > "$new.holder" && printf '%s' "$3" > "$new.expires"; } ||
    { rm -f -- "$new.number" "$new.holder" "$new.expires"; exit 1; }
  durable "$new.number" "$new.holder" "$new.expires"
  for part in number holder expires; do mv -f -- "$new.$part" "$base/lock/$part"; done
  durable "$base/lock"
}

# From the new number on no command of an older one can begin; those that run are ended, and waited for.
# passes: but for this end of a live pass, which goes on under the new number. Whoever asks for that
# looks whether it is the pass that he would make.
lock() { # HOLDER SECONDS MINIMUM [force|''] [passes] -> number
  former=$(cat "$base/lock/holder" 2>/dev/null || printf 'another run')
  code=0
  taken=$(under_state "$0" lock-state "$@") || code=$?
  if [ "$code" -eq 0 ]; then
    kept=
    end_former "$taken" "\${5:-}"
    # A pass that goes on shares the lock; nothing else is left.
    if [ -z "$kept" ] && ! flock -x -w 60 -o "$base/lock/flock" true; then
      under_state "$0" unlock-state "$taken"
      die "a command of $former is still under way on this host" 93
    fi
  fi
  [ -z "$taken" ] || printf '%s\n' "$taken"
  return "$code"
}

check_number() {
  have=$(number)
  [ "$1" -ge "$have" ] || die "lock $1 was taken over by lock $have ($(cat "$base/lock/holder" 2>/dev/null || :))" 91
}

# A running command is an empty file lock/run/NUMBER.PROCESS.GROUP.START: the name holds everything, so
# that it can be made on a full disk. It is told from a later process of the same id by its start.
started() { # PROCESS -> GROUP.START
  { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086
  set -- \${line##*) }
  group=$3
  shift 19
  printf '%s.%s' "$group" "$1"
}

run_locked() { # NUMBER COMMAND...
  # Registered before the number is looked at: whoever takes over raises it first, then looks here.
  [ -d "$base/lock/run" ] || mkdir -p "$base/lock/run"
  printf "" > "$base/lock/run/$1.$$.$(started $$)" || true
  check_number "$1"
  HOSTCTL_LOCK=$1
  export HOSTCTL_LOCK
  shift
  # A word of this program needs no other shell.
  if [ "$1" = "$0" ]; then
    shift
    perform "$@"
  else exec "$@"; fi
}

# Ends what was started under an older number and still runs: its runner is gone, or must not go on.
# passes: but for this end of a live pass; others: that alone.
end_former() { # NUMBER [passes|others]
  below=$1; spared=\${2:-}
  own=$(started $$)
  set --
  for entry in "$base/lock/run"/*; do
    [ -e "$entry" ] || continue
    rest=\${entry##*/}
    [ "\${rest%%.*}" -lt "$below" ] || continue
    rest=\${rest#*.}
    process=\${rest%%.*}
    group=\${rest#*.}; group=\${group%.*}
    # Asked without a fork first: there may be hundreds, and nearly all have ended.
    if [ -e "/proc/$process" ] && [ "$(started "$process")" = "\${rest#*.}" ]; then
      case $spared in
        passes)
          if is_pass "$process"; then
            kept=yes
            mv -f -- "$entry" "$base/lock/run/$below.$rest"
            continue
          fi ;;
        others) is_pass "$process" || continue ;;
      esac
      # A server that it is may have started sessions, each in a group of its own.
      if [ "$group" != "\${own%.*}" ]; then
        groups=$(groups_below "$process" | sort -u)
        for each in $groups; do [ "$each" = "\${own%.*}" ] || end_group "$each"; done
      fi
    fi
    set -- "$@" "$entry"
  done
  [ "$#" -eq 0 ] || rm -f -- "$@"
}

# What was begun under NUMBER over a connection that was lost: waited for, and ended where it does not end.
# But for the end of a pass, which its step takes up again.
settled() { # NUMBER
  end=$(($(now) + 60))
  while :; do
    groups=$(groups_under "$1")
    [ -n "$groups" ] || break
    if [ "$(now)" -ge "$end" ]; then
      for each in $groups; do end_group "$each"; done
      break
    fi
    sleep 0.2
  done
  check_number "$1"
}

groups_under() { # NUMBER -> the process groups of its commands that run
  for entry in "$base/lock/run/$1".*; do
    rest=\${entry##*/}; rest=\${rest#*.}; process=\${rest%%.*}
    if [ -e "/proc/$process" ] && [ "$(started "$process")" = "\${rest#*.}" ] && ! is_pass "$process"; then
      groups_below "$process"
    fi
  done
}

# The end of a live pass that writes, as the forced command of the pass's key starts it.
is_pass() { # PROCESS
  case $(tr '\0' ' ' < "/proc/$1/cmdline" 2>/dev/null || :) in
    *mirror.pl\ receive*|tar\ -x*/.mail-cutover.tar*) ;;
    *) return 1 ;;
  esac
}

groups_below() { # PROCESS -> its group, and those of all that it has started
  each=$(started "$1")
  printf '%s\n' "\${each%.*}"
  children=$(cat "/proc/$1/task"/*/children 2>/dev/null || :)
  for child in $children; do groups_below "$child"; done
}

end_group() { # GROUP
  kill -TERM "-$1" 2>/dev/null || return 0
  kill -CONT "-$1" 2>/dev/null || : # one that was stopped dies only when it goes on
  tries=0
  while kill -0 "-$1" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -eq 30 ]; then kill -KILL "-$1" 2>/dev/null || :; fi
    [ "$tries" -lt 60 ] || return 0
    sleep 0.1
  done
}
`;
