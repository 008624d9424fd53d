/** The mirror program on the source: what differs from the note of the last pass. */
export const changes = String.raw`# --- what changed ---------------------------------------------------------------------------------
# What was noted is looked at in parts, each by a process of its own: more than there are processors, because what
# is not in memory is waited for. The first ones go first, so that what changed there is on its way while the others
# look. They may wait for their turn from before the freeze on.
my @scanners;           # each: where it is told to begin, what it says, its process, the last folder of its part
my $scanned_to = -1;    # the last folder of which is known whether it changed
my $are_new_queued;     # items that are not in the note, and that are listed last
my $whole_below = 5000; # folders, fewer than which one process looks at

sub gone { return ($state{$_[0]} // '') eq 'g' }

sub start_scanners {
    return if @item_of < $whole_below;
    my $first = 0;
    for my $last (bounds(8)) {
        pipe(my $told, my $tell) or die "no pipe: $!\n";
        my $child = open(my $found, '-|') // die "can't fork: $!\n";
        if ($child == 0) {
            close $_ for $tell, $in, $out, map { $_->[0] } @scanners;
            setpriority 0, 0, 2 * @scanners;
            # Nobody says so if the pass is off.
            print join ' ', changes_among($first, $last) if sysread $told, my $word, 1;
            STDOUT->flush;
            POSIX::_exit(0);
        }
        close $told;
        push @scanners, [$tell, $found, $child, $last];
        $first = $last + 1;
    }
}

# The last folder of each of so many parts. No mailbox is parted: see serve_queue.
sub bounds {
    my ($parts) = @_;
    my @last;
    for my $part (1 .. $parts) {
        my $at = int($#item_of * $part / $parts);
        $at++ while $at < $#item_of && mailbox($name_of[$at]) eq mailbox($name_of[$at + 1]);
        push @last, $at;
    }
    return @last;
}

sub begin_scan {
    start_scanners() unless @scanners;
    %state = ();
    ($scanned_to, $are_new_queued) = (-1, 0);
    syswrite $_->[0], '.' for @scanners;
    $count{looked} = @item_of;
}

# The note does not count.
sub drop_scan {
    for my $scanner (splice @scanners) {
        kill 'TERM', $scanner->[2];
        close $scanner->[1];
    }
}

# What is to be listed of the next part with changes; nothing when all is listed, or if that part is not known yet
# and WAITS is false.
sub next_changed {
    my ($waits) = @_;
    while ($scanned_to < $#item_of) {
        my $words = next_words($waits) or return;
        my @queue = changed(@$words);
        return @queue if @queue;
    }
    return if $are_new_queued++;
    return map { [$_, ''] } grep { !exists $root_of{$_} || gone($root_of{$_}) } 0 .. $#items;
}

# Words such as d12: folder 12 differs.
sub next_words {
    my ($waits) = @_;
    if (!@scanners) {
        $scanned_to = $#item_of;
        return [changes_among(0, $scanned_to)];
    }
    my (undef, $found, undef, $last) = $scanners[0]->@*;
    my $ready = '';
    vec($ready, fileno $found, 1) = 1;
    return if !$waits && !select $ready, undef, undef, 0;
    local $/;
    my @words = split ' ', <$found> // '';
    close $found or die "a second scan failed\n";
    shift @scanners;
    $scanned_to = $last;
    return \@words;
}

sub changed {
    # What is below a folder that is gone stays so, whatever lies at that path.
    my %letter = map { (substr($_, 1) => substr $_, 0, 1) } grep { !gone(substr $_, 1) } @_;
    my @indexes = sort { $a <=> $b } keys %letter;
    @state{@indexes} = @letter{@indexes};
    # Under a folder that is gone, or no folder any more, nothing is there. One above it has changed.
    for my $index (@indexes) { mark_gone($index) if gone($index) }
    return with_other_holders(map { [$item_of[$_], $name_of[$_], $state{$_} eq 'f' ? $_ : undef] } grep { !gone($_) } @indexes);
}

# These folders, and those with other links of what lies in them. The latter would be asked for in the end
# (serve_links); here they cost no turn of their own.
sub with_other_holders {
    my %by_index = map { ($known{"$_->[0]\0$_->[1]"} => $_) } @_;
    my %inodes;
    for my $index (keys %by_index) {
        my ($entry, $end) = $first_of[$index]->@*;
        for (; $entry < $end; $entry += 3) {
            $inodes{"$item_of[$index] " . unpack 'x4 Q', $noted[$entry + 2]} = 1 if $noted[$entry] eq 'l';
        }
    }
    for my $index (grep { $_ <= $scanned_to && !$state{$_} } map { ($holders{$_} // [])->@* } keys %inodes) {
        $by_index{$index} = [$item_of[$index], $name_of[$index]];
    }
    return @by_index{sort { $a <=> $b } keys %by_index};
}

# A folder of the note and all below it.
sub mark_gone {
    my ($index) = @_;
    my ($item, $start) = ($item_of[$index], $name_of[$index] eq '' ? '' : "$name_of[$index]/");
    do { $state{$index++} = 'g' }
        while $index < @item_of && $item_of[$index] == $item && index($name_of[$index], $start) == 0;
}

sub changes_among {
    my ($from, $to) = @_;
    my @found;
    FOLDER: for my $index ($from .. $to) {
        # Not copied: in a process that shares them, each page that is written to costs.
        if (syscall($statx_number, -100, $path_of[$index], 0x100, 0x7ff, $stat) != 0) { push @found, "g$index"; next }
        if (substr($stat, 28, 12) . substr($stat, 96, 12) ne $key_of[$index]) {
            push @found, (kind(unpack 'x28 S', $stat) eq 'd' ? 'd' : 'g') . $index;
            next;
        }
        my ($entry, $end) = $first_of[$index]->@*;
        my $differs = 0;
        for (; $entry < $end; $entry += 3) {
            my $file = "$path_of[$index]/$noted[$entry + 1]";
            if (syscall($statx_number, -100, $file, 0x100, 0x7ff, $stat) != 0) { push @found, "d$index"; next FOLDER }
            next if substr($stat, 28, 12) . substr($stat, 96, 12) eq $noted[$entry + 2];
            # A message that is also another file may change under that other name.
            if ($noted[$entry] eq 'l') { push @found, "d$index"; next FOLDER }
            $differs = 1;
        }
        push @found, "f$index" if $differs;
    }
    return @found;
}

`;
