/** The mirror program on the target: links, times of folders, and the token. */
export const ending = String.raw`# --- the end --------------------------------------------------------------------------------------
# Every group of links is one file, and shares it with no other.
sub settle_links {
    my %taken;
    for my $group (sort keys %links) {
        my ($nlink, @paths) = $links{$group}->@*;
        @paths = unique(@paths);
        my ($leader) = grep { look($_) } @paths or next;
        part($leader) if $taken{inode($leader)};
        join_links($leader, @paths);
        look($leader);
        if (unpack('x16 L', $stat) > $nlink) { part($leader); join_links($leader, @paths) }
        $taken{inode($leader)} = 1;
    }
}

sub inode { look($_[0]) or die "lost: $_[0]\n"; return unpack 'x32 Q', $stat }

sub join_links {
    my ($leader, @paths) = @_;
    my $inode = inode($leader);
    for my $path (@paths) {
        next if look($path) && unpack('x32 Q', $stat) == $inode;
        my $aside = temporary(parent($path));
        touch_folder(parent($path));
        link $leader, $aside or die "can't link $path: $!\n";
        rename $aside, $path or die "can't link $path: $!\n";
        $did{linked}++;
    }
}

sub unique { my %seen; return grep { !$seen{$_}++ } @_ }

# A file of its own in the place of one that has other links.
sub part {
    my ($path) = @_;
    look($path) or die "lost: $path\n";
    my (undef, $uid, $gid, $mode, undef, undef, undef, undef, $seconds, $nanoseconds) = fields();
    my $aside = temporary(parent($path));
    touch_folder(parent($path));
    sysopen my $from, $path, O_RDONLY or die "can't read $path: $!\n";
    sysopen my $to, $aside, O_WRONLY | O_CREAT | O_EXCL, 0600 or die "can't make $aside: $!\n";
    while (sysread $from, my $bytes, $piece) { syswrite($to, $bytes) == length $bytes or die "can't write $aside: $!\n" }
    chown $uid, $gid, $to;
    chmod $mode & 07777, $to;
    set_mtime($to, $seconds, $nanoseconds);
    close $to or die "can't write $aside: $!\n";
    rename $aside, $path or die "can't rename to $path: $!\n";
    $did{linked}++;
}

sub finish {
    my ($token) = @_;
    die "contents are missing\n" if @requested;
    lap('start');
    settle_links();
    for my $path (keys %set_last) {
        my ($mode, $owner, $seconds, $nanoseconds) = $set_last{$path}->@*;
        next unless look($path) && found_kind($stat) eq 'd';
        fix_owner($path, $stat, $mode, $owner);
        my ($is_seconds, $is_nanoseconds) = (fields())[8, 9];
        set_mtime("$path", $seconds, $nanoseconds) if $touched{$path} || $is_seconds != $seconds || $is_nanoseconds != $nanoseconds;
    }
    for my $path (grep { !$set_last{$_} } keys %touched) { set_mtime("$path", $touched{$path}->@*) if look($path) }
    lap('target');
    my %roots = map { $_->{root} => 1 } grep { -d $_->{root} } @items;
    sync_all(sort keys %roots);
    lap('sync');
    # After the sync: never on disk before what it speaks of.
    put("$folder/transfer-token", "$token " . roots());
    send_frame('E', join ' ', (map { "$_=$did{$_}" } sort keys %did), "ms_target=$count{ms_target}", "ms_sync=$count{ms_sync}");
    flush_frames();
}

# The source tells the person.
sub tell_source {
    my ($fault) = @_;
    $waiting = 'X' . pack('N', length $fault) . $fault;
    eval { flush_frames() } if $out;
}

`;
