/** The first part of the mirror program: what it is, what holds for it, and the files of a host. */
export const head = String.raw`#!/usr/bin/perl
# mail-cutover: makes trees here (receive) what they are at the other end of the connection (send).
#
# A directory is "listed" when the source sends all of its entries, with size, owner, mode, mtime, and
# the target reads its own and compares. What is not listed is left alone, so this must be sure:
#
#   The note. While the source lists a directory it notes the ctime that the directory had just before
#   it was read, and the ctime of every file in it that is not a message. The next pass lists only
#   directories whose ctime, inode or mode differ, and sends only other files for which they do.
#   A message, a file in cur or new with a name as Maildir makes them, never changes under its name,
#   and its coming, going and renaming change the directory. One with several links is looked at, too.
#   - A ctime less than two seconds old when it was looked at proves nothing, as a later change could
#     bear the same one: it is noted as unknown. A clock that was set since makes all of them unknown.
#   - The note counts only with the token that the target wrote when that pass had ended well and was on
#     disk. The target drops its token before it changes anything. So after a pass that was cut off, or
#     with a host that was set back to an earlier state, everything is listed.
#
# A listed message that the target lacks may be there under other flags or in another folder of the
# same mailbox: same name up to ":2,", same size, same mtime to the nanosecond. It is renamed.
# Whatever else is lacking is sent. All names are bytes; owners travel by name.
#
# A message of the same name, size and mtime with another content is taken for the same: no mail server
# makes one. Comparing contents (verify: sample, full) finds it.
use strict;
use warnings;
no warnings 'newline'; # a name may end with one
use Config;
use Fcntl qw(:DEFAULT :flock);
use IO::Handle;
use POSIX ();
use Socket;

umask 077;

# --- a word to a pass that waits ------------------------------------------------------------------
sub speak {
    my ($path, $word) = @_;
    socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "can't make a socket: $!\n";
    connect($socket, pack_sockaddr_un($path)) or return;
    syswrite $socket, "$word\n";
    local $/;
    return <$socket> // '';
}

sub go {
    my ($path, $tag) = @_;
    my $said = speak($path, "go $tag lock " . ($ENV{HOSTCTL_LOCK} // '')) // "fault 6 nothing is held\n";
    if ($said =~ /^done /) { print $said; return }
    my ($code, $text) = $said =~ /^fault ([0-9]+) (.*)$/s ? ($1, $2) : (5, "the pass ended without a word\n");
    print STDERR $text;
    exit $code;
}

# It is part of the downtime, and needs nothing of what follows: so that is not even read.
BEGIN {
    $SIG{PIPE} = 'IGNORE';
    if (($ARGV[0] // '') eq 'go') { go(@ARGV[1, 2]); exit 0 }
}

# Numbers of statx(2), utimensat(2), syncfs(2), fadvise64(2), and of FIONREAD: perl-base has no other way to them.
my %numbers = (
    x86_64 => [332, 280, 306, 221, 0x541b], aarch64 => [291, 88, 267, 223, 0x541b], riscv64 => [291, 88, 267, 223, 0x541b],
    powerpc64le => [383, 304, 348, 233, 0x4004667f], s390x => [379, 315, 338, 253, 0x541b],
);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my ($statx_number, $utimensat_number, $syncfs_number, $fadvise_number, $unread_number) = ($numbers{$machine} || [])->@*;

my $young = 2;               # seconds; see above
my $batch_size = 5_000;     # entries that the target compares at a time
my $piece = 262_144;         # bytes
my $unknown = "\0" x 24;     # a key that equals none

# --- files ----------------------------------------------------------------------------------------
# What statx(2) says of one path. Where it lies in there: 16 links, 20 owner, 24 group, 28 mode,
# 32 inode, 40 size, 96 ctime, 104 its nanoseconds, 112 mtime, 120 its nanoseconds.
my $stat = "\0" x 256;

# look PATH: lstat into $stat; false if there is nothing.
sub look {
    my $path = "$_[0]"; # syscall() takes what was ever used as a number for one
    return syscall($statx_number, -100, $path, 0x100, 0x7ff, $stat) == 0;
}

sub look_at {
    my $none = '';
    return syscall($statx_number, fileno $_[0], $none, 0x1000, 0x7ff, $stat) == 0;
}

# What a message is compared by: size and mtime.
sub sign { return substr($stat, 40, 8) . substr($stat, 112, 12) }

# nlink uid gid mode inode size ctime ctime-ns mtime mtime-ns
sub fields { return unpack('x16 L L L S x2 Q Q x48 q L x4 q L', $_[0] // $stat) }

# By which a path is known again: mode, inode, ctime.
sub key { return substr($stat, 28, 12) . substr($stat, 96, 12) }

# The same, or unknown where the ctime is too young to prove anything.
sub lasting_key {
    return unpack('x96 q', $stat) >= time - $young ? $unknown : key();
}

sub kind {
    my $type = $_[0] & 0170000;
    return $type == 0100000 ? 'f' : $type == 0040000 ? 'd' : $type == 0120000 ? 'l' : '?';
}

sub found_kind { return defined $_[0] ? kind(unpack 'x28 S', $_[0]) : '' }

# set_mtime PATH-or-HANDLE SECONDS NANOSECONDS; the atime stays (UTIME_OMIT)
sub set_mtime {
    my $times = pack('q q q q', 0, 0x3ffffffe, $_[1], $_[2]);
    my $failed = ref $_[0]
        ? syscall($utimensat_number, fileno $_[0], 0, $times, 0)
        : syscall($utimensat_number, -100, my $path = $_[0], $times, 0x100);
    die "can't set the time of $_[0]: $!\n" if $failed;
}

sub slurp {
    open(my $file, '<:raw', $_[0]) or return;
    local $/;
    my $content = <$file>;
    return $content;
}

# Whole or not at all. Not brought to disk: one that is lost costs time, nothing else.
sub put {
    my ($path, $content) = @_;
    open(my $file, '>:raw', "$path.new") or die "can't write $path: $!\n";
    print {$file} $content or die "can't write $path: $!\n";
    close $file or die "can't write $path: $!\n";
    rename "$path.new", $path or die "can't write $path: $!\n";
}

sub has_program { my ($name) = @_; return !!grep { -x "$_/$name" } split /:/, $ENV{PATH} // '' }

# Everything of these folders' file systems to disk.
sub sync_all {
    for my $path (@_) {
        sysopen(my $handle, $path, O_RDONLY) or die "can't open $path: $!\n";
        syscall($syncfs_number, fileno $handle) == 0 or die "can't bring $path to disk: $!\n";
    }
}

# Two passes of one migration at a time would undo each other's work.
my $lock;
sub lock_folder {
    my ($folder) = @_;
    open($lock, '>>', "$folder/transfer-lock") or die "can't write $folder/transfer-lock: $!\n";
    for (1 .. 1200) { return if flock $lock, LOCK_EX | LOCK_NB; select undef, undef, undef, 0.05 }
    die "another pass is still under way\n";
}

# What hostctl's "run" does for a command, for a process that was there before: from here on it works under
# the lock of this number, and who takes the lock over ends it.
sub enlist {
    my ($folder, $number) = @_;
    die "a pass without a lock\n" unless $number =~ /^[0-9]*$/;
    if (-d "$folder/lock") {
        my ($after) = (slurp('/proc/self/stat') // '') =~ /^.*\) (.*)/s;
        my @fields = split ' ', $after;
        mkdir "$folder/lock/run";
        open(my $entry, '>', join '.', "$folder/lock/run/" . ($number || 0), $$, @fields[2, 19]);
        open(my $shared, '>>', "$folder/lock/flock") or die "can't open the lock: $!\n";
        my $tries = 0;
        until (flock $shared, LOCK_SH | LOCK_NB) { die "the lock is taken\n" if $tries++ > 600; select undef, undef, undef, 0.05 }
        our $enlisted = $shared; # open until the end
    }
    my $newest = slurp("$folder/lock/number") || 0;
    die "lock $number was taken over by lock $newest\n" if ($number || 0) < $newest;
}

sub names_here {
    opendir(my $folder, '.') or die "can't read a folder: $!\n";
    return grep { $_ ne '.' && $_ ne '..' } readdir $folder;
}

# Where tar unpacks, in the root of a store. One that lies on the source is left from a pass to it, and no mail.
my $staging_name = '.mail-cutover.tar';

# --- items ----------------------------------------------------------------------------------------
# Each has a root, a folder. Of a "file" item only the entry of that name belongs to it. A "maybe" is a
# tree that need not be there.
sub read_items {
    my @words = split /\0/, slurp($_[0]) // die("can't read $_[0]: $!\n");
    my @items;
    while (my ($kind, $path) = splice @words, 0, 2) {
        my %item = (kind => $kind, path => $path, root => $path);
        ($item{root}, $item{name}) = $path =~ m{^(.*)/([^/]+)$}s if $kind eq 'file';
        $item{root} = '/' if $item{root} eq '';
        push @items, \%item;
    }
    return @items;
}

# The path of a folder of an item; '' is its root. "/." because the root may be a symbolic link; always, so
# that a path and the one made of the folder above it are the same text.
sub full {
    my ($item, $folder) = @_;
    return $folder eq '' ? "$item->{root}/." : "$item->{root}/./$folder";
}

sub parent { my ($above) = $_[0] =~ m{^(.*)/}s; return $above // '' }

sub holds_messages { return $_[0] =~ m{(?:^|/)(?:cur|new)$}s }

# Strict on purpose: what is not known for a message is looked at each time.
sub is_message { return $_[0] =~ /^[0-9]+\.[^\/]/ }

# The mailbox of a folder with messages: above cur or new, and above a folder of Maildir++ (".Sent").
sub mailbox {
    my $above = parent($_[0]);
    return $above =~ m{^(?:(.*)/)?\.[^/]*$}s ? $1 // '' : $above;
}

# Seconds since the host was started; no clock that is set changes it.
sub uptime { my ($seconds) = split ' ', slurp('/proc/uptime') // '0'; return $seconds }

# Milliseconds since the one before, into the counts.
my (%count, $lap);
sub lap {
    my $now = uptime();
    $count{"ms_$_[0]"} = sprintf '%.0f', ($now - ($lap // $now)) * 1000;
    $lap = $now;
}

`;
