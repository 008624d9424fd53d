/**
 * The part of the host program that finds late messages and puts them into place. Lists are lines of
 * paths: a name with a line break in it is no message's (maildir(5)) and is left out, so that nobody
 * can smuggle a path of their own into a list; one with a carriage return too, which rsync(1) takes for a
 * line break in a list (--files-from).
 */
export const lateProgram = String.raw`
# --- late mail ------------------------------------------------------------------------------------
newline='
'
return=$(printf '\r')

# Files below new and cur of the trees, one a line. A delivery may end while find reads.
maildir_files() { # TREE...
  for tree; do
    if [ -d "$tree" ]; then
      find "$tree" -ignore_readdir_race -type f \( -path '*/new/*' -o -path '*/cur/*' \) ! -path "*$newline*" ! -path "*$return*" -print || return 1
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
    make_maildir($maildir);
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

# A Maildir that only the other host has: with the owners that came with the batch.
sub make_maildir {
  my ($maildir) = @_;
  make_folder($maildir);
  for my $part (map { "$maildir/$_" } qw(cur new tmp)) {
    next if -d $part;
    as((stat $maildir)[4, 5], $maildir, sub { mkdir $part, 0700 or die "$part: $!\n" });
  }
}

# With the rights of who owns the folder above, and given away by its handle: a link put in its place leads nowhere.
sub make_folder {
  my ($path) = @_;
  return if -d $path;
  my ($above) = $path =~ m{^(.*)/[^/]+$};
  make_folder($above) if $above ne "";
  my ($mode, $uid, $gid) = (stat "$batch$path")[2, 4, 5] or die "$batch$path: $!\n";
  my ($maker, $group) = (stat "$above/")[4, 5];
  my $folder;
  my $work = sub {
    mkdir $path, 0700 or die "$path: $!\n";
    sysopen($folder, $path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) or die "$path: $!\n";
  };
  if ($maker == 0 && is_roots($above)) { $work->() } else { as($maker, $group, $above, $work) }
  die "$path: somebody has put another folder in its place\n" if (stat $folder)[4] != $maker;
  chown $uid, $gid, $folder or die "$path: $!\n";
  chmod $mode & 06777, $folder or die "$path: $!\n";
}

# Whether nobody but root can have put a link into the path.
sub is_roots {
  my ($path) = @_;
  for (; $path ne ""; $path =~ s{/[^/]*$}{}) { return 0 if (stat $path)[4] != 0 }
  return 1;
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
`;
