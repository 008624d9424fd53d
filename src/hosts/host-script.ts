/**
 * The program that our changes on a host go through, in POSIX shell. It is installed as
 * `/var/lib/mail-cutover/<migration>/bin/hostctl` and needs no runner: `thaw` and `status` are for a
 * person at the console, and for the timer that ends a freeze.
 *
 * Rules kept throughout: the lock's number is checked under flock(1) before anything is done; every
 * edit records what it replaces *before* it edits, durably, and is made by a temporary file and a
 * rename in the same directory; recording and editing twice is the same as once.
 */
export const hostScript = String.raw`#!/bin/sh
# mail-cutover: every change to this host goes through this program.
#   hostctl status             what state the migration is in here
#   hostctl thaw               (OLD) take service up again, unless service was handed to NEW
# The other words are for the actions.
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
base=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
name=\${base##*/}
marker="mail-cutover $name"

die() { printf '%s\n' "$1" >&2; exit "\${2:-1}"; }

# durable PATH...: on disk, not only in memory
durable() { sync -- "$@" 2>/dev/null || sync; }

# put PATH < content: whole or not at all, and on disk
put() {
  cat > "$1.new.$$"
  durable "$1.new.$$"
  mv -f -- "$1.new.$$" "$1"
  durable "\${1%/*}"
}

now() { date -u +%s; }
stamp() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# --- lock -----------------------------------------------------------------------------------------
# lock/number only grows. lock/holder and lock/expires (seconds, this host's clock) say who has it.
number() { cat "$base/lock/number" 2>/dev/null || printf 0; }

take_lock() { # HOLDER SECONDS MINIMUM -> number
  have=$(number)
  holder=$(cat "$base/lock/holder" 2>/dev/null || :)
  expires=$(cat "$base/lock/expires" 2>/dev/null || printf 0)
  if [ -n "$holder" ] && [ "$holder" != "$1" ] && [ "$expires" -gt "$(now)" ]; then
    printf '%s\n' "$holder"
    exit 90
  fi
  next=$((have + 1))
  [ "$next" -ge "$3" ] || next=$3
  printf '%s' "$next" | put "$base/lock/number"
  printf '%s' "$1" | put "$base/lock/holder"
  printf '%s' "$(($(now) + $2))" | put "$base/lock/expires"
  printf '%s\n' "$next"
}

check_number() {
  have=$(number)
  [ "$1" -ge "$have" ] || die "lock $1 was taken over by lock $have ($(cat "$base/lock/holder" 2>/dev/null || :))" 91
}

# --- undo records ---------------------------------------------------------------------------------
# undo/GROUP/NNNN-ID/{kind,what,before}; made under another name and renamed, so one is whole or absent.
recorded() { ls -d "$base/undo/$1"/[0-9]*-"$2" >/dev/null 2>&1; }

record() { # GROUP ID KIND WHAT, the state before on standard input
  mkdir -p "$base/undo/$1"
  temporary="$base/undo/$1/.new.$$"
  rm -rf -- "$temporary"
  mkdir "$temporary"
  printf '%s' "$3" > "$temporary/kind"
  printf '%s' "$4" > "$temporary/what"
  cat > "$temporary/before"
  count=$(ls "$base/undo/$1" | wc -l)
  durable "$temporary/kind" "$temporary/what" "$temporary/before"
  mv -- "$temporary" "$base/undo/$1/$(printf '%04d' "$count")-$2"
  durable "$base/undo/$1"
}

running() { systemctl is-active --quiet "$1" 2>/dev/null; }

dovecot_config() { doveconf 2>/dev/null | sed -n '1s/^# [^:]*: //p'; }

# --- edits: each first records, then changes, and does nothing when it is so already ----------------
edit_postconf() { # GROUP ID PARAMETER VALUE
  recorded "$1" "$2" || postconf -n "$3" 2>/dev/null | sed -n "s/^$3 = \{0,1\}/=/p" | record "$1" "$2" postconf "$3"
  [ "$(postconf -h "$3")" = "$4" ] || postconf -e "$3=$4"
}

edit_master() { # GROUP ID SERVICE/TYPE ENTRY
  recorded "$1" "$2" || postconf -M "$3" 2>/dev/null | record "$1" "$2" master "$3"
  postconf -M "$3=$4"
}

edit_file() { # GROUP ID PATH MODE OWNER:GROUP < content
  if ! recorded "$1" "$2"; then
    if [ -e "$3" ]; then
      mkdir -p "$base/undo/saved"
      cp -a -- "$3" "$base/undo/saved/$1-$2"
      durable "$base/undo/saved/$1-$2"
      printf saved | record "$1" "$2" file "$3"
    else
      record "$1" "$2" file "$3" < /dev/null
    fi
  fi
  mkdir -p -- "\${3%/*}"
  cat > "$3.mail-cutover.$$"
  chmod "$4" "$3.mail-cutover.$$"
  chown "$5" "$3.mail-cutover.$$"
  durable "$3.mail-cutover.$$"
  mv -f -- "$3.mail-cutover.$$" "$3"
  durable "\${3%/*}"
}

without_block() { # FILE ID: FILE without our block
  awk -v b="# BEGIN $marker $2" -v e="# END $marker $2" '$0==b{skip=1} !skip{print} $0==e{skip=0}' "$1"
}

replace_keeping_mode() { # FILE < content: owner, mode and the rest of the inode's attributes stay
  cp -a -- "$1" "$1.mail-cutover.$$"
  cat > "$1.mail-cutover.$$"
  durable "$1.mail-cutover.$$"
  mv -f -- "$1.mail-cutover.$$" "$1"
  durable "\${1%/*}"
}

edit_block() { # GROUP ID FILE < text: our marked lines at the end of FILE
  text=$(cat)
  recorded "$1" "$2" || record "$1" "$2" block "$3" < /dev/null
  { without_block "$3" "$2"; printf '# BEGIN %s %s\n%s\n# END %s %s\n' "$marker" "$2" "$text" "$marker" "$2"; } |
    replace_keeping_mode "$3"
}

edit_stop() { # GROUP ID UNIT: stopped, remembering whether it ran
  recorded "$1" "$2" || { running "$3" && printf active || printf inactive; } | record "$1" "$2" unit "$3"
  systemctl stop "$3"
}

# Postfix must be down. Queue files keep their relative paths; Postfix renames what has another inode
# number when it starts (postsuper(1) -s).
edit_queue() { # GROUP ID SPOOL: set aside every queued message, in one folder that a pass copies
  recorded "$1" "$2" || printf queue | record "$1" "$2" queue "$3"
  move_queue "$3" "$base/queue"
}

move_queue() { # FROM TO
  for queue in maildrop incoming active deferred hold; do
    [ -d "$1/$queue" ] || continue
    find "$1/$queue" -type f -printf '%P\0' > "$base/queue.list"
    xargs -0 -r -n 1 sh -c 'mkdir -p -- "$(dirname -- "$2/$3")"; mv -f -- "$1/$3" "$2/$3"' sh \
      "$1/$queue" "$2/$queue" < "$base/queue.list"
    rm -f -- "$base/queue.list"
  done
}

undo_one() { # DIRECTORY
  what=$(cat "$1/what")
  case $(cat "$1/kind") in
    postconf)
      if [ -s "$1/before" ]; then postconf -e "$what$(cat "$1/before")"; else postconf -X "$what"; fi ;;
    master)
      if [ -s "$1/before" ]; then postconf -M "$what=$(cat "$1/before")"
      elif [ -n "$(postconf -M "$what" 2>/dev/null)" ]; then postconf -MX "$what"; fi ;;
    file)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      if [ -s "$1/before" ]; then
        cp -a -- "$base/undo/saved/$group-$id" "$what.mail-cutover.$$"
        mv -f -- "$what.mail-cutover.$$" "$what"
      else rm -f -- "$what"; fi
      case $what in /etc/systemd/*) systemctl daemon-reload ;; esac ;;
    block)
      id=\${1##*/}
      without_block "$what" "\${id#*-}" | replace_keeping_mode "$what" ;;
    queue) move_queue "$base/queue" "$what" ;;
    unit)
      if [ "$(cat "$1/before")" = active ]; then systemctl start "$what"; fi ;;
    *) die "undo record $1 is of an unknown kind" ;;
  esac
}

undo_group() { # GROUP: newest first; a record goes when its undo is done
  [ -d "$base/undo/$1" ] || return 0
  for record in $(ls -r "$base/undo/$1"); do
    undo_one "$base/undo/$1/$record"
    rm -rf -- "$base/undo/$1/$record"
  done
  rmdir -- "$base/undo/$1"
  reload_services
}

reload_services() {
  if command -v postfix >/dev/null && postfix status 2>/dev/null; then postfix reload 2>/dev/null; fi
  if command -v doveadm >/dev/null && running dovecot; then doveadm reload; fi
}

# --- freeze, on OLD -------------------------------------------------------------------------------
# frozen: a freeze was begun. released: ownership has left this host for good; thaw refuses.
thaw() {
  [ ! -e "$base/released" ] || die "service was handed over to NEW at $(cat "$base/released"); use the rollback stage"
  [ -e "$base/frozen" ] || { printf 'not frozen\n'; return 0; }
  undo_group freeze
  rm -f -- "$base/frozen"
  stamp | put "$base/thawed"
  disarm
  printf 'thawed\n'
}

disarm() {
  systemctl disable --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1 || :
}

begin_freeze() { # MINUTES
  [ ! -e "$base/released" ] || die "service was already handed over to NEW at $(cat "$base/released")"
  [ -e "$base/frozen" ] || stamp | put "$base/frozen"
  rm -f -- "$base/thawed"
  deadline=$(date -u -d "@$(($(now) + $1 * 60))" '+%Y-%m-%d %H:%M:%S UTC')
  unit="/etc/systemd/system/mail-cutover-$name-thaw"
  printf '[Unit]\nDescription=mail-cutover %s: end of the freeze\n[Service]\nType=oneshot\nExecStart=%s/bin/hostctl thaw\n' "$name" "$base" | put "$unit.service"
  # Persistent: a limit that passes while the host is down counts at its next boot.
  printf '[Unit]\nDescription=mail-cutover %s: limit of the freeze\n[Timer]\nOnCalendar=%s\nPersistent=true\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n' "$name" "$deadline" | put "$unit.timer"
  systemctl daemon-reload
  systemctl enable --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1
  printf '%s\n' "$deadline"
}

release() { # the one commit point, on the host that gives service away
  if [ ! -e "$base/released" ]; then
    [ -e "$base/frozen" ] || die "not frozen (thawed at $(cat "$base/thawed" 2>/dev/null || printf '?')): nothing was released"
    stamp | put "$base/released"
  fi
  disarm
  cat "$base/released"
}

status() {
  printf 'migration %s\n' "$name"
  printf 'lock %s held by %s\n' "$(number)" "$(cat "$base/lock/holder" 2>/dev/null || printf nobody)"
  for mark in fenced frozen thawed released owner; do
    if [ -e "$base/$mark" ]; then printf '%s: %s\n' "$mark" "$(cat "$base/$mark")"; fi
  done
}

# append FILE EXPECTED-BYTES < lines: only if the file is as long as the writer believes
append() {
  file="$base/$1"
  [ -e "$file" ] || : > "$file"
  have=$(wc -c < "$file")
  [ "$have" -eq "$2" ] || die "$1 has $have bytes, not $2: somebody else wrote to it" 92
  dd of="$file" oflag=append conv=notrunc,fsync 2>/dev/null
  durable "$base"
}

under_lock() { # s|x SECONDS COMMAND...: -o keeps the lock out of daemons that COMMAND starts
  mode=$1; wait=$2; shift 2
  mkdir -p "$base/lock"
  code=0
  flock "-$mode" -w "$wait" -E 93 -o "$base/lock/flock" "$@" || code=$?
  [ "$code" -ne 93 ] || die "a command of $(cat "$base/lock/holder" 2>/dev/null || printf 'another run') is still under way on this host" 93
  return "$code"
}

action=\${1:-status}
[ "$#" -eq 0 ] || shift
case $action in
  status) status ;;
  thaw) under_lock x 60 "$0" thaw-locked ;;
  thaw-locked) thaw ;;
  lock) under_lock x 30 "$0" lock-locked "$@" ;;
  lock-locked) take_lock "$@" ;;
  renew) under_lock s 30 "$0" renew-locked "$@" ;;
  renew-locked) check_number "$1"; printf '%s' "$(($(now) + $2))" | put "$base/lock/expires" ;;
  unlock) under_lock s 30 "$0" unlock-locked "$@" ;;
  unlock-locked) check_number "$1"; printf 0 | put "$base/lock/expires" ;;
  run) # NUMBER COMMAND...
    under_lock s 60 "$0" run-locked "$@" ;;
  run-locked) check_number "$1"; shift; exec "$@" ;;
  release) # NUMBER
    under_lock x 60 "$0" release-locked "$@" ;;
  release-locked) check_number "$1"; release ;;
  begin-freeze) begin_freeze "$@" ;;
  postconf) edit_postconf "$@" ;;
  master) edit_master "$@" ;;
  file) edit_file "$@" ;;
  block) edit_block "$@" ;;
  stop) edit_stop "$@" ;;
  queue) edit_queue "$@" ;;
  queue-release) move_queue "$base/queue" "$1" ;;
  undo) undo_group "$@" ;;
  reload) reload_services ;;
  append) append "$@" ;;
  put) put "$base/$1" ;;
  remove) rm -f -- "$base/$1"; durable "$base" ;;
  dovecot-config) dovecot_config ;;
  *) die "hostctl: no such word: $action" ;;
esac
`.replaceAll('\\${', '${');
