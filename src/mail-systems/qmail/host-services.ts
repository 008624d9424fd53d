/**
 * The part of the host program that finds, closes and starts the services of qmail, under daemontools, runit
 * or systemd.
 */
export const servicesProgram = String.raw`# --- services -------------------------------------------------------------------------------------
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

# qmail-send(8) catches ALRM and HUP (bits 13 and 0 of SigCgt, proc(5)), in this order, some time after its
# service has begun: until then either ends what is to become of it, and what it should do is never done.
catches() { grep -q '^SigCgt:.*[2367abef]..[13579bdf]$' "/proc/$1/status" 2>/dev/null; }

# Byte 17 of supervise/status: it is to be up, and is between two processes if it has none.
is_wanted() { [ "$1" = supervise ] && [ "$(od -An -tu1 -j17 -N1 "$2/supervise/status" 2>/dev/null | tr -d ' ')" = 117 ]; }

wait_ready() { # KIND ID
  end=$(($(date +%s) + 60))
  while :; do
    pid=$(pid_of "$1" "$2")
    if [ "$pid" != 0 ] && catches "$pid"; then return 0; fi
    [ "$(date +%s)" -lt "$end" ] ||
      die "$2: no qmail-send that takes signals is there after 60 s (process $pid). Look at its log, and whether its start ends with exec qmail-start"
    sleep 0.1
  done
}

signal_send() { # KIND ID hup|alrm
  if is_closed "$1" "$2" || idles "$1" "$2"; then return 0; fi
  if [ "$(pid_of "$1" "$2")" = 0 ] && ! is_wanted "$1" "$2"; then return 0; fi
  wait_ready "$1" "$2"
  tell "$1" "$2" "$3"
}
hup() { signal_send "$1" "$2" hup; }
alrm() { signal_send "$1" "$2" alrm; }

# TERM: qmail-send(8) finishes the deliveries under way, and its supervisor starts it again.
restart() {
  before=$(pid_of "$1" "$2")
  if [ "$before" = 0 ] || is_closed "$1" "$2"; then return 0; fi
  tell "$1" "$2" term
  end=$(($(date +%s) + 1300))
  while :; do
    pid=$(pid_of "$1" "$2")
    if [ "$pid" != 0 ] && [ "$pid" != "$before" ]; then break; fi
    [ "$(date +%s)" -lt "$end" ] || die "$2 did not start again"
    sleep 0.1
  done
  wait_ready "$1" "$2"
}
`;
