/**
 * Prints the digest of trees, in Perl as perl-base has it: one walk that reads every folder and looks
 * at every entry, sharing no state and no code with the pass. Ends with 3 where it can't run.
 *
 *     perl - OUT DEPTH IGNORED-COUNT IGNORED... TREE...      prints "digest entries" for each TREE
 */
export const manifestProgram = String.raw`use strict;
use warnings;
use Config;

my %numbers = (x86_64 => 332, aarch64 => 291, riscv64 => 291);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my $statx = $numbers{$machine};
# Sizes and times go into the digest as the processor has them.
exit 3 unless $statx && $Config{ivsize} == 8 && pack('L', 1) eq "\1\0\0\0";
my $stat = "\0" x 256; # 16 links, 20 owner, 24 group, 28 mode, 40 size, 112 mtime with nanoseconds
exit 3 unless syscall($statx, -100, my $top = '/', 0x100, 0x7ff, $stat) == 0;

my ($out, $depth, $count, @rest) = @ARGV;
my @ignored = map { s/\\\*/.*/gr } map { quotemeta } splice @rest, 0, $count;
my $ignored = @ignored ? join '|', @ignored : '(?!)';
$ignored = qr/^(?:$ignored)$/s;

my ($stream, $sums, $entries, @files);
my %shown;      # "f 600 user:group 1" by links, owner, group and mode
my %name_of;

digest($_) for @rest;

sub digest {
    my ($tree) = @_;
    ($entries, @files) = 0;
    open($stream, '|-', "exec sha256sum > '$out/digest'") or die "no sha256sum: $!\n";
    binmode $stream;
    if (syscall($statx, -100, my $path = $tree, 0x100, 0x7ff, $stat) != 0) { print {$stream} 'missing'; $entries = 1 }
    else {
        my $is_folder = -d $tree; # or a link to one, as for find -H
        my ($root) = $is_folder ? $tree : $tree =~ m{^(.*/)};
        chdir $root or die "can't enter $root: $!\n";
        open($sums, '|-', "exec xargs -0 -r sha256sum -z -- > '$out/sums'") or die "no xargs: $!\n";
        binmode $sums;
        if ($is_folder) { walk("$tree/.", '') } else { alone($tree) }
        choose();
        close $sums or die "some contents can't be read\n";
        add_sums();
    }
    close $stream or die "sha256sum failed\n";
    open(my $file, '<', "$out/digest") or die "no digest: $!\n";
    my ($digest) = split ' ', <$file>;
    print "$digest $entries\n";
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
    my $attributes = substr $stat, 20, 10;
    my $header = "d\0$inner\0" . ($shown{$attributes} //= shown($attributes, ''));
    $header .= substr $stat, 112, 12 if $inner =~ m{(?:^|/)(?:cur|new)$}s;
    $entries++;
    opendir(my $handle, '.') or die "can't read $path: $!\n";
    my ($text, @below) = ("$header\0");
    for my $name (sort readdir $handle) {
        next if $name eq '.' || $name eq '..';
        # What has gone since counts as never there: the other host's list tells.
        next if syscall($statx, -100, $name, 0x100, 0x7ff, $stat) != 0;
        my $attributes = substr $stat, 16, 14;
        if ((unpack('x12 S', $attributes) & 0170000) == 0100000) {
            next if $name =~ $ignored;
            $text .= "$name\0" . ($shown{$attributes} //= shown(substr($attributes, 4), unpack 'L', $attributes)) . substr($stat, 40, 8) . substr($stat, 112, 12);
            $entries++;
            if ($depth ne 'names' || ord($name) == 100 && $name =~ /^dovecot-uid(?:list$|validity)/) { sum($name, $inner eq '' ? $name : "$inner/$name") }
        }
        elsif ((unpack('x12 S', $attributes) & 0170000) == 0040000) { push @below, $name }
        else { $text .= one($name, $name); $entries++ }
    }
    closedir $handle;
    print {$stream} $text;
    for my $name (@below) { walk("$path/$name", $inner eq '' ? $name : "$inner/$name") }
}

# A link, a device, or the tree itself if it is a file; $stat is of it.
sub one {
    my ($name, $path) = @_;
    my $text = "$name\0" . shown(substr($stat, 20, 10), unpack 'x16 L', $stat);
    my $kind = unpack('x28 S', $stat) & 0170000;
    return $text . substr($stat, 40, 8) . substr($stat, 112, 12) if $kind == 0100000;
    # The mode of a link says nothing.
    return "$name\0l " . owners(substr $stat, 20, 8) . " " . (readlink($path) // '') . "\0" if $kind == 0120000;
    return "$text\0";
}

sub shown {
    my ($attributes, $links) = @_;
    return sprintf "%o %s %s\0", unpack('x8 S', $attributes), owners($attributes), $links;
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

# Two hundred of them, the same on both hosts: the walk has an order.
sub choose {
    my $step = int(@files / 200) + 1;
    for (my $index = 0; $index < @files; $index += $step) { print {$sums} "./$files[$index]\0" }
}

sub add_sums {
    open(my $file, '<:raw', "$out/sums") or die "no sums: $!\n";
    local $/ = "\0";
    while (my $line = <$file>) { print {$stream} $line; $entries++ }
}
`;
