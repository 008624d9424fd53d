/** The mirror program on the source: mailboxes that the target does not have at all, brought by tar(1). */
export const first = String.raw`# --- the first time -------------------------------------------------------------------------------
# Mailboxes that the target does not have at all are brought by tar(1) at both ends: it needs half of the
# processor time a file. Each is noted before tar gets its name, as if a pass had just ended: what came,
# went or changed while tar read is found as the next pass would find it, and no message is looked at twice.
#
# The streams begin as one, as it is. Where that is slow the way may be long (an SSH connection has no more than
# two megabytes under way) or narrow, or a disk slow to answer: then some go side by side, and if that is slow
# too, with less to carry. What was fastest brings the rest.
sub bring_new {
    my ($item, @command) = @_;
    # Only where the forced command of a pass's key knows the word.
    return unless @command && $command[-1] =~ s/ mirror$/ tar $item/;
    my @units = grep { !$elsewhere{"$item\0$_"} && !is_known("$item\0$_") } units($item);
    my @lacking = map { $units[$_] } ask_which('U', $item, @units) or return;
    my %work = (item => $item, path => "$items[$item]{root}/.", names => \@lacking, next => 0, command => \@command);
    $doing = 'copying';
    remember_whole(\%work, carry(\%work));
}

# Of the mailboxes that came and are in their places, those whose stream ended well are noted.
sub remember_whole {
    my ($work, @streams) = @_;
    my (%is_parted, @fed);
    for my $stream (@streams) {
        push @fed, $stream->{fed}->@*;
        my $met = $stream->{met};
        for my $inode (keys %$met) { $is_parted{$inode} = 1 if $met->{$inode}[0] < $met->{$inode}[1] }
    }
    for my $number (ask_which('I', $work->{item}, map { $_->[0] } @fed)) {
        my ($stream, $records) = $fed[$number]->@[1, 2];
        next unless $stream->{is_whole};
        unprove_parted($_, \%is_parted) for @$records;
        remember($records);
        $count{tar}++;
        $count{"by_$stream->{by}"}++ if $stream->{by};
    }
}

# tar keeps the links that it meets in one stream. A folder that holds a link to a file of which that stream did not
# have all links is listed after it: the target joins them.
sub unprove_parted {
    my ($record, $is_parted) = @_;
    my $files = $record->[3];
    for (my $entry = 0; $entry < @$files; $entry += 3) {
        $record->[2] = $unknown if $is_parted->{unpack 'x4 Q', $files->[$entry + 2]};
    }
}

# Tells the target the names of mailboxes; it answers with the numbers of some.
sub ask_which {
    my ($letter, $item, @units) = @_;
    send_frame($letter, pack 'n a*', $item, join "\0", @units);
    flush_frames();
    return unpack 'N*', expect_frame($letter);
}

# The mailboxes of a store: the highest folders that hold a "cur". If the store itself is a mailbox, its
# folders.
sub units {
    my ($item) = @_;
    my (@units, @above);
    push @above, '';
    while (defined(my $name = pop @above)) {
        my $path = full($items[$item], $name);
        chdir $path or next;
        my $all = $name eq '' && is_folder('cur');
        for my $entry (names_here()) {
            next if !is_folder($entry) || $name eq '' && $entry eq $staging_name;
            my $inner = $name eq '' ? $entry : "$name/$entry";
            if ($all || is_folder("$entry/cur")) { push @units, $inner } else { push @above, $inner }
        }
    }
    return @units;
}

sub is_folder { return look($_[0]) && found_kind($stat) eq 'd' }

# What the note would say of a folder and all below it; how many files, how many bytes: of a file with several
# links once, as tar reads it once. MET gets these, by inode: how many of the links were met, how many there are.
sub note_tree {
    my ($item, $top, $met) = @_;
    my ($messages, $bytes, @records, @below) = (0, 0);
    push @below, $top;
    while (defined(my $name = pop @below)) {
        my $path = full($items[$item], $name);
        next unless look($path) && found_kind($stat) eq 'd' && chdir $path && look('.');
        my ($key, @files, @inner) = lasting_key();
        my $with_messages = holds_messages($name);
        for my $entry (names_here()) {
            next if syscall($statx_number, -100, $entry, 0x100, 0x7ff, $stat) != 0;
            my ($links, $mode, $inode, $size) = unpack 'x16 L x8 S x2 Q Q', $stat;
            my $kind = $mode >> 12; # 8 file, 4 folder, 10 symbolic link
            if ($kind == 8) {
                $messages++;
                if ($links == 1) { $bytes += $size }
                else {
                    my $of = $met->{$inode} //= [0];
                    $bytes += $size unless $of->[0]++;
                    $of->[1] = $links;
                }
                if (!$with_messages || $entry !~ /^[0-9]+\../s) {
                    push @files, 'f', $entry, lasting_key();
                    $key = $unknown if $links > 1; # no mail server makes one; nothing tells where its other links are
                }
                elsif ($links > 1) {
                    push @files, 'l', $entry, key();
                    $key = $unknown if lasting_key() eq $unknown;
                }
            }
            elsif ($kind == 4) { push @inner, "$name/$entry" }
            elsif ($kind != 10) { refuse("$path/$entry") }
        }
        push @records, [$item, $name, $key, \@files];
        push @below, reverse @inner;
    }
    return (\@records, $messages, $bytes);
}

`;
