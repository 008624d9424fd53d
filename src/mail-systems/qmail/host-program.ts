import { lateProgram } from './host-late.ts';
import { servicesProgram } from './host-services.ts';

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

${servicesProgram}
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

# PID PROGRAM of what still takes mail from somebody. A connection outlives the tcpserver(1) that took it; who
# holds one to port 25 without listening there is qmail-smtpd(8), or about to be (rblsmtpd, a look-up of names).
arriving() {
  {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
      awk '$2 ~ /:0019$/ && $10 != 0 { print ($4 == "0A" ? "listens" : "connected"), "socket:[" $10 "]" }' || :
    find /proc/[0-9]*/fd -lname 'socket:*' -printf 'holds %l %p\n' 2>/dev/null || :
    cat /proc/[0-9]*/stat 2>/dev/null || :
  } | awk '
    $1 == "listens" || $1 == "connected" { socket[$2] = $1; next }
    $1 == "holds" { sub(/\/fd\/[0-9]+$/, "", $3); sub(/.*\//, "", $3); if ($2 in socket) does[$3, socket[$2]] = 1; next }
    { pid = $1; comm = $0; sub(/^[0-9]+ \(/, "", comm); rest = comm; sub(/\) [A-Zx] .*$/, "", comm); sub(/^.*\) /, "", rest) }
    pid == 1 || rest ~ /^Z/ { next }
    comm ~ /^(qmail-smtpd|qmail-queue)$/ || ((pid, "connected") in does && !((pid, "listens") in does)) { print pid, comm }'
}

none_arrives() { # SECONDS
  end=$(($(date +%s) + $1))
  while [ -n "$(arriving)" ]; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# What was not acknowledged when it is ended is sent again.
end_arriving() { # SECONDS: so long it may go on by itself
  if none_arrives "$1"; then return 0; fi
  arriving | while read -r process program; do kill -TERM "$process" 2>/dev/null || :; done
  none_arrives 30 || die "still there 30 s after TERM: $(arriving | tr '\n' ' ')"
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
  "$hostctl" record-moved freeze "\${route##*/}" homing 0000-control-smtproutes
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
      # The undo is made, and a timer can't mend a service that does not start: the thaw goes on to its end.
      if [ -e "$base/restart" ]; then
        ( each send restart ) || printf 'qmail-send was not restarted\n' >&2
        rm -f -- "$base/restart"
      fi
      ( each send alrm ) || printf 'qmail-send was not told to try at once\n' >&2 ;;
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
  arriving) arriving ;;
  end-arriving) end_arriving "$1" ;;
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
