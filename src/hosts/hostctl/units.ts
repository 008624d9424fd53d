/** systemd units: stopped, started, kept serving. Shell text, a part of `hostctl`. */
export const units = `edit_stop() { # GROUP ID UNIT [ID UNIT...]: stopped, in this order, remembering which of them ran
  group=$1; shift
  todo=$#
  while [ "$todo" -gt 0 ]; do
    recorded "$group" "$1" || { running "$2" && printf active || printf inactive; } | record "$group" "$1" unit "$2"
    # Of the words only the units that are there remain.
    if [ "$(systemctl show -p LoadState --value "$2")" != not-found ]; then set -- "$@" "$2"; fi
    shift 2
    todo=$((todo - 2))
  done
  [ "$#" -eq 0 ] || systemctl stop "$@"
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
