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

# A unit of ours, which serves until it is taken back.
edit_serve() { # GROUP ID UNIT
  recorded "$1" "$2" || record "$1" "$2" serve "$3" < /dev/null
  systemctl daemon-reload
  systemctl enable -q "$3"
  systemctl restart "$3"
}

edit_start() { # GROUP ID UNIT: started now and at boot; taken back it is neither
  recorded "$1" "$2" || record "$1" "$2" start "$3" < /dev/null
  systemctl daemon-reload
  systemctl enable --now "$3" 2>/dev/null
}
`;
