/** Whole trees that become what a staged copy is, and back. Shell text, a part of `hostctl`. */
export const trees = String.raw`# Exchanges two paths of one folder: in one step where the kernel can (renameat2(2), RENAME_EXCHANGE).
exchange() { # A B
  perl -MConfig -e '
    my %number = (x86_64 => 316, aarch64 => 276, riscv64 => 276, powerpc64le => 357, s390x => 347, i386 => 353, i686 => 353);
    my ($machine) = $Config{archname} =~ /^([^-]+)/;
    my $call = $number{$machine} or exit 1;
    exit(syscall($call, -100, $ARGV[0], -100, $ARGV[1], 2) == 0 ? 0 : 1)' "$1" "$2" && return 0
  mv -T -- "$2" "$2.mail-cutover.old"
  mv -T -- "$1" "$2"
  mv -T -- "$2.mail-cutover.old" "$1"
}

put_tree() { # NEW PATH: PATH, whatever it is, becomes NEW, which lies beside it
  sync -f -- "$1" 2>/dev/null || sync
  if [ -e "$2" ] || [ -L "$2" ]; then
    exchange "$1" "$2"
    rm -rf -- "$1"
  else
    mv -T -- "$1" "$2"
  fi
  durable "\${2%/*}"
}

first_missing() { # PATH: itself, or the highest folder above it that is not there
  lacking=$1
  while [ -n "\${lacking%/*}" ] && [ ! -e "\${lacking%/*}" ]; do lacking=\${lacking%/*}; done
  printf '%s' "$lacking"
}

make_parents() { # STAGING PATH: the folders above PATH, with owner and mode of those in STAGING
  above=\${2%/*}
  if [ -z "$above" ] || [ -d "$above" ]; then return 0; fi
  ( make_parents "$1" "$above" )
  mkdir -- "$above"
  chown --reference="$1$above" -- "$above"
  chmod --reference="$1$above" -- "$above"
}

remove_parents() { # PATH HIGHEST: empty folders above PATH, up to HIGHEST
  above=$1
  while [ "$above" != "$2" ]; do
    above=\${above%/*}
    rmdir -- "$above" 2>/dev/null || return 0
  done
}

edit_tree() { # GROUP STAGING PATH...: each PATH, a file or a folder, becomes what STAGING/PATH is
  group=$1; staging=$2; shift 2
  for path; do
    id=$(printf '%s' "\${path#/}" | tr -c 'A-Za-z0-9.' -)
    record_tree "$group" "$id" "$path"
    make_parents "$staging" "$path"
    rm -rf -- "$path.mail-cutover.new"
    cp -a -- "$staging$path" "$path.mail-cutover.new"
    put_tree "$path.mail-cutover.new" "$path"
  done
}

record_tree() { # GROUP ID PATH
  if recorded "$1" "$2"; then return 0; fi
  if [ -e "$3" ] || [ -L "$3" ]; then
    mkdir -p "$base/undo/saved"
    rm -rf -- "$base/undo/saved/$1-$2"
    cp -a -- "$3" "$base/undo/saved/$1-$2"
    sync -f -- "$base/undo/saved" 2>/dev/null || sync
    printf saved | record "$1" "$2" tree "$3"
  else
    printf 'absent:%s' "$(first_missing "$3")" | record "$1" "$2" tree "$3"
  fi
}

undo_tree() { # RECORD PATH SAVED
  rm -f -- "$base/configuration-copied" # so that prepare looks again, should this be cut off
  made=$(cat "$1/before")
  if [ "$made" = saved ]; then
    rm -rf -- "$2.mail-cutover.new"
    cp -a -- "$3" "$2.mail-cutover.new"
    put_tree "$2.mail-cutover.new" "$2"
  else
    rm -rf -- "$2" "$2.mail-cutover.new"
    remove_parents "$2" "\${made#absent:}"
  fi
}
`;
