/** A store that the kernel keeps from changing. Shell text, a part of `hostctl`. */
export const seal = String.raw`# The kernel keeps a sealed tree from changing, whoever tries: mount(8), a read-only bind mount.
sealed() { # TREE...: all of them
  for tree; do
    findmnt -rno OPTIONS --mountpoint "$tree" 2>/dev/null | tail -n 1 | grep -q '^ro\b' || return 1
  done
}

edit_seal() { # GROUP ID TREE [ID TREE...]
  group=$1; shift
  while [ "$#" -gt 0 ]; do
    seal_one "$group" "$1" "$2"
    shift 2
  done
}

seal_one() { # GROUP ID TREE
  recorded "$1" "$2" || record "$1" "$2" seal "$3" < /dev/null
  if sealed "$3"; then return 0; fi
  # Read-only before it is put in place: services in mount namespaces of their own (systemd.exec(5),
  # ProtectSystem) get the mount, but would not get a later change of its flags.
  mkdir -p "$base/seal"
  mount --bind -- "$3" "$base/seal"
  mount --make-private -- "$base/seal"
  if mount -o remount,bind,ro -- "$base/seal"; then mount --bind -- "$base/seal" "$3"; fi
  umount -- "$base/seal"
  sealed "$3" || die "$3 can't be made read-only here"
}
`;
