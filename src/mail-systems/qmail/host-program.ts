import { lateProgram } from './host-late.ts';

/**
 * What only a qmail host needs, in POSIX shell; installed beside hostctl, which calls it to undo what
 * was done through it (records of a kind `qmailctl:…`) and at the turning points of a thaw.
 *
 * Of qmail it uses what its manual pages promise: control files, signals to qmail-send(8), the sticky
 * bit of homes (dot-qmail(5)), and the files of the queue as INTERNALS has them, only to count.
 */
export const qmailProgram = String.raw`#!/bin/sh
# mail-cutover: the part of hostctl that knows qmail.
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/command:/package/admin/daemontools/command
export PATH LC_ALL=C
base=\${MAIL_CUTOVER_BASE:-$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)}
name=\${base##*/}
hostctl="$base/bin/hostctl"
# Lines of our own: where qmail is, and the names that move.
qmail=$(sed -n '1p' "$base/qmail" 2>/dev/null || :)
qmail=\${qmail:-/var/qmail}

die() { printf '%s\n' "$1" >&2; exit 1; }

# --- services -------------------------------------------------------------------------------------
# By what their start says, whether they run or not: a folder of daemontools or runit, or a unit.
roles() { # FILE ID: the roles that a start script or a unit speaks of
  case \${2##*/} in *dovecot*|*courier-imap*|*courier-pop*|*courier-authlib-imap*|*imapd*|*pop3d*) printf 'pop\n'; return 0 ;; esac
  if grep -Eq 'qmail-start|qmail/rc' "$1"; then printf 'send\n'; fi
  if grep -Eq 'qmail-(pop3d|popup)|imapd|pop3d|pop3login|imaplogin|courier-imap|bincimap|dovecot' "$1"; then printf 'pop\n'; fi
  if grep -q 'qmail-smtpd' "$1"; then printf 'smtpd\n'; fi
}

services() { # ROLE<TAB>KIND<TAB>ID, one a line
  for folder in /service /etc/service /var/service /etc/sv/enabled; do
    [ -d "$folder" ] || continue
    for service in "$folder"/*; do
      [ -f "$service/run" ] || continue
      kept=$(kept_run "$service")
      for role in $(roles "$kept" "$service"); do printf '%s\tsupervise\t%s\n' "$role" "$service"; done
    done
  done
  if [ -d /run/systemd/system ]; then
    # One search over all units: there are hundreds.
    grep -lEs 'qmail-(start|smtpd|pop3d|popup)|qmail/rc|imapd|pop3d|courier|bincimap|dovecot' \
      /etc/systemd/system/*.service /etc/systemd/system/*.socket /usr/lib/systemd/system/*.service \
      /usr/lib/systemd/system/*.socket /lib/systemd/system/*.service /lib/systemd/system/*.socket |
    while IFS= read -r unit; do
      found=\${unit##*/}
      case $found in
        mail-cutover-*) continue ;;
        *@.service) found=\${found%@.service}.socket; [ -f "\${unit%/*}/$found" ] || continue ;;
      esac
      found_roles=$(roles "$unit" "$found")
      if [ -n "$found_roles" ] && used_unit "$found"; then
        for role in $found_roles; do printf '%s\tsystemd\t%s\n' "$role" "$found"; done
      fi
    done
  fi | sort -u
}

# One that is installed and neither enabled nor running, nor closed by us, serves nothing.
used_unit() {
  case $(systemctl is-enabled "$1" 2>/dev/null) in enabled*) return 0 ;; esac
  if systemctl is-active --quiet "$1"; then return 0; fi
  ls -d "$base"/undo/*/[0-9]*-"unit-$(key "$1")" > /dev/null 2>&1
}

# The start as it was before we closed the service.
kept_run() {
  saved="$base/undo/saved/"
  for record in "$base"/undo/*/[0-9]*-run-"$(printf '%s' "\${1##*/}" | tr -c 'A-Za-z0-9.\n' -)"; do
    [ -e "$record/what" ] || continue
    group=\${record%/*}; group=\${group##*/}; id=\${record##*/}; id=\${id#*-}
    if [ "$(cat "$record/what")" = "$1/run" ] && [ -e "$saved$group-$id" ]; then printf '%s' "$saved$group-$id"; return 0; fi
  done
  printf '%s/run' "$1"
}

pid_of() { # KIND ID: 0 where it does not run
  case $1 in
    # supervise/status of daemontools and of runit alike: bytes 12 to 15, least significant first.
    supervise)
      if [ -s "$2/supervise/status" ]; then od -An -tu1 -j12 -N4 "$2/supervise/status" | awk '{ print $1 + 256 * $2 + 65536 * $3 + 16777216 * $4 }'
      else printf '0\n'; fi ;;
    systemd)
      if systemctl is-active --quiet "$2"; then
        main=$(systemctl show -p MainPID "$2" | sed -n 's/^MainPID=//p')
        printf '%s\n' "\${main:-1}"
      else printf '0\n'; fi ;;
  esac
}

tell() { # KIND ID up|down|hup|alrm|term
  case $1 in
    supervise)
      case $(cat "/proc/$(supervisor "$2")/comm" 2>/dev/null) in
        runsv) case $3 in alrm) set -- "$1" "$2" alarm ;; esac; sv "$3" "$2" > /dev/null ;;
        *) case $3 in up) svc -u "$2" ;; down) svc -d "$2" ;; hup) svc -h "$2" ;; alrm) svc -a "$2" ;; term) svc -t "$2" ;; esac ;;
      esac ;;
    systemd)
      case $3 in
        up) systemctl start "$2" ;;
        down) systemctl stop "$2" ;;
        # The main process alone: systemctl kill reaches deliveries that are under way, too, and ALRM ends them.
        hup) kill -HUP "$(pid_of "$1" "$2")" ;;
        alrm) kill -ALRM "$(pid_of "$1" "$2")" ;;
        term) systemctl restart "$2" ;;
      esac ;;
  esac
}

# supervise(8) and runsv(8) work in the folder of their service.
supervisor() {
  where=$(cd -- "$1" && pwd -P)
  for process in /proc/[0-9]*; do
    if [ "$(readlink "$process/cwd" 2>/dev/null)" = "$where" ]; then
      case $(cat "$process/comm" 2>/dev/null) in supervise|runsv) printf '%s' "\${process#/proc/}"; return 0 ;; esac
    fi
  done
}

wait_pid() { # KIND ID SECONDS up|down: until it runs, or does not
  end=$(($(date +%s) + $3))
  while :; do
    pid=$(pid_of "$1" "$2")
    case $4 in
      up) if [ "$pid" != 0 ]; then return 0; fi ;;
      down) if [ "$pid" = 0 ]; then return 0; fi ;;
    esac
    [ "$(date +%s)" -lt "$end" ] || die "$2 is not $4 after $3 s: process $pid"
    sleep 0.1
  done
}

key() { printf '%s' "\${1##*/}" | tr -c 'A-Za-z0-9.' -; }

# Down, and so that neither a boot nor a person who starts it by habit makes it serve. The record of
# what ran comes first, so that it is undone last.
close_service() { # GROUP KIND ID
  ran=$(pid_of "$2" "$3")
  printf '%s' "$ran" | "$hostctl" record "$1" "service-$(key "$3")" "qmailctl:service" "$2 $3"
  case $2 in
    supervise)
      printf '' | "$hostctl" file "$1" "down-$(key "$3")" "$3/down" 644 root:root
      printf '#!/bin/sh\n# mail-cutover %s: closed while mail is moved. See %s/bin/hostctl status\nexec sleep 86400\n' "$name" "$base" |
        "$hostctl" file "$1" "run-$(key "$3")" "$3/run" 755 root:root
      if [ "$(pid_of "$2" "$3")" != 0 ]; then tell "$2" "$3" down; fi ;;
    systemd)
      printf '# mail-cutover %s: closed while mail is moved. See %s/bin/hostctl status\n[Unit]\nConditionPathExists=%s/never\n' "$name" "$base" "$base" |
        "$hostctl" file "$1" "unit-$(key "$3")" "/etc/systemd/system/$3.d/mail-cutover-$name.conf" 644 root:root
      systemctl daemon-reload
      tell "$2" "$3" down ;;
  esac
  wait_pid "$2" "$3" "\${4:-60}" down
}

undo_service() { # "KIND ID" BEFORE-FILE
  kind=\${1%% *}; id=\${1#* }
  if [ "$kind" = systemd ]; then systemctl daemon-reload; fi
  if [ "$(cat "$2")" != 0 ]; then start "$kind" "$id"; fi
}

# What a closed service runs where somebody started it by habit.
idles() { [ "$1" = supervise ] && [ "$(cat "/proc/$(pid_of "$1" "$2")/comm" 2>/dev/null)" = sleep ]; }

is_closed() { [ "$1" = supervise ] && grep -qs 'mail-cutover .*: closed while mail is moved' "$2/run"; }

start() {
  if [ "$(pid_of "$1" "$2")" = 0 ]; then tell "$1" "$2" up
  elif idles "$1" "$2" && ! is_closed "$1" "$2"; then
    # A supervisor reads run again when the process ends.
    tell "$1" "$2" up
    tell "$1" "$2" term
  fi
  tries=0
  while idles "$1" "$2" && ! is_closed "$1" "$2"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "$2 does not start again"
    sleep 0.1
  done
  wait_pid "$1" "$2" 30 up
}

of_role() { services | awk -F '\t' -v role="$1" '$1 == role { print $2 " " $3 }'; }

each() { # ROLE WORD...: WORD... KIND ID for each service of the role
  role=$1; shift
  of_role "$role" | while read -r kind id; do "$@" "$kind" "$id" < /dev/null; done
}

running() { # ROLE: those that run
  of_role "$1" | while read -r kind id; do
    if [ "$(pid_of "$kind" "$id")" != 0 ] && ! is_closed "$kind" "$id"; then printf '%s\n' "$id"; fi
  done
}

closing() { close_service "$group" "$1" "$2" 1300; }
hup() { if [ "$(pid_of "$1" "$2")" != 0 ]; then tell "$1" "$2" hup; fi; }
alrm() { if [ "$(pid_of "$1" "$2")" != 0 ]; then tell "$1" "$2" alrm; fi; }

# TERM: qmail-send(8) finishes the deliveries under way, and its supervisor starts it again.
restart() {
  before=$(pid_of "$1" "$2")
  if [ "$before" = 0 ]; then return 0; fi
  tell "$1" "$2" term
  end=$(($(date +%s) + 1300))
  while :; do
    pid=$(pid_of "$1" "$2")
    if [ "$pid" != 0 ] && [ "$pid" != "$before" ]; then return 0; fi
    [ "$(date +%s)" -lt "$end" ] || die "$2 did not start again"
    sleep 0.1
  done
}

# --- processes and ports --------------------------------------------------------------------------
# PID PROGRAM of what delivers now: children of qmail-lspawn(8), and delivery programs by name.
agents() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk '
    { line = $0; pid = $1; sub(/^[0-9]+ \(/, "", line); comm = line; sub(/\) [A-Zx] .*$/, "", comm)
      rest = line; sub(/^.*\) /, "", rest); split(rest, f, " "); names[pid] = comm; state[pid] = f[1]; parent[pid] = f[2] }
    END { for (pid in names) if (state[pid] != "Z" && (names[parent[pid]] == "qmail-lspawn" || names[pid] ~ /^(qmail-local|vdelivermail)$/)) print pid, names[pid] }'
}

sessions() {
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      qmail-pop3d|qmail-popup|imapd|pop3d|imap|pop3|imap-login|pop3-login|bincimapd|bincimap-up) printf '%s\n' "\${process#/proc/}" ;;
    esac
  done
}

end_sessions() {
  sessions > "$base/sessions"
  while read -r process; do kill -TERM "$process" 2>/dev/null || :; done < "$base/sessions"
  rm -f -- "$base/sessions"
}

# Of the ports in the arguments, those that something listens on (proc(5), net/tcp, state 0A).
listening() {
  for port; do
    hex=$(printf '%04X' "$port")
    if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v hex="$hex" '$2 ~ ":" hex "$" && $4 == "0A" { found = 1 } END { exit !found }'; then printf '%s\n' "$port"; fi
  done
}

# How many connections to a port of this host are open (proc(5), net/tcp, state 01), whoever serves them.
connected() { # PORT
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v hex="$(printf '%04X' "$1")" '$2 ~ ":" hex "$" && $4 == "01" { n++ } END { print n + 0 }'
}

# An address at which this host's own port 25 answers.
own_smtp() {
  address=$(awk '$2 ~ /:0019$/ && $4 == "0A" { print substr($2, 1, 8); exit }' /proc/net/tcp)
  case $address in
    ''|00000000) printf '127.0.0.1' ;;
    *) printf '%d.%d.%d.%d' "0x\${address#??????}" "0x$(printf '%s' "$address" | cut -c5-6)" "0x$(printf '%s' "$address" | cut -c3-4)" "0x$(printf '%s' "$address" | cut -c1-2)" ;;
  esac
}

# --- the sticky bit (dot-qmail(5)): mail for such a home waits in the queue -----------------------
edit_sticky() { # GROUP ID < NUL-separated homes
  while_list="$base/sticky.$$"
  tr '\0' '\n' > "$while_list"
  : > "$while_list.bare"
  while IFS= read -r home; do
    if [ -d "$home" ] && [ ! -k "$home" ]; then printf '%s\n' "$home" >> "$while_list.bare"; fi
  done < "$while_list"
  "$hostctl" record "$1" "$2" "qmailctl:sticky" homes < "$while_list.bare"
  # On record already: those that are new since must be taken back too.
  for record in "$base/undo/$1"/[0-9][0-9][0-9][0-9]-"$2"; do
    sort -u "$record/before" "$while_list.bare" > "$while_list.all"
    if ! cmp -s "$while_list.all" "$record/before"; then
      "$hostctl" put "undo/$1/\${record##*/}/before" < "$while_list.all"
    fi
  done
  while IFS= read -r home; do if [ -d "$home" ]; then chmod +t -- "$home"; fi; done < "$while_list"
  rm -f -- "$while_list" "$while_list.bare" "$while_list.all"
}

free_homes() { # FILE: the bit is off again
  while IFS= read -r home; do
    if [ -d "$home" ]; then chmod -t -- "$home"; fi
  done < "$1"
}

unsticky() { # GROUP ID: off, and still on record
  for record in "$base/undo/$1"/[0-9][0-9][0-9][0-9]-"$2"; do
    if [ -e "$record/before" ]; then free_homes "$record/before"; fi
  done
}

# --- control files --------------------------------------------------------------------------------
# control GROUP FILE < content: owner and mode as they are; 644 and root's for a file that is new
edit_control() {
  file="$qmail/control/$2"
  mode=644; owner=root:root
  if [ -e "$file" ]; then mode=$(stat -c %a -- "$file"); owner=$(stat -c %u:%g -- "$file"); fi
  "$hostctl" file "$1" "control-$2" "$file" "$mode" "$owner"
}

restore_control() { # GROUP FILE: as it was before GROUP; the record stays
  file="$qmail/control/$2"
  for record in "$base/undo/$1"/[0-9][0-9][0-9][0-9]-control-"$2"; do
    [ -e "$record/before" ] || continue
    if [ -s "$record/before" ]; then
      cp -a -- "$base/undo/saved/$1-control-$2" "$file.mail-cutover"
      mv -f -- "$file.mail-cutover" "$file"
    else rm -f -- "$file"; fi
  done
}

# users/assign counts once qmail-newu(8) has made its table, which is kept for an undo.
newu() { # GROUP QMAIL
  table="$2/users/cdb"
  if [ -e "$table" ]; then "$hostctl" file "$1" cdb "$table" 644 root:root < "$table"
  else printf '' | "$hostctl" record "$1" cdb file "$table"; fi
  "$2/bin/qmail-newu"
}

# --- homing: mail that waits in the remote queue for names that are local again -------------------
# Without a route qmail-remote(8) would find this host as the best MX of a name and bounce: 5.4.6. So
# before the names become local again the route to the other host turns to this host itself.
begin_homing() {
  route=
  for record in "$base/undo/freeze"/[0-9][0-9][0-9][0-9]-control-smtproutes; do
    if [ -e "$record/kind" ]; then route=$record; fi
  done
  [ -n "$route" ] || return 0
  own=$(own_smtp)
  names="$base/homing.$$"
  sed 1d "$base/qmail" > "$names"
  # Cut off before: what the file was like has moved already.
  saved="$base/undo/saved/freeze-control-smtproutes"
  [ -e "$saved" ] || saved="$base/undo/saved/homing-control-smtproutes"
  {
    while IFS= read -r moved; do printf '%s:%s\n' "$moved" "$own"; done < "$names"
    if [ -s "$route/before" ]; then
      NAMES=$names awk -F : 'BEGIN { while ((getline line < ENVIRON["NAMES"]) > 0) mine[line] = 1 } !($1 in mine)' "$saved"
    fi
  } > "$names.routes"
  edit_control freeze smtproutes < "$names.routes"
  rm -f -- "$names" "$names.routes"
  mkdir -p "$base/undo/homing"
  rm -rf -- "$base/undo/homing/0000-control-smtproutes"
  if [ -e "$base/undo/saved/freeze-control-smtproutes" ]; then
    mv -f -- "$base/undo/saved/freeze-control-smtproutes" "$base/undo/saved/homing-control-smtproutes"
  fi
  mv -- "$route" "$base/undo/homing/0000-control-smtproutes"
  sync
}

# Messages of the queue that wait for one of the names that move, or are not looked at yet.
waiting_home() {
  sed 1d "$base/qmail" > "$base/names.$$"
  find "$qmail/queue/todo" -type f 2>/dev/null | wc -l
  find "$qmail/queue/remote" -type f -exec cat {} + 2>/dev/null | tr '\0' '\n' |
    NAMES=$base/names.$$ awk 'BEGIN { while ((getline line < ENVIRON["NAMES"]) > 0) mine["@" tolower(line)] = 1 }
      /^T/ { at = tolower(substr($0, match($0, /@[^@]*$/))); if (at in mine) n++
             for (m in mine) if (substr(m, 2, 1) == "." && substr(at, length(at) - length(m) + 2) == substr(m, 2)) n++ }
      END { print n + 0 }'
  rm -f -- "$base/names.$$"
}

end_homing() {
  [ -d "$base/undo/homing" ] || return 0
  total=$(waiting_home | awk '{ n += $1 } END { print n + 0 }')
  if [ "$total" != 0 ]; then printf '%s\n' "$total"; return 0; fi
  "$hostctl" undo homing
}

${lateProgram}
# --- called by hostctl ----------------------------------------------------------------------------
hook() {
  case $1 in
    thawing)
      # What qmail-send(8) reads only when it starts, or not at all while it runs.
      if ls "$base"/undo/freeze/*-control-* > /dev/null 2>&1; then : > "$base/restart"; fi
      begin_homing ;;
    thawed)
      rm -f -- "$base/redirected" "$base/held-local" "$base/forward-ready" "$base/tables-redirected" "$base/held-remote"
      if [ -e "$base/restart" ]; then
        each send restart
        rm -f -- "$base/restart"
      fi
      each send alrm ;;
  esac
}

undo() { # KIND WHAT BEFORE-FILE
  case $1 in
    service) undo_service "$2" "$3" ;;
    sticky) free_homes "$3" ;;
    database) sh "$base/bin/qmail-database" load < "$3" ;;
    *) die "qmailctl: no such kind: $1" ;;
  esac
}

word=$1; shift
case $word in
  services) services ;;
  running) running "$1" ;;
  close) # GROUP ROLE
    group=$1; each "$2" closing ;;
  start) each "$1" start ;;
  restart) each "$1" restart ;;
  hup) each "\${1:-send}" hup ;;
  alrm) each "\${1:-send}" alrm ;;
  agents) agents ;;
  sessions) sessions ;;
  end-sessions) end_sessions ;;
  listening) listening "$@" ;;
  connected) connected "$1" ;;
  sticky) edit_sticky "$@" ;;
  unsticky) unsticky "$@" ;;
  free) free_homes "$1" ;;
  control) edit_control "$@" ;;
  restore) restore_control "$@" ;;
  newu) newu "$@" ;;
  messages) messages "$@" ;;
  note-seen) note_seen "$@" ;;
  late-list) late_list "$@" ;;
  place) place "$@" ;;
  end-homing) end_homing ;;
  waiting-home) waiting_home | awk '{ n += $1 } END { print n + 0 }' ;;
  hook) hook "$@" ;;
  undo) undo "$@" ;;
  *) die "qmailctl: no such word: $word" ;;
esac
`.replaceAll('\\${', '${');
