/**
 * Prints the digest of trees, in Perl as perl-base has it: one walk that reads every folder and looks
 * at every entry, sharing no state and no code with the pass. Ends with 3 where it can't run.
 *
 *     perl - OUT DEPTH TIMES IGNORED-COUNT IGNORED... TREE...      prints "digest entries" for each TREE
 *
 * TIMES: exact, or seconds, which compares no fractions and adds a third word: "whole" where a file system of
 * the tree seems to keep none, for no entry on it has one; else "fractions".
 */
export const manifestProgram = String.raw`use strict;
use warnings;
use Config;
use POSIX ();

my %numbers = (x86_64 => 332, aarch64 => 291, riscv64 => 291);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my $statx = $numbers{$machine};
# Sizes and times go into the digest as the processor has them.
exit 3 unless $statx && $Config{ivsize} == 8 && pack('L', 1) eq "\1\0\0\0";
my $stat = "\0" x 256; # 16 links, 20 owner, 24 group, 28 mode, 32 inode, 40 size, 112 mtime, 120 its nanoseconds, 136 device
exit 3 unless syscall($statx, -100, my $top = '/', 0x100, 0x7ff, $stat) == 0;

my ($out, $depth, $times, $count, @rest) = @ARGV;
my $is_cut = $times eq 'seconds';
my $time_bytes = $is_cut ? 8 : 12;
my @ignored = map { s/\\\*/.*/gr } map { quotemeta } splice @rest, 0, $count;
my $ignored = @ignored ? join '|', @ignored : '(?!)';
$ignored = qr/^(?:$ignored)$/s;
# Messages begin with a digit: where no such name can be ignored, they need not be held against the pattern.
my $spares_messages = !grep { /^(?:[0-9]|\.\*)/ } @ignored;

# A tree is listed in so many parts at a time, on both hosts, however many processors they have: each part
# has a digest, and the tree that of all.
my $parts = 4;

my ($stream, $sums, $linked, $entries, @files);
my %plain;      # "100600 user:group" of files with one link, by links, owner, group and mode
my %shown;      # the same of all else, without the links
my %fractions;  # devices: whether a time on it has a fraction of a second
my %name_of;
my %is_unit;    # folders that are somebody's turn

digest($_) for @rest;

sub digest {
    my ($tree) = @_;
    my $is_there = syscall($statx, -100, my $path = $tree, 0x100, 0x7ff, $stat) == 0;
    my $is_folder = $is_there && -d $tree; # or a link to one, as for find -H
    my @units = $is_folder ? units("$tree/.") : ();
    %is_unit = map { $_ => 1 } @units;
    my @children = map { my $part = $_; apart(sub { list_part($part, $tree, $is_there, $is_folder, @units) }) } 0 .. $parts - 1;
    for my $child (@children) { waitpid $child, 0; die "$tree can't be listed\n" if $? != 0 }
    open($stream, '|-', "exec sha256sum > '$out/digest'") or die "no sha256sum: $!\n";
    my $all = 0;
    for my $part (0 .. $parts - 1) {
        print {$stream} first_word("$out/digest.$part"), "\n";
        $all += first_word("$out/entries.$part");
    }
    add_links();
    close $stream or die "sha256sum failed\n";
    printf "%s %d%s\n", first_word("$out/digest"), $all, $is_cut ? ' ' . granularity() : '';
}

# Which names in the tree are one file. Not how many links a file has: those from elsewhere, a backup by cp -al,
# stay behind.
sub add_links {
    my (%names, @groups);
    for my $part (0 .. $parts - 1) {
        open(my $file, '<:raw', "$out/links.$part") or die "no $out/links.$part: $!\n";
        local $/ = "\0";
        while (read $file, my $inode, 16) { $names{$inode} .= readline $file }
    }
    for my $names (values %names) {
        my @sorted = sort split /\0/, $names;
        push @groups, join("\0", @sorted, '') if @sorted > 1;
    }
    print {$stream} map { "$_\0" } sort @groups;
}

sub granularity {
    my %known;
    for my $part (0 .. $parts - 1) {
        open(my $file, '<', "$out/fractions.$part") or die "no $out/fractions.$part: $!\n";
        while (my $line = <$file>) {
            my ($device, $has) = split ' ', $line;
            $known{$device} ||= $has;
        }
    }
    return (grep { !$_ } values %known) ? 'whole' : 'fractions';
}

sub apart {
    my ($work) = @_;
    my $child = fork // die "can't fork: $!\n";
    return $child if $child;
    my $is_done = eval { $work->(); 1 };
    print STDERR $@ unless $is_done;
    POSIX::_exit($is_done ? 0 : 1);
}

sub first_word {
    open(my $file, '<', $_[0]) or die "no $_[0]: $!\n";
    my ($word) = split ' ', <$file> // '';
    return $word // die "nothing in $_[0]\n";
}

# Of the folders that lie apart every so manieth; the first part has what is above them too.
sub list_part {
    my ($part, $tree, $is_there, $is_folder, @units) = @_;
    ($entries, @files) = 0;
    %fractions = ();
    open($linked, '>:raw', "$out/links.$part") or die "can't write to $out: $!\n";
    open($stream, '|-', "exec sha256sum > '$out/digest.$part'") or die "no sha256sum: $!\n";
    binmode $stream;
    if ($is_folder || $is_there && $part == 0) {
        my ($root) = $is_folder ? $tree : $tree =~ m{^(.*/)};
        chdir $root or die "can't enter $root: $!\n";
        open($sums, '|-', "exec xargs -0 -r sha256sum -z -- > '$out/sums.$part'") or die "no xargs: $!\n";
        binmode $sums;
        if (!$is_folder) { alone($tree) }
        elsif ($part == 0) { walk("$tree/.", '') }
        for (my $index = $part; $index < @units; $index += $parts) { walk("$tree/./$units[$index]", $units[$index]) }
        choose();
        close $sums or die "some contents can't be read\n";
        add_sums("$out/sums.$part");
    }
    elsif ($part == 0) { print {$stream} 'missing'; $entries = 1 }
    close $stream or die "sha256sum failed\n";
    close $linked or die "can't write to $out: $!\n";
    note("$out/entries.$part", $entries);
    note("$out/fractions.$part", map { unpack('H*', $_) . " $fractions{$_}\n" } keys %fractions);
}

sub note {
    my ($path, @text) = @_;
    open(my $file, '>', $path) or die "can't write to $out: $!\n";
    print {$file} @text;
    close $file or die "can't write to $out: $!\n";
}

# The highest level with enough folders to part.
sub units {
    my ($path) = @_;
    my @level = ('');
    while (@level < 16 * $parts) {
        my @below = map { my $inner = $_; map { $inner eq '' ? $_ : "$inner/$_" } folders("$path/$inner") } @level;
        return if !@below;
        @level = @below;
    }
    return sort @level;
}

sub folders {
    my ($path) = @_;
    opendir(my $handle, $path) or return; # it has gone
    return grep { $_ ne '.' && $_ ne '..' && !-l "$path/$_" && -d _ } readdir $handle;
}

sub alone {
    my ($tree) = @_;
    my ($name) = $tree =~ m{([^/]*)$}s;
    return if $name =~ $ignored && -f $tree;
    look($tree);
    print {$stream} one('', $tree);
    $entries++;
    sum($name, $name) if -f _;
}

sub look { my $path = "$_[0]"; syscall($statx, -100, $path, 0x100, 0x7ff, $stat) == 0 or die "can't look at $path: $!\n" }

sub walk {
    my ($path, $inner) = @_;
    chdir $path or die "can't enter $path: $!\n";
    look('.');
    # Of folders the time counts only for those by which servers tell whether an index is fresh.
    my $header = "d\0$inner\0" . shown(substr $stat, 20, 10);
    $header .= time_of() if $inner =~ m{(?:^|/)(?:cur|new)$}s;
    $entries++;
    opendir(my $handle, '.') or die "can't read $path: $!\n";
    my ($text, $reads_all, @below) = ("$header\0", $depth ne 'names');
    for my $name (sort readdir $handle) {
        my $initial = ord $name;
        next if $initial == 46 && ($name eq '.' || $name eq '..');
        # What has gone since counts as never there: the other host's list tells.
        next if syscall($statx, -100, $name, 0x100, 0x7ff, $stat) != 0;
        my $attributes = substr $stat, 16, 14;
        my $plain = $plain{$attributes};
        if (!defined $plain) {
            my $kind = unpack('x12 S', $attributes) & 0170000;
            if ($kind == 0040000) { push @below, $name; next }
            if ($kind != 0100000) { $text .= one($name, $name); $entries++; next }
            $plain = shown(substr $attributes, 4);
            # Not kept for those with several links: all of them come by here.
            if (unpack('L', $attributes) == 1) { $plain{$attributes} = $plain }
            elsif ($name !~ $ignored) { print {$linked} substr($stat, 136, 8), substr($stat, 32, 8), $inner eq '' ? $name : "$inner/$name", "\0" }
        }
        next if !($spares_messages && $initial >= 48 && $initial <= 57) && $name =~ $ignored;
        $text .= "$name\0$plain" . substr($stat, 40, 8) . substr($stat, 112, $time_bytes);
        note_fraction() if $is_cut;
        $entries++;
        if ($reads_all || $initial == 100 && $name =~ /^dovecot-uid(?:list$|validity)/) { sum($name, $inner eq '' ? $name : "$inner/$name") }
    }
    closedir $handle;
    print {$stream} $text;
    for my $name (@below) {
        my $further = $inner eq '' ? $name : "$inner/$name";
        walk("$path/$name", $further) unless $is_unit{$further};
    }
}

# A link, a device, or the tree itself if it is a file; $stat is of it.
sub one {
    my ($name, $path) = @_;
    my $text = "$name\0" . shown(substr $stat, 20, 10);
    my $kind = unpack('x28 S', $stat) & 0170000;
    return $text . substr($stat, 40, 8) . time_of() if $kind == 0100000;
    # The mode of a link says nothing.
    return "$name\0l " . owners(substr $stat, 20, 8) . " " . (readlink($path) // '') . "\0" if $kind == 0120000;
    return "$text\0";
}

sub time_of {
    note_fraction() if $is_cut;
    return substr $stat, 112, $time_bytes;
}

sub note_fraction { $fractions{substr $stat, 136, 8} |= substr($stat, 120, 4) ne "\0\0\0\0" ? 1 : 0 }

sub shown {
    my ($attributes) = @_;
    return $shown{$attributes} //= sprintf "%o %s\0", unpack('x8 S', $attributes), owners($attributes);
}

sub owners {
    my ($uid, $gid) = unpack 'L L', $_[0];
    return ($name_of{"u$uid"} //= getpwuid($uid) // $uid) . ':' . ($name_of{"g$gid"} //= getgrgid($gid) // $gid);
}

sub sum {
    my ($name, $path) = @_;
    if ($depth eq 'sample' && $name !~ /^dovecot-uid(?:list$|validity)/) { push @files, $path }
    else { print {$sums} "./$path\0" }
}

# Two hundred of each part, the same on both hosts: the walk has an order.
sub choose {
    my $step = int(@files / 200) + 1;
    for (my $index = 0; $index < @files; $index += $step) { print {$sums} "./$files[$index]\0" }
}

sub add_sums {
    open(my $file, '<:raw', $_[0]) or die "no sums: $!\n";
    local $/ = "\0";
    while (my $line = <$file>) { print {$stream} $line; $entries++ }
}
`;
