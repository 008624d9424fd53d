/** A store that the kernel keeps from changing. Shell text, a part of `hostctl`. */
export const seal = String.raw`# The kernel keeps a sealed tree from changing, whoever tries: mount(8), a read-only bind mount.
sealed() { # TREE...: all of them
  for tree; do
    findmnt -rno OPTIONS --mountpoint "$tree" 2>/dev/null | tail -n 1 | grep -q '^ro\b' || return 1
  done
}

edit_seal() { # GROUP ID TREE [ID TREE...]
  group=$1; shift
  todo=$#
  fresh=
  while [ "$todo" -gt 0 ]; do
    if ! recorded "$group" "$1"; then
      prepare_record "$group" "$1" seal "$2" < /dev/null
      fresh="$fresh $1"
    fi
    # Of the words only the trees remain.
    set -- "$@" "$2"
    shift 2
    todo=$((todo - 2))
  done
  # shellcheck disable=SC2086
  [ -z "$fresh" ] || keep_records "$group" $fresh
  for each; do seal_tree "$each"; done
}

seal_tree() { # TREE
  if sealed "$1"; then return 0; fi
  # Read-only before it is put in place: services in mount namespaces of their own (systemd.exec(5),
  # ProtectSystem) get the mount, but would not get a later change of its flags.
  mkdir -p "$base/seal"
  mount --bind -- "$1" "$base/seal"
  mount --make-private -- "$base/seal"
  if mount -o remount,bind,ro -- "$base/seal"; then mount --bind -- "$base/seal" "$1"; fi
  umount -- "$base/seal"
  sealed "$1" || die "$1 can't be made read-only here"
}
`;
