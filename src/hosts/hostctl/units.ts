/** systemd units: stopped, started, kept serving. Shell text, a part of `hostctl`. */
export const units = `edit_stop() { # GROUP ID UNIT [ID UNIT...]: stopped, in this order, remembering which of them ran
  group=$1; shift
  todo=$#
  fresh=
  while [ "$todo" -gt 0 ]; do
    if ! recorded "$group" "$1"; then
      { running "$2" && printf active || printf inactive; } | prepare_record "$group" "$1" unit "$2"
      fresh="$fresh $1"
    fi
    # Of the words only the units that are there remain.
    if [ "$(systemctl show -p LoadState --value "$2")" != not-found ]; then set -- "$@" "$2"; fi
    shift 2
    todo=$((todo - 2))
  done
  # shellcheck disable=SC2086
  [ -z "$fresh" ] || keep_records "$group" $fresh
  case " $*" in
    *" postfix"*) stop_with_postfix "$@" ;;
    *) [ "$#" -eq 0 ] || systemctl stop "$@" ;;
  esac
}

# postfix(1), stop, looks only once a second whether its master has gone. systemd may wait for that by
# itself; here it counts that no process of Postfix is left.
stop_with_postfix() { # UNIT...
  systemctl stop --no-block "$@"
  others=
  for unit; do
    case $unit in postfix*) ;; *) others="$others $unit" ;; esac
  done
  # shellcheck disable=SC2086
  [ -z "$others" ] || systemctl stop $others
  tries=0
  while [ -n "$(find /proc/[0-9]*/exe -maxdepth 0 \\( -lname '*/postfix/sbin/*' -o -lname '*/libexec/postfix/*' \\) -print -quit 2>/dev/null)" ]; do
    tries=$((tries + 1))
    if [ "$tries" -eq 200 ]; then
      systemctl stop "$@"
      return 0
    fi
    sleep 0.05
  done
}

# A unit of ours, which serves now and after each boot until it is taken back. A socket whose service
# runs can't be restarted, and need not be.
edit_serve() { # GROUP ID UNIT
  recorded "$1" "$2" || record "$1" "$2" serve "$3" < /dev/null
  systemctl daemon-reload
  systemctl enable -q "$3"
  case $3 in *.socket) systemctl start "$3" ;; *) systemctl restart "$3" ;; esac
}
`;
