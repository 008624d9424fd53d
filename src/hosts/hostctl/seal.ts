/** A store that the kernel keeps from changing. Shell text, a part of `hostctl`. */
export const seal = String.raw`# The kernel keeps a sealed tree from changing, whoever tries: mount(8), a read-only bind mount. A tree in
# which other file systems are mounted is left as it is: such a mount would hide them, and what lies below it would
# look as if it were gone.

# What /proc/self/mountinfo (proc(5)) tells of a tree, a line each: "sealed" if a seal is what is seen there; "seal" or
# "mount" and the path, as the kernel writes it, of each mount point below. A seal is a read-only mount that shows
# what it covers: a volume that is read-only for another reason is none, and an undo takes no such thing away.
mounts_of() { # TREE
  [ -e "$1" ] || return 0
  real=$(readlink -f -- "$1" && printf x) || return 1
  tree="\${real%?x}" awk '
    { id[NR] = $1; parent[$1] = $2; device[$1] = $3; root[$1] = $4; point[$1] = $5; flags[$1] = $6 }
    function decoded(text, out) {
      while (match(text, /\\[0-7][0-7][0-7]/)) {
        out = out substr(text, 1, RSTART - 1) sprintf("%c", substr(text, RSTART + 1, 1) * 64 + substr(text, RSTART + 2, 1) * 8 + substr(text, RSTART + 3, 1))
        text = substr(text, RSTART + 4)
      }
      return out text
    }
    function is_below(path, folder) { return folder == "/" ? path != "/" : index(path, folder "/") == 1 }
    function is_seal(mount, under, shown) {
      under = parent[mount]
      if (!(under in point) || device[under] != device[mount] || flags[mount] !~ /^ro(,|$)/) return 0
      shown = (root[under] == "/" ? "" : root[under]) substr(point[mount], point[under] == "/" ? 1 : length(point[under]) + 1)
      return root[mount] == (shown == "" ? "/" : shown)
    }
    # Nothing lies on it, nor on a folder above it.
    function is_seen(mount, other) {
      for (other in point) if (other != mount && parent[other] == mount && point[other] == point[mount]) return 0
      for (; parent[mount] in point && parent[mount] != mount; mount = parent[mount])
        for (other in point)
          if (other != mount && parent[other] == parent[mount] && is_below(point[mount], point[other])) return 0
      return 1
    }
    END {
      tree = ENVIRON["tree"]
      for (i = 1; i <= NR; i++) {
        path = decoded(point[id[i]])
        if (path == tree && is_seal(id[i]) && is_seen(id[i])) is_sealed = 1
        if (is_below(path, tree)) below = below (is_seal(id[i]) ? "seal " : "mount ") point[id[i]] "\n"
      }
      printf "%s%s", is_sealed ? "sealed\n" : "", below
    }' /proc/self/mountinfo
}

# Whether that is all that can be wished for: a seal, and nothing that it hides or that is writable below it.
is_whole_seal() { # WHAT-MOUNTS-OF-SAID
  case $newline$1 in *"$newline"mount\ *) return 1 ;; esac
  case $1 in sealed*) ;; *) return 1 ;; esac
}

sealed() { # TREE...: all of them
  for tree; do
    found=$(mounts_of "$tree") || return 1
    is_whole_seal "$found" || return 1
  done
}

edit_seal() { # GROUP ID TREE [ID TREE...] -> each tree that is left as it is, and a NUL
  group=$1; shift
  todo=$#
  fresh=
  while [ "$todo" -gt 0 ]; do
    found=$(mounts_of "$2")
    case $newline$found in
      *"$newline"mount\ *)
        # What an older version has sealed all the same.
        unseal "$2"
        printf '%s\0' "$2" ;;
      *)
        if ! recorded "$group" "$1"; then
          prepare_record "$group" "$1" seal "$2" < /dev/null
          fresh="$fresh $1"
        fi
        # Of the words only the trees remain.
        set -- "$@" "$2" ;;
    esac
    shift 2
    todo=$((todo - 2))
  done
  # shellcheck disable=SC2086
  [ -z "$fresh" ] || keep_records "$group" $fresh
  clear_seal
  mkdir -p "$base/seal"
  for each; do seal_tree "$each"; done
  rmdir -- "$base/seal"
}

seal_tree() { # TREE
  before=$(mounts_of "$1")
  if is_whole_seal "$before"; then return 0; fi
  seen=$(devices_of "$before")
  # Read-only before it is put in place: services in mount namespaces of their own (systemd.exec(5),
  # ProtectSystem) get the mount, but would not get a later change of its flags.
  mount --bind -- "$1" "$base/seal"
  mount --make-private -- "$base/seal"
  is_covered=
  if mount -o remount,bind,ro -- "$base/seal" && mount --bind -- "$base/seal" "$1"; then is_covered=1; fi
  umount -- "$base/seal"
  # What was mounted in that moment would be hidden.
  after=$(mounts_of "$1")
  if is_whole_seal "$after" && [ "$(devices_of "$before")" = "$seen" ]; then return 0; fi
  [ -z "$is_covered" ] || umount -l -- "$1"
  die "$1 can't be made read-only here"
}

# For each mount point that mounts_of told of: the device that is found there now, by its path
devices_of() { # WHAT-MOUNTS-OF-SAID
  while read -r kind point; do
    [ -n "$point" ] || continue
    # The kernel writes \040 for a space, which printf(1) takes for one too.
    # shellcheck disable=SC2059
    path=$(printf "$(printf '%s' "$point" | sed 's/%/%%/g')")
    printf '%s %s\n' "$kind" "$(stat -c %d -- "$path" 2>/dev/null || printf gone)"
  done << MOUNTS
$1
MOUNTS
}

unseal() { # TREE
  while :; do
    found=$(mounts_of "$1") || return 1
    # Lazily: somebody may be reading there.
    case $found in sealed*) umount -l -- "$1" || return 1 ;; *) return 0 ;; esac
  done
}

# The place where a seal is made, should one that was cut off have left it mounted: it shows a store.
clear_seal() {
  while [ -d "$base/seal" ]; do
    found=$(mounts_of "$base") || return 1
    case $newline$found$newline in
      *" $base/seal$newline"*) umount -l -- "$base/seal" || return 1 ;;
      *) rmdir -- "$base/seal" || return 1 ;;
    esac
  done
}
`;
