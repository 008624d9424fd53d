/**
 * The program that our changes on a host go through, in POSIX shell. It is installed as
 * `/var/lib/mail-cutover/<migration>/bin/hostctl` and needs no runner: `thaw` and `status` are for a
 * person at the console, and for the timer that ends a freeze.
 *
 * Rules kept throughout: the lock's number is checked under flock(1) before anything is done; every
 * edit records what it replaces *before* it edits, durably, and is made by a temporary file and a
 * rename in the same directory; recording and editing twice is the same as once.
 */
export const hostScript = String.raw`#!/bin/sh
# mail-cutover: every change to this host goes through this program.
#   hostctl status             what state the migration is in here
#   hostctl thaw               take service up again, unless it was handed to the other host
# The other words are for the actions.
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
base=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
name=\${base##*/}
marker="mail-cutover $name"

die() { printf '%s\n' "$1" >&2; exit "\${2:-1}"; }

# durable PATH...: on disk, not only in memory
durable() { sync -- "$@" 2>/dev/null || sync; }

# put PATH < content: whole or not at all, and on disk
put() {
  cat > "$1.new.$$"
  durable "$1.new.$$"
  mv -f -- "$1.new.$$" "$1"
  durable "\${1%/*}"
}

now() { date -u +%s; }
stamp() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# --- lock -----------------------------------------------------------------------------------------
# lock/number only grows. lock/holder and lock/expires (seconds, this host's clock) say who has it.
# Two flock(1) files: lock/state for the moment in which these three change; lock/flock for as long as
# a command runs, shared by commands, alone for whoever must have no other beside it.
number() { cat "$base/lock/number" 2>/dev/null || printf 0; }

# force: whoever holds it is taken for dead. It is safe if he is not: his number is the older one.
take_lock() { # HOLDER SECONDS MINIMUM [force] -> number
  have=$(number)
  holder=$(cat "$base/lock/holder" 2>/dev/null || :)
  expires=$(cat "$base/lock/expires" 2>/dev/null || printf 0)
  if [ -n "$holder" ] && [ "$holder" != "$1" ] && [ "$expires" -gt "$(now)" ] && [ "\${4:-}" != force ]; then
    printf '%s\n' "$holder"
    exit 90
  fi
  next=$((have + 1))
  [ "$next" -ge "$3" ] || next=$3
  printf '%s' "$next" | put "$base/lock/number"
  printf '%s' "$1" | put "$base/lock/holder"
  printf '%s' "$(($(now) + $2))" | put "$base/lock/expires"
  printf '%s\n' "$next"
}

# From the new number on no command of an older one can begin; those that run are ended, and waited for.
lock() { # HOLDER SECONDS MINIMUM [force] -> number
  former=$(cat "$base/lock/holder" 2>/dev/null || printf 'another run')
  code=0
  taken=$(under_state "$0" lock-state "$@") || code=$?
  if [ "$code" -eq 0 ]; then
    end_former "$taken"
    if ! flock -x -w 60 -o "$base/lock/flock" true; then
      under_state "$0" unlock-state "$taken"
      die "a command of $former is still under way on this host" 93
    fi
  fi
  [ -z "$taken" ] || printf '%s\n' "$taken"
  return "$code"
}

check_number() {
  have=$(number)
  [ "$1" -ge "$have" ] || die "lock $1 was taken over by lock $have ($(cat "$base/lock/holder" 2>/dev/null || :))" 91
}

# A running command is an empty file lock/run/NUMBER.PROCESS.GROUP.START: the name holds everything, so
# that it can be made on a full disk. It is told from a later process of the same id by its start.
started() { # PROCESS -> GROUP.START
  { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086
  set -- \${line##*) }
  group=$3
  shift 19
  printf '%s.%s' "$group" "$1"
}

run_locked() { # NUMBER COMMAND...
  # Registered before the number is looked at: whoever takes over raises it first, then looks here.
  mkdir -p "$base/lock/run"
  printf "" > "$base/lock/run/$1.$$.$(started $$)" || true
  check_number "$1"
  HOSTCTL_LOCK=$1
  export HOSTCTL_LOCK
  shift
  exec "$@"
}

# Ends what was started under an older number and still runs: its runner is gone, or must not go on.
end_former() { # NUMBER
  own=$(started $$)
  for entry in "$base/lock/run"/*; do
    [ -e "$entry" ] || continue
    rest=\${entry##*/}
    [ "\${rest%%.*}" -lt "$1" ] || continue
    rest=\${rest#*.}
    process=\${rest%%.*}
    group=\${rest#*.}; group=\${group%.*}
    if [ "$(started "$process")" = "\${rest#*.}" ] && [ "$group" != "\${own%.*}" ]; then
      end_group "$group"
    fi
    rm -f -- "$entry"
  done
}

end_group() { # GROUP
  kill -TERM "-$1" 2>/dev/null || return 0
  kill -CONT "-$1" 2>/dev/null || : # one that was stopped dies only when it goes on
  tries=0
  while kill -0 "-$1" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -eq 30 ]; then kill -KILL "-$1" 2>/dev/null || :; fi
    [ "$tries" -lt 60 ] || return 0
    sleep 0.1
  done
}

# --- room -----------------------------------------------------------------------------------------
# Space that lies ready for a way back: a thaw or a rollback must work with a full disk. Random bytes,
# because some file systems store zeros in no space at all.
room=4194304

reserve() {
  [ "$(stat -c %s -- "$base/reserve" 2>/dev/null || printf 0)" -lt "$room" ] || return 0
  if ! head -c "$room" /dev/urandom > "$base/reserve.new" 2>/dev/null || ! sync -- "$base/reserve.new"; then
    rm -f -- "$base/reserve.new"
    die "less than $((room / 1048576)) MiB are free where $base lies: make room, then run this stage again" 95
  fi
  mv -f -- "$base/reserve.new" "$base/reserve"
}

make_room() {
  [ -e "$base/reserve" ] || return 0
  free=$(df --output=avail -k -- "$base" | sed -n 2p)
  if [ "$((free * 1024))" -lt "$room" ]; then rm -f -- "$base/reserve"; fi
}

# --- undo records ---------------------------------------------------------------------------------
# undo/GROUP/NNNN-ID/{kind,what,before}; made and removed under another name, so one is whole or absent.
recorded() { ls -d "$base/undo/$1"/[0-9][0-9][0-9][0-9]-"$2" >/dev/null 2>&1; }

record() { # GROUP ID KIND WHAT, the state before on standard input
  # A freeze whose limit passed in the middle of it must not go on closing: nothing would end it.
  if [ "$1" = freeze ] && [ ! -e "$base/frozen" ]; then
    die 'the freeze has reached its limit, and this host serves again. Run freeze again, or raise freeze.max-minutes'
  fi
  if [ ! -d "$base/undo/$1" ]; then
    mkdir -p "$base/undo/$1"
    durable "$base" "$base/undo"
  fi
  temporary="$base/undo/$1/.new.$$"
  rm -rf -- "$temporary"
  mkdir "$temporary"
  printf '%s' "$3" > "$temporary/kind"
  printf '%s' "$4" > "$temporary/what"
  cat > "$temporary/before"
  last=$(ls "$base/undo/$1" | sed -n '$s/-.*//p')
  count=0
  if [ -n "$last" ]; then count=$((1$last - 9999)); fi # 10008 - 9999: a leading 0 would be octal
  durable "$temporary/kind" "$temporary/what" "$temporary/before" "$temporary"
  mv -- "$temporary" "$base/undo/$1/$(printf '%04d' "$count")-$2"
  durable "$base/undo/$1"
}

running() { systemctl is-active --quiet "$1" 2>/dev/null; }

dovecot_config() { doveconf 2>/dev/null | sed -n '1s/^# [^:]*: //p'; }

# --- edits: each first records, then changes, and does nothing when it is so already ----------------
edit_postconf() { # GROUP PARAMETER VALUE [PARAMETER VALUE...]
  group=$1; shift
  todo=$#
  while [ "$todo" -gt 0 ]; do
    if ! recorded "$group" "$1"; then
      # Not in a pipeline: a main.cf that can't be read must not be taken for a parameter that is not set.
      before=$(postconf -n "$1")
      printf '%s\n' "$before" | sed -n "s/^$1 = \{0,1\}/=/p" | record "$group" "$1" postconf "$1"
    fi
    # Words are rotated: two off the front, one "parameter=value" on at the end.
    set -- "$@" "$1=$2"
    shift 2
    todo=$((todo - 2))
  done
  postconf -e "$@"
  settle
}

# Every Postfix program waits up to 2 s before it reads a main.cf that is younger than that, lest it
# be written still (dict_open(3)). Ours is renamed into place, whole: no mail need wait for it.
# postconf syncs the file, but not the rename: what closes a host must outlive a power cut.
settle() {
  folder=$(postconf -dh config_directory)
  touch -d "@$(($(now) - 5))" -- "$folder/main.cf"
  durable "$folder"
}

edit_master() { # GROUP ID SERVICE/TYPE ENTRY
  if ! recorded "$1" "$2"; then
    before=$(postconf -M "$3" 2>/dev/null)
    printf '%s' "$before" | record "$1" "$2" master "$3"
  fi
  postconf -M "$3=$4"
  durable "$(postconf -dh config_directory)"
}

edit_file() { # GROUP ID PATH MODE OWNER:GROUP < content
  if ! recorded "$1" "$2"; then
    if [ -e "$3" ] || [ -L "$3" ]; then
      mkdir -p "$base/undo/saved"
      cp -a --remove-destination -- "$3" "$base/undo/saved/$1-$2"
      durable "$base/undo/saved" "$base/undo/saved/$1-$2"
      printf saved | record "$1" "$2" file "$3"
    else
      record "$1" "$2" file "$3" < /dev/null
    fi
  fi
  mkdir -p -- "\${3%/*}"
  rm -f -- "$3.mail-cutover"
  cat > "$3.mail-cutover"
  chmod "$4" "$3.mail-cutover"
  chown "$5" "$3.mail-cutover"
  replace "$3"
}

edit_files() { # GROUP MODE OWNER:GROUP ID PATH [ID PATH...] < content: the same in each
  group=$1; mode=$2; owner=$3; shift 3
  text="$base/.text.$$"
  cat > "$text"
  while [ "$#" -gt 0 ]; do
    edit_file "$group" "$1" "$2" "$mode" "$owner" < "$text"
    shift 2
  done
  rm -f -- "$text"
}

# replace PATH: by PATH.mail-cutover, the one temporary name, so that what a kill left is used up later
replace() {
  durable "$1.mail-cutover"
  mv -f -- "$1.mail-cutover" "$1"
  durable "\${1%/*}"
}

# FILE without our block. Where one of its two marks was deleted, only lines that are still as we wrote
# them (TEXT) go with the other: what follows is the administrator's.
without_block() { # FILE ID TEXT
  awk -v b="# BEGIN $marker $2" -v e="# END $marker $2" -v text="$3" '
    BEGIN { while ((getline line < text) > 0) ours[++n] = line }
    { all[NR] = $0; if ($0 == b) first = NR; if ($0 == e) last = NR }
    END {
      if (first && !last) {
        last = first
        while (last < NR && last - first < n && all[last + 1] == ours[last - first + 1]) last++
      } else if (last && !first) {
        first = last
        while (first > 1 && last - first < n && all[first - 1] == ours[n - (last - first)]) first--
      }
      for (i = 1; i <= NR; i++) if (!first || i < first || i > last) print all[i]
    }' "$1"
}

edit_block() { # GROUP ID FILE < text: our marked lines at the end of FILE
  text=$(cat)
  # What is recorded: the last byte, if it is not a newline.
  recorded "$1" "$2" || { tail -c 1 -- "$3" | tr -d '\n'; } | record "$1" "$2" block "$3"
  # cp: owner, mode and the rest of the inode's attributes stay.
  cp -a --remove-destination -- "$3" "$3.mail-cutover"
  without_block "$3" "$2" "$base/undo/saved/$1-$2" > "$3.mail-cutover"
  # What we write, before we write it: should a mark be deleted, it is known by this.
  mkdir -p "$base/undo/saved"
  printf '%s\n' "$text" | put "$base/undo/saved/$1-$2"
  printf '# BEGIN %s %s\n%s\n# END %s %s\n' "$marker" "$2" "$text" "$marker" "$2" >> "$3.mail-cutover"
  replace "$3"
}

undo_block() { # FILE ID BEFORE TEXT
  cp -a --remove-destination -- "$1" "$1.mail-cutover"
  without_block "$1" "$2" "$4" > "$1.mail-cutover"
  # awk ended the last line; it had no newline before.
  if [ -s "$3" ] && ! cmp -s -- "$1" "$1.mail-cutover"; then truncate -s -1 -- "$1.mail-cutover"; fi
  replace "$1"
}

# Exchanges two paths of one folder: in one step where the kernel can (renameat2(2), RENAME_EXCHANGE).
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

# --- accounts -------------------------------------------------------------------------------------
# One a line on standard input, so that no password hash is in a command line, fields parted by colons:
#   group:NAME:NUMBER
#   user:NAME:NUMBER:GROUP:HOME:SHELL:MODE:OWNER:HOMEGROUP:HASH:LAST:MIN:MAX:WARN:INACTIVE:EXPIRE:GECOS
#   member:GROUP:USER
# NUMBER is taken where it is free. MODE is - where no home is wanted. What exists is left alone.
edit_accounts() { # GROUP TREE...: TREEs may come to hold what a user owns
  group=$1; shift
  trees=$(printf '%s\n' "$@")
  while IFS=: read -r kind name number primary home shell mode owner homegroup hash last min max warn inactive expire gecos; do
    case $kind in
      group) add_group "$name" "$number" < /dev/null ;;
      member) add_member "$name" "$number" < /dev/null ;;
      user) add_user < /dev/null ;;
    esac
  done
}

add_group() { # NAME NUMBER
  if getent group "$1" > /dev/null; then return 0; fi
  recorded "$group" "group-$1" || record "$group" "group-$1" group "$1" < /dev/null
  system=; [ "$2" -ge 1000 ] || system=-r
  if getent group "$2" > /dev/null; then groupadd $system "$1"; else groupadd $system -g "$2" "$1"; fi
}

add_member() { # GROUP USER
  case " $(id -nG -- "$2" 2>/dev/null) " in *" $1 "*) return 0 ;; esac
  recorded "$group" "member-$1-$2" || record "$group" "member-$1-$2" member "$1:$2" < /dev/null
  gpasswd -a "$2" "$1" > /dev/null
}

add_user() {
  if ! recorded "$group" "user-$name"; then
    if getent passwd "$name" > /dev/null; then return 0; fi
    highest=
    if [ "$mode" != - ] && [ ! -e "$home" ]; then highest=$(first_missing "$home"); fi
    printf '%s\n%s\n%s\n' "$home" "$highest" "$trees" | record "$group" "user-$name" user "$name"
  fi
  if ! getent passwd "$name" > /dev/null; then
    set -- -M -N -g "$primary" -d "$home" -s "$shell" -c "$gecos"
    [ "$number" -ge 1000 ] || set -- "$@" -r
    if ! getent passwd "$number" > /dev/null; then set -- "$@" -u "$number"; fi
    useradd "$@" "$name"
  fi
  if [ -n "$hash" ]; then printf '%s:%s\n' "$name" "$hash" | chpasswd -e; fi
  set --
  [ -z "$last" ] || set -- "$@" -d "$last"
  [ -z "$min" ] || set -- "$@" -m "$min"
  [ -z "$max" ] || set -- "$@" -M "$max"
  [ -z "$warn" ] || set -- "$@" -W "$warn"
  [ -z "$inactive" ] || set -- "$@" -I "$inactive"
  [ -z "$expire" ] || set -- "$@" -E "$expire"
  [ "$#" -eq 0 ] || chage "$@" "$name"
  if [ "$mode" != - ] && [ ! -e "$home" ]; then
    ( umask 022; mkdir -p -- "$home" )
    chown -- "$owner:$homegroup" "$home"
    chmod -- "$mode" "$home"
  fi
}

# A user who owns mail here stays: the next user to get the number could read it.
undo_user() { # RECORD NAME
  if ! getent passwd "$2" > /dev/null; then return 0; fi
  { read -r home; read -r highest; } < "$1/before"
  if [ -n "$highest" ] && rmdir -- "$home" 2>/dev/null; then remove_parents "$home" "$highest"; fi
  held=$({ [ -z "$highest" ] || printf '%s\n' "$home"; sed 1,2d "$1/before"; } | while read -r tree; do
    if [ -n "$tree" ] && [ -e "$tree" ]; then find "$tree" -user "$2" -print -quit; fi
  done)
  if [ -n "$held" ]; then printf 'user %s stays: it owns %s\n' "$2" "$held" >&2; return 0; fi
  # userdel takes a group of the same name along, also one that was there before.
  kept=\${1%/*}
  if ! recorded "\${kept##*/}" "group-$2" && [ "$(id -gn -- "$2")" = "$2" ]; then usermod -g nogroup "$2"; fi
  userdel "$2"
}

undo_group_account() { # NAME: gone, unless it is some user's own
  number=$(getent group "$1" | cut -d: -f3)
  if [ -n "$number" ] && ! getent passwd | cut -d: -f4 | grep -qx -- "$number"; then groupdel "$1"; fi
}

edit_stop() { # GROUP ID UNIT [ID UNIT...]: stopped, in this order, remembering which of them ran
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

# Postfix must be down. Queue files keep their relative paths; Postfix renames what has another inode
# number when it starts (postsuper(1) -s).
edit_queue() { # GROUP ID SPOOL: set aside every queued message, in one folder that a pass copies
  recorded "$1" "$2" || printf queue | record "$1" "$2" queue "$3"
  move_queue "$3" "$base/queue"
}

# Each message changes folders by one rename that replaces nothing (renameat2(2), RENAME_NOREPLACE),
# and is on disk when this ends. Another file system: it is copied beside the folders of the queue
# first, synced, and removed here, so that a message is never in two queues, wherever this is cut off.
# A name that is taken is changed within its form; postsuper(1) -s makes names fit anyway.
move_queue() { # FROM TO
  perl -MConfig -MErrno -MFcntl -MIO::Handle -e '
    use strict; use warnings;
    my ($from, $to) = @ARGV;
    my $staging = "$to/.mail-cutover";
    my %number = (x86_64 => 316, aarch64 => 276, riscv64 => 276, powerpc64le => 357, s390x => 347, i386 => 353, i686 => 353);
    my ($machine) = $Config{archname} =~ /^([^-]+)/;
    my %touched;
    sub folder { my ($path) = $_[0] =~ m{^(.*)/}s; return $path }
    sub on_disk {
      sysopen(my $handle, $_[0], O_RDONLY) or die "can not open $_[0]: $!\n";
      $handle->sync or die "can not sync $_[0]: $!\n";
    }
    sub place { # OLD NEW: false if NEW is there
      my ($old, $new) = ("$_[0]", "$_[1]");
      $touched{folder($_)} = 1 for $old, $new;
      if (my $call = $number{$machine}) {
        return 1 if syscall($call, -100, $old, -100, $new, 1) == 0;
        return 0 if $!{EEXIST};
        die "can not move $old: $!\n" unless $!{ENOSYS} || $!{EINVAL};
      }
      return 0 if -e $new;
      rename $old, $new or die "can not move $old: $!\n";
      return 1;
    }
    sub same { return system("cmp", "-s", "--", @_) == 0 }
    my @base52 = split //, "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
    sub others { # names like NAME
      my ($name) = @_;
      if ($name =~ /^([0-9A-F]{5})([0-9A-F]+)$/) {
        my ($micros, $rest) = (hex $1, $2);
        return map { sprintf("%05X%s", ($micros & 0xf0000) | ($micros + $_) & 0xffff, $rest) } 1 .. 999;
      }
      return map { my $other = $name; $other =~ s/.(z[^z]+)$/$_$1/; $other } @base52 if $name =~ /.z[^z]+$/;
      return ();
    }
    sub settle { # FILE FOLDER NAME
      my ($file, $into, $name) = @_;
      for my $try ($name, others($name)) {
        return if place($file, "$into/$try");
        if ($try eq $name && same($file, "$into/$try")) { unlink $file; return }
      }
      die "$into/$name is there already, and no name like it is free\n";
    }
    sub walk { # FOLDER: relative paths of folders and files
      my ($top, @folders, @files) = ($_[0]);
      my @todo = ("");
      while (defined(my $at = shift @todo)) {
        opendir(my $handle, "$top$at") or die "can not read $top$at: $!\n";
        for my $entry (grep { !/^\.\.?$/ } readdir $handle) {
          my $path = "$at/$entry";
          if (-l "$top$path") { next } elsif (-d _) { push @folders, $path; push @todo, $path } elsif (-f _) { push @files, $path }
        }
      }
      return (\@folders, \@files);
    }
    sub like { # FOLDER AS: made with owner and mode of AS
      my ($path, $as) = @_;
      return if -d $path;
      mkdir $path or die "can not make $path: $!\n";
      my @stat = stat $as;
      chown @stat[4, 5], $path;
      chmod $stat[2] & 07777, $path;
      $touched{folder($path)} = 1;
    }
    if (!-d $to) { mkdir $to or die "can not make $to: $!\n"; }
    for my $queue (qw(maildrop incoming active deferred hold)) {
      my ($source, $target, $aside) = ("$from/$queue", "$to/$queue", "$staging/$queue");
      next unless -d $source || -d $aside;
      like($target, $source) if -d $source;
      # What an earlier try had copied, and removed there.
      if (-d $aside) {
        opendir(my $handle, $aside) or die "can not read $aside: $!\n";
        for my $name (grep { !/^\./ } readdir $handle) {
          my ($into, $rest) = $name =~ /^(.*)%(.*)$/s;
          $into =~ tr{,}{/};
          next if -e "$source/" . ($into eq "" ? $rest : "$into/$rest");
          settle("$aside/$name", $into eq "" ? $target : "$target/$into", $rest);
        }
      }
      next unless -d $source;
      my ($folders, $files) = walk($source);
      # The hashed folders are used by the user of Postfix: they belong to whom the queue belongs to.
      like("$target$_", $target) for @$folders;
      my $apart = (stat $source)[0] != (stat $target)[0];
      for my $file (@$files) {
        my ($into, $name) = $file =~ m{^/?(.*?)/?([^/]+)$}s;
        my $home = $into eq "" ? $target : "$target/$into";
        if (!$apart) { settle("$source$file", $home, $name); next }
        like($staging, $to); like($aside, $to);
        my $copy = "$aside/" . $into =~ tr{/}{,}r . "%$name";
        system("cp", "-a", "--", "$source$file", "$aside/.part") == 0 or die "can not copy $source$file\n";
        on_disk("$aside/.part");
        rename "$aside/.part", $copy or die "can not name $copy: $!\n";
        on_disk($aside);
        unlink "$source$file" or die "can not remove $source$file: $!\n";
        on_disk(folder("$source$file"));
        settle($copy, $home, $name);
      }
    }
    for (qw(maildrop incoming active deferred hold)) { unlink "$staging/$_/.part"; rmdir "$staging/$_" }
    rmdir $staging;
    for (keys %touched) { on_disk($_) if -d $_ }
  ' "$1" "$2"
}

# The kernel keeps a sealed tree from changing, whoever tries: mount(8), a read-only bind mount.
sealed() { findmnt -rno OPTIONS --mountpoint "$1" 2>/dev/null | tail -n 1 | grep -q '^ro\b'; }

edit_seal() { # GROUP ID TREE
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

undo_one() { # DIRECTORY
  what=$(cat "$1/what")
  case $(cat "$1/kind") in
    postconf)
      if [ -s "$1/before" ]; then postconf -e "$what$(cat "$1/before")"; else postconf -X "$what"; fi
      settle ;;
    master)
      if [ -s "$1/before" ]; then postconf -M "$what=$(cat "$1/before")"
      elif [ -n "$(postconf -M "$what" 2>/dev/null)" ]; then postconf -MX "$what"; fi ;;
    file)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      if [ -s "$1/before" ]; then
        cp -a --remove-destination -- "$base/undo/saved/$group-$id" "$what.mail-cutover"
        replace "$what"
      else rm -f -- "$what" "$what.mail-cutover"; fi
      case $what in
        /etc/systemd/*)
          rmdir -- "\${what%/*}" 2>/dev/null || : # a folder for drop-ins that holds none
          units_changed=1 ;;
      esac ;;
    block)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      undo_block "$what" "$id" "$1/before" "$base/undo/saved/$group-$id" ;;
    tree)
      id=\${1##*/}; id=\${id#*-}; group=\${1%/*}; group=\${group##*/}
      undo_tree "$1" "$what" "$base/undo/saved/$group-$id" ;;
    group) undo_group_account "$what" ;;
    user) undo_user "$1" "$what" ;;
    member)
      if id -- "\${what#*:}" > /dev/null 2>&1; then gpasswd -d "\${what#*:}" "\${what%%:*}" > /dev/null; fi ;;
    queue) move_queue "$base/queue" "$what" ;;
    serve) systemctl disable -q --now "$what" ;;
    seal)
      # Lazily: somebody may be reading there.
      if sealed "$what"; then umount -l -- "$what"; fi ;;
    unit)
      if [ "$(cat "$1/before")" = active ]; then
        [ "$(systemctl show -p NeedDaemonReload --value "$what")" = no ] || systemctl daemon-reload
        systemctl start "$what"
      fi ;;
    start)
      systemctl disable --now "$what" 2>/dev/null || :
      # What a socket has started goes on without it.
      systemctl stop "\${what%.socket}.service" 2>/dev/null || : ;;
    *:*) # of a mail system's own program, beside this one
      kind=$(cat "$1/kind")
      "$base/bin/\${kind%%:*}" undo "\${kind#*:}" "$what" "$1/before" ;;
    *) die "undo record $1 is of an unknown kind" ;;
  esac
}

# A mail system's own program is told of the turning points of a thaw.
hook() {
  for program in "$base"/bin/*; do
    case \${program##*/} in *ctl) ;; *) continue ;; esac
    if [ "$program" != "$base/bin/hostctl" ] && [ -x "$program" ]; then "$program" hook "$1"; fi
  done
}

undo_group() { # GROUP: newest first; a record goes when its undo is done
  [ -d "$base/undo/$1" ] || return 0
  units_changed=
  for record in $(ls -r "$base/undo/$1"); do
    undo_one "$base/undo/$1/$record"
    mv -- "$base/undo/$1/$record" "$base/undo/$1/.undone.$record"
    rm -rf -- "$base/undo/saved/$1-\${record#*-}"
  done
  # With what a kill left under names that don't count.
  rm -rf -- "$base/undo/$1"
  [ -z "$units_changed" ] || ! has_systemd || systemctl daemon-reload
  reload_services
}

reload_services() {
  if command -v postfix >/dev/null && postfix status 2>/dev/null; then postfix reload 2>/dev/null; fi
  if command -v doveadm >/dev/null && running dovecot; then doveadm reload; fi
}

# --- freeze and ownership -------------------------------------------------------------------------
# frozen: a freeze was begun here. Service has one holder, and each host says what it knows:
#   owner     this host took it (an OLD that never gave it away needs no such file)
#   released  this host gave it away: thaw refuses, and only from here on may it forward
# Both are one file under two names, so that a host is never both. opened: it has served the world.
# forwarding: what comes here goes on to the other host.
thaw() {
  make_room
  [ ! -e "$base/released" ] || die "service was handed over at $(cat "$base/released"); use the rollback stage, or activate" 94
  if [ ! -e "$base/frozen" ] && [ ! -d "$base/undo/freeze" ]; then
    printf 'not frozen\n'
    return 0
  fi
  # Before anything is undone: a thaw that is cut off half-way must not leave a host that may be released.
  stamp | put "$base/thawed"
  rm -f -- "$base/frozen"
  durable "$base"
  hook thawing
  undo_group freeze
  hook thawed
  disarm
  # What was held is delivered now, not at the next run of the queue.
  if command -v postqueue >/dev/null && postfix status 2>/dev/null; then postqueue -f; fi
  printf 'thawed\n'
}

disarm() {
  if has_systemd; then systemctl disable --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1 || :
  else rm -f -- "/etc/cron.d/mail-cutover-$name"; fi
}

has_systemd() { command -v systemctl > /dev/null; }

begin_freeze() { # MINUTES
  [ ! -e "$base/released" ] || die "service was already handed over at $(cat "$base/released")"
  [ -e "$base/frozen" ] || stamp | put "$base/frozen"
  rm -f -- "$base/thawed"
  due=$(($(now) + $1 * 60))
  printf '%s' "$due" | put "$base/deadline"
  deadline=$(date -u -d "@$due" '+%Y-%m-%d %H:%M:%S UTC')
  if ! has_systemd; then
    # Every minute, so that it is tried again until it has worked, and after a boot.
    printf '* * * * * root %s/bin/hostctl thaw-when-due >/dev/null 2>&1\n' "$base" | put "/etc/cron.d/mail-cutover-$name"
    chmod 644 "/etc/cron.d/mail-cutover-$name"
    printf '%s\n' "$deadline"
    return 0
  fi
  unit="/etc/systemd/system/mail-cutover-$name-thaw"
  # Tried again until it has worked: a command may be under way. 94: service was handed over.
  printf '[Unit]\nDescription=mail-cutover %s: end of the freeze\n[Service]\nExecStart=%s/bin/hostctl thaw-when-due\nRestart=on-failure\nRestartSec=30\nRestartPreventExitStatus=94\n' "$name" "$base" | put "$unit.service"
  # At each boot too: the limit may have passed, or a thaw been cut off, while the host was down.
  printf '[Unit]\nDescription=mail-cutover %s: limit of the freeze\n[Timer]\nOnCalendar=%s\nOnBootSec=30\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n' "$name" "$deadline" | put "$unit.timer"
  systemctl daemon-reload
  systemctl enable --now "mail-cutover-$name-thaw.timer" >/dev/null 2>&1
  printf '%s\n' "$deadline"
}

thaw_when_due() {
  if [ "$(now)" -ge "$(cat "$base/deadline")" ] || [ -e "$base/thawed" ]; then thaw; fi
}

release() { # the one commit point, on the host that gives service away
  if [ ! -e "$base/released" ]; then
    # A fenced host serves nothing, so it may give back what it took and never used.
    [ -e "$base/frozen" ] || [ -e "$base/fenced" ] ||
      die "not frozen (thawed at $(cat "$base/thawed" 2>/dev/null || printf '?')): nothing was released"
    # Until the rename it is the owner, and says so.
    stamp | put "$base/owner"
    mv -f -- "$base/owner" "$base/released"
    durable "$base"
  fi
  disarm
  cat "$base/released"
}

take() { # the other half: only after the other host has released
  [ ! -e "$base/forwarding" ] || die "this host still forwards to the other one: two opposite forwards would be a loop"
  if [ -e "$base/released" ]; then
    stamp | put "$base/released"
    mv -f -- "$base/released" "$base/owner"
    durable "$base"
  elif [ ! -e "$base/owner" ]; then
    stamp | put "$base/owner"
  fi
  cat "$base/owner"
}

begin_forward() { # DESTINATION
  [ -e "$base/released" ] || die "this host has not given service away, so it must not forward"
  printf '%s %s' "$1" "$(stamp)" | put "$base/forwarding"
}

# Messages that were copied to the other host and belong to it since: they must never come back.
drop_queue() {
  for record in "$base"/undo/*/[0-9][0-9][0-9][0-9]-*; do
    if [ "$(cat "$record/kind" 2>/dev/null)" = queue ]; then rm -rf -- "$record"; fi
  done
  rm -rf -- "$base/queue"
  durable "$base"
}

# On a fenced host that had forwarded after giving service back: its own configuration again, and
# nothing starts.
dismantle() {
  [ -e "$base/fenced" ] || die "this host is not fenced: what holds it back may not be taken away"
  undo_group freeze
  rm -f -- "$base/frozen" "$base/forwarding" "$base/thawed"
  durable "$base"
  disarm
}

# The end: undo data may hold secrets, and nothing is undone any more. GROUP stays.
clean_up() { # GROUP
  unit="/etc/systemd/system/mail-cutover-$name-thaw"
  disarm
  rm -f -- "$unit.timer" "$unit.service" "$base/deadline"
  if has_systemd; then systemctl daemon-reload; fi
  for group in "$base"/undo/*; do
    if [ "\${group##*/}" != "$1" ]; then rm -rf -- "$group"; fi
  done
  rm -rf -- "$base/queue" "$base/seal" "$base/reserve"
  durable "$base"
}

undo_kind() { # GROUP KIND: only the records of one kind
  [ -d "$base/undo/$1" ] || return 0
  units_changed=
  for record in $(ls -r "$base/undo/$1"); do
    [ "$(cat "$base/undo/$1/$record/kind" 2>/dev/null)" = "$2" ] || continue
    undo_one "$base/undo/$1/$record"
    rm -rf -- "$base/undo/$1/$record"
  done
}

undo_prefix() { # GROUP PREFIX: only the records whose names begin so, newest first
  [ -d "$base/undo/$1" ] || return 0
  units_changed=
  for record in $(ls -r "$base/undo/$1"); do
    case $record in [0-9][0-9][0-9][0-9]-"$2"*) ;; *) continue ;; esac
    undo_one "$base/undo/$1/$record"
    rm -rf -- "$base/undo/$1/$record" "$base/undo/saved/$1-\${record#*-}"
  done
  [ -z "$units_changed" ] || systemctl daemon-reload
}

undo_some() { # GROUP ENDING...: only the records whose name ends so, the newest first
  group=$1; shift
  [ -d "$base/undo/$group" ] || return 0
  units_changed=
  for record in $(ls -r "$base/undo/$group"); do
    for ending; do
      case $record in
        *-"$ending")
          undo_one "$base/undo/$group/$record"
          rm -rf -- "$base/undo/$group/$record" "$base/undo/saved/$group-\${record#*-}" ;;
      esac
    done
  done
  rmdir -- "$base/undo/$group" 2>/dev/null || :
}

# One line for whoever logs in, by profile.d: why mail stands still here.
greeting() {
  if [ -e "$base/finished.json" ] && [ -e "$base/fenced" ]; then
    why='mail has moved to another host for good; Postfix and Dovecot must not start here'
  elif [ -e "$base/forwarding" ]; then why='mail has moved: what comes here goes on to the other host'
  elif [ -e "$base/released" ]; then why='mail has moved to the other host'
  elif [ -e "$base/fenced" ]; then why='this host is fenced until mail is moved to it: Postfix and Dovecot do not start'
  elif [ -e "$base/frozen" ]; then why="mail is being moved away: mailboxes are frozen until $(date -u -d "@$(cat "$base/deadline")" '+%Y-%m-%d %H:%M:%S UTC')"
  else return 0; fi
  printf '*** mail-cutover %s: %s. See: %s/bin/hostctl status\n' "$name" "$why" "$base"
}

status() {
  printf 'migration %s\n' "$name"
  printf 'lock %s held by %s\n' "$(number)" "$(cat "$base/lock/holder" 2>/dev/null || printf nobody)"
  for mark in fenced frozen thawed released owner opened forwarding finished.json; do
    if [ -e "$base/$mark" ]; then printf '%s: %s\n' "$mark" "$(cat "$base/$mark")"; fi
  done
}

# append FILE EXPECTED-BYTES < lines: only if the file is as long as the writer believes
append() {
  file="$base/$1"
  [ -e "$file" ] || : > "$file"
  have=$(wc -c < "$file")
  [ "$have" -eq "$2" ] || die "$1 has $have bytes, not $2: somebody else wrote to it" 92
  dd of="$file" oflag=append conv=notrunc,fsync 2>/dev/null
  durable "$base"
}

under_state() { # COMMAND...
  mkdir -p "$base/lock"
  flock -x -w 30 -E 93 -o "$base/lock/state" "$@"
}

under_lock() { # s|x SECONDS COMMAND...: -o keeps the lock out of daemons that COMMAND starts
  mode=$1; wait=$2; shift 2
  mkdir -p "$base/lock"
  code=0
  flock "-$mode" -w "$wait" -E 93 -o "$base/lock/flock" "$@" || code=$?
  [ "$code" -ne 93 ] || die "a command of $(cat "$base/lock/holder" 2>/dev/null || printf 'another run') is still under way on this host" 93
  return "$code"
}

action=\${1:-status}
[ "$#" -eq 0 ] || shift
case $action in
  status) status ;;
  thaw) under_lock x 60 "$0" thaw-locked ;;
  thaw-locked) thaw ;;
  thaw-when-due) under_lock x 60 "$0" thaw-when-due-locked ;;
  thaw-when-due-locked) thaw_when_due ;;
  lock) lock "$@" ;;
  lock-state) take_lock "$@" ;;
  renew) under_state "$0" renew-state "$@" ;;
  renew-state) check_number "$1"; printf '%s' "$(($(now) + $2))" | put "$base/lock/expires" ;;
  unlock) under_state "$0" unlock-state "$@" ;;
  unlock-state) check_number "$1"; printf 0 | put "$base/lock/expires" ;;
  run) # NUMBER COMMAND...
    under_lock s 60 "$0" run-locked "$@" ;;
  run-locked) run_locked "$@" ;;
  release) # NUMBER
    under_lock x 60 "$0" release-locked "$@" ;;
  release-locked) check_number "$1"; release ;;
  take) # NUMBER
    under_lock x 60 "$0" take-locked "$@" ;;
  take-locked) check_number "$1"; take ;;
  begin-forward) begin_forward "$@" ;;
  queue-drop) drop_queue ;;
  undo-kind) undo_kind "$@" ;;
  undo-prefix) undo_prefix "$@" ;;
  undo-some) undo_some "$@" ;;
  record) recorded "$1" "$2" || record "$@" ;;
  dismantle) dismantle ;;
  reserve) reserve ;;
  make-room) make_room ;;
  clean-up) clean_up "$@" ;;
  greeting) greeting ;;
  begin-freeze) begin_freeze "$@" ;;
  postconf) edit_postconf "$@" ;;
  master) edit_master "$@" ;;
  file) edit_file "$@" ;;
  files) edit_files "$@" ;;
  block) edit_block "$@" ;;
  tree) edit_tree "$@" ;;
  accounts) edit_accounts "$@" ;;
  start) edit_start "$@" ;;
  stop) edit_stop "$@" ;;
  serve) edit_serve "$@" ;;
  queue) edit_queue "$@" ;;
  seal) edit_seal "$@" ;;
  sealed) sealed "$1" ;;
  queue-release) move_queue "$base/queue" "$1" ;;
  undo) undo_group "$@" ;;
  reload) reload_services ;;
  append) append "$@" ;;
  put) put "$base/$1" ;;
  remove) rm -f -- "$base/$1"; durable "$base" ;;
  dovecot-config) dovecot_config ;;
  *) die "hostctl: no such word: $action" ;;
esac
`.replaceAll('\\${', '${');
