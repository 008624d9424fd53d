/** Of the key of a pass and what belongs to it, on both hosts. */
export function folderOf(migration: string): string {
  return `/run/mail-cutover-${migration}`;
}

/**
 * Shell text. The folder lies in memory: the key is on no disk, and neither it nor its lease, which is told
 * by the time since the host was started, outlives a boot. Where /run is on a disk, in some containers, a link
 * there leads to /dev/shm.
 */
export const keepingFolder = `
in_memory() { # PATH
  kind=$(stat -f -c %T -- "$1" 2>/dev/null) || return 1
  case $kind in tmpfs|ramfs) return 0 ;; esac
  return 1
}
drop_folder() { # FOLDER
  if [ -L "$1" ]; then
    behind=$(readlink -- "$1")
    rm -rf -- "$behind"
  fi
  rm -rf -- "$1"
}
make_folder() { # FOLDER
  drop_folder "$1"
  if in_memory "\${1%/*}"; then mkdir -- "$1"
  elif in_memory /dev/shm; then
    # Under a name that nobody else can have taken: others may write there.
    behind=$(mktemp -d /dev/shm/mail-cutover.XXXXXX)
    ln -s -- "$behind" "$1"
  else
    echo "neither \${1%/*} nor /dev/shm is kept in memory (tmpfs): the key of a pass would come to a disk" >&2
    return 5
  fi
}`;
