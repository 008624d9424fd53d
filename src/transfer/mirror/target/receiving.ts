/** The mirror program on the target: what it takes from the source, and the folders that it makes. */
export const receiving = String.raw`# --- the target -----------------------------------------------------------------------------------
my @owners;
my (%is_real, %is_fresh, %touched, %set_last);     # by path of a folder; fresh: made in this pass, and empty
my (%links, $single);                   # link groups: [links on the source, paths...]
my (@requested, @batch, @answer, $folders_in_batch, %pool, %pooled, @doomed);
my %did = map { $_ => 0 } qw(renamed removed linked made fixed);

sub receive_all {
    ($folder, my $items_file, my $is_held) = @_;
    @items = read_items($items_file);
    open $in, '<&', \*STDIN;
    open $out, '>&', \*STDOUT;
    binmode $_ for $in, $out;
    send_frame('R', join ' ', $byte_order, join(',', 'coarse', grep { is_coarse($items[$_]) } 0 .. $#items), grep { has_program($_) } qw(zstd gzip));
    flush_frames();
    enlist($folder, expect_frame('N')) if $is_held;
    my $token = expect_frame('H');
    lock_folder($folder);
    unlink "$folder/transfer-note"; # this host's own, of a pass in the other direction
    my $is_trusted = $token ne '' && "$token " . roots() eq (slurp("$folder/transfer-token") // '');
    # Need not be on disk: should a crash bring it back, the source's note is that of the same pass still,
    # and lists again every folder that this pass changes.
    unlink "$folder/transfer-token";
    send_frame('H', $is_trusted ? 'trusted' : 'no');
    flush_frames();
    $folders_in_batch = 0;
    while (1) {
        my ($letter, $payload) = take_frame();
        if ($letter eq 'W') { write_whole($payload) }
        elsif ($letter eq 'C') { write_content($payload) }
        elsif ($letter eq 'K' || $letter eq 'G') { end_content($letter eq 'K') }
        elsif ($letter eq 'D') { compare($payload) }
        elsif ($letter eq 'O') { push @owners, ids(unpack 'n/a* N n/a* N', $payload) }
        elsif ($letter eq 'B') { settle_batch() }
        elsif ($letter eq 'U') { lacking($payload) }
        elsif ($letter eq 'I') { installed($payload) }
        elsif ($letter eq 'E') { finish($payload); last }
        else { die "unexpected frame: $letter\n" }
    }
}

# Whether a store lies on a file system that keeps whole seconds only (ext3; ext4 with inodes of 128 bytes).
# What has a fraction of a second answers it; else a file is made to see.
sub is_coarse {
    my ($item) = @_;
    return 0 if $item->{kind} ne 'store';
    my $path = $item->{root};
    $path = parent($path) || '/' until -d $path;
    look("$path/.") or return 0;
    my ($ctime_fraction, $seconds, $nanoseconds) = (fields())[7, 8, 9];
    return 0 if $ctime_fraction || $nanoseconds;
    my $probe = temporary($path);
    sysopen my $file, $probe, O_WRONLY | O_CREAT | O_EXCL, 0600 or return 0;
    set_mtime($file, 1, 123_456_789);
    my $is_coarse = look_at($file) && (fields())[9] == 0;
    unlink $probe;
    set_mtime("$path/.", $seconds, $nanoseconds);
    return $is_coarse;
}

# The stores' own folders, by inode and mtime: one that was wiped, or put in place anew, is not the one
# that the token speaks of. What else somebody changed here, the comparison after the pass finds.
sub roots {
    return join ' ', map { look("$_->{root}/.") ? unpack('H*', substr($stat, 32, 8) . substr($stat, 112, 12)) : 'none' } grep { $_->{kind} eq 'store' } @items;
}

# Owners by name; a name that is not known here, or none, by its number. As rsync(1) does it.
sub ids {
    my ($user, $uid, $group, $gid) = @_;
    my $here = $user eq '' || $uid == 0 ? undef : getpwnam $user;
    my $group_here = $group eq '' || $gid == 0 ? undef : getgrnam $group;
    return [$here // $uid, $group_here // $gid];
}

# Makes sure that a folder of an item, and each above it, is a folder and no symbolic link.
sub make_real {
    my ($item, $name) = @_;
    my $path = full($item, $name);
    return $path if $is_real{$path};
    if ($name eq '') {
        -d $path or make_root($item->{root});
    }
    else {
        my $above = make_real($item, parent($name));
        unless (look($path) && found_kind($stat) eq 'd') {
            touch_folder($above);
            unlink $path;
            mkdir $path, 0700 or die "can't make $path: $!\n";
            $is_fresh{$path} = 1;
            $did{made}++;
        }
    }
    $is_real{$path} = 1;
    return $path;
}

sub make_root {
    my ($path) = @_;
    my $mask = umask 022;
    my $above = parent($path);
    make_root($above) if $above ne '' && !-d $above;
    mkdir $path, 0755 or -d $path or die "can't make $path: $!\n";
    umask $mask;
}

# Before a change in a folder: its mtime comes back at the end, unless the source's is set.
sub touch_folder {
    my ($path) = @_;
    delete $is_fresh{$path}; # tar may bring to it what has gone since, or is something else
    return if exists $touched{$path};
    look($path) or return;
    $touched{$path} = [(fields())[8, 9]];
}

sub check_name {
    die "refused: a name that leaves its folder\n" if $_[0] eq '' || $_[0] eq '.' || $_[0] eq '..' || $_[0] =~ m{/}s;
}

`;
