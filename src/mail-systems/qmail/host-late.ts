/**
 * The part of the host program that finds late messages and puts them into place. Lists are lines of
 * paths: a name with a line break in it is no message's (maildir(5)) and is left out, so that nobody
 * can smuggle a path of their own into a list.
 */
export const lateProgram = String.raw`
# --- late mail ------------------------------------------------------------------------------------
newline='
'

# Files below new and cur of the trees, one a line. A delivery may end while find reads.
maildir_files() { # TREE...
  for tree; do
    if [ -d "$tree" ]; then
      find "$tree" -ignore_readdir_race -type f \( -path '*/new/*' -o -path '*/cur/*' \) ! -path "*$newline*" -print || return 1
    fi
  done
}

# FOLDER/BASE of every message in Maildirs below the trees: the name up to ":" never changes (maildir(5)).
messages() { # TREE...
  found=$(mktemp)
  maildir_files "$@" > "$found" || { rm -f -- "$found"; die 'the Maildirs can not be listed'; }
  awk '{ sub(/:2,[^\/]*$/, ""); if (match($0, /\/(new|cur)\/[^\/]*$/)) print substr($0, 1, RSTART - 1) substr($0, RSTART + 4) }' "$found" | sort -u
  rm -f -- "$found"
}

note_seen() { # TREE...
  mkdir -p "$base/late"
  messages "$@" > "$base/late/seen.new"
  "$hostctl" put late/seen < "$base/late/seen.new"
  rm -f -- "$base/late/seen.new"
}

# Paths of messages that are not in the list SEEN, one a line.
late_list() { # SEEN TREE...
  SEEN=$1; shift
  export SEEN
  [ -r "$SEEN" ] || die "$SEEN is missing: nobody knows what the freeze held"
  found=$(mktemp)
  maildir_files "$@" > "$found" || { rm -f -- "$found"; die 'the Maildirs can not be listed'; }
  awk 'BEGIN { while ((getline line < ENVIRON["SEEN"]) > 0) seen[line] = 1 }
    { key = $0; sub(/:2,[^\/]*$/, "", key); if (!match(key, /\/(new|cur)\/[^\/]*$/)) next
      key = substr(key, 1, RSTART - 1) substr(key, RSTART + 4); if (!(key in seen)) print }' "$found"
  rm -f -- "$found"
}

# A batch of late messages, whole in FOLDER, goes into the Maildirs: each once, whatever dies when.
# First all into tmp; once that is on disk and noted, each by one rename. A message that is not in tmp
# after the note has been renamed before, and may have been read and deleted since.
place() { # FOLDER NUMBER
  list="$base/late/$2.paths"
  if [ ! -e "$base/late/$2.staged" ]; then
    ( cd -- "$1" && find . -type f -print ) > "$list.found"
    sed 's/^\.//' "$list.found" | sort > "$list.new"
    rm -f -- "$list.found"
    mv -f -- "$list.new" "$list"
    while IFS= read -r path; do
      maildir=\${path%/*/*}
      if [ ! -d "$maildir/tmp" ] || [ ! -d "$maildir/new" ] || [ ! -d "$maildir/cur" ]; then make_maildir "$1" "$maildir"; fi
    done < "$list"
    perl -e "$as_owner" stage "$list" "$2" "$1"
    sync
    : > "$base/late/$2.staged"
    sync
  fi
  perl -e "$as_owner" deliver "$list" "$2"
  sync
  printf '%s' "$2" | "$hostctl" put late/last
  rm -rf -- "$1"
  rm -f -- "$list" "$base/late/$2.staged"
}

# Users own their Maildirs, and may put symbolic links there, or have had some on the other host while
# files were read. So, as with qmail-local(8), a message is written with the rights of its owner, and put
# into place with those of the Maildir's: neither shows anybody a file, nor reaches one, that is not theirs.
as_owner='
use strict;
use Fcntl;
my ($word, $list, $number, $batch) = @ARGV;
open(my $paths, "<", $list) or die "$list: $!\n";
while (my $path = <$paths>) {
  chomp $path;
  my ($maildir, $folder, $file) = $path =~ m{^(/.*)/(new|cur)/([^/]+)$} or next;
  if ($word eq "stage") {
    sysopen(my $from, "$batch$path", O_RDONLY | O_NOFOLLOW) or die "$batch$path: $!\n";
    as((stat $from)[4, 5], $path, sub { stage($from, "$maildir/tmp/$file") });
  }
  else { as((stat $maildir)[4, 5], $maildir, sub { deliver($maildir, $folder, $file) }) }
}

sub as {
  my ($uid, $gid, $what, $work) = @_;
  die "$what: it belongs to root, as no delivery makes it: give it to the user whose mail it is, then run this stage again\n" if $uid == 0;
  $) = "$gid $gid";
  $> = $uid;
  $> == $uid or die "$what: can not work as its owner: $!\n";
  $work->();
  $> = $<;
  $) = $(;
}

sub stage {
  my ($from, $to) = @_;
  my ($mode, $mtime) = (stat $from)[2, 9];
  unlink $to;
  sysopen(my $out, $to, O_WRONLY | O_CREAT | O_EXCL, 0600) or die "$to: $!\n";
  while (my $read = sysread $from, my $part, 1 << 20) {
    for (my $at = 0; $at < $read;) { $at += syswrite($out, $part, $read - $at, $at) // die "$to: $!\n" }
  }
  close $out or die "$to: $!\n";
  chmod $mode & 0777, $to or die "$to: $!\n";
  utime $mtime, $mtime, $to or die "$to: $!\n";
}

# Two hosts of one name can give one name to two messages: neither replaces the other.
sub deliver {
  my ($maildir, $folder, $file) = @_;
  return if !-e "$maildir/tmp/$file";
  my ($base) = $file =~ /^([^:]*)/;
  opendir(my $cur, "$maildir/cur") or die "$maildir/cur: $!\n";
  my $taken = -e "$maildir/new/$base" || grep { $_ eq $base || index($_, "$base:") == 0 } readdir $cur;
  my $to = $taken ? "$maildir/new/$base.late$number" : "$maildir/$folder/$file";
  rename "$maildir/tmp/$file", $to or die "$to: $!\n";
}
'

# A Maildir that only the other host has: with the owners that came with the batch.
make_maildir() { # BATCH MAILDIR
  if [ -d "$2" ]; then made=$2; else
    case $2 in */*) ;; *) return 1 ;; esac
    [ -d "\${2%/*}" ] || ( make_folder "$1" "\${2%/*}" )
    make_folder "$1" "$2"
    made=$2
  fi
  for part in cur new tmp; do
    if [ ! -d "$made/$part" ]; then
      mkdir -- "$made/$part"
      chown --reference="$made" -- "$made/$part"
      chmod 700 -- "$made/$part"
    fi
  done
}

make_folder() { # BATCH FOLDER
  [ -d "\${2%/*}" ] || [ -z "\${2%/*}" ] || ( make_folder "$1" "\${2%/*}" )
  [ -d "$2" ] || mkdir -- "$2"
  chown --reference="$1$2" -- "$2"
  chmod --reference="$1$2" -- "$2"
  chmod -t -- "$2"
}
`;
