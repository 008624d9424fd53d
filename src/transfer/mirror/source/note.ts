/** The mirror program on the source: the note of the last pass, and what differs from it now. */
export const note = String.raw`# --- the note -------------------------------------------------------------------------------------
my $note_head = 'mail-cutover note 2';

# Seconds by which the clock is ahead of the time since boot; changes when the clock is set. What was noted
# while it was set proves nothing.
my $clock_at_start;
sub clock {
    my $boot = slurp('/proc/sys/kernel/random/boot_id') // '';
    chomp $boot;
    return ($boot, sprintf '%.0f', time - uptime());
}

# The token of the note that is there now; '' if it proves nothing.
sub note_token {
    open(my $file, '<:raw', "$folder/transfer-note") or return '';
    my ($head, $token, $boot, $ahead) = map { my $line = <$file> // ''; chomp $line; $line } 1 .. 4;
    my ($boot_now, $ahead_now) = clock();
    return '' if $head ne $note_head || $token eq '' || $boot eq $boot_now && abs($ahead - $ahead_now) > 1;
    return $token;
}

sub read_note {
    @items = read_items($_[0]);
    (undef, $clock_at_start) = clock();
    $noted_token = note_token();
    return if $noted_token eq '';
    my $text = slurp("$folder/transfer-note") // '';
    my $start = 0;
    $start = index($text, "\n", $start) + 1 for 1 .. 4;
    my ($paths, $folders, $entries) = unpack "x$start N/a* N/a* N/a*", $text;
    my %number = map { $items[$_]{path} => $_ } grep { $items[$_]{kind} eq 'store' } 0 .. $#items;
    my @number = map { $number{$_} } split /\0/, $paths;
    @noted = unpack '(a n/a* a24)*', $entries;
    my @folders = unpack '(N N/a* a24 N)*', $folders;
    my $first = 0;
    for (my $index = 0; $index < @folders; $index += 4) {
        my $item = $number[$folders[$index]];
        add_known($item, $folders[$index + 1], $folders[$index + 2], $first, $folders[$index + 3]) if defined $item;
        $first += $folders[$index + 3] * 3;
    }
}

# A folder of the note, whose COUNT entries begin at FIRST in @noted.
sub add_known {
    my ($item, $name, $key, $first, $count) = @_;
    my ($index, $end) = (scalar @item_of, $first + $count * 3);
    $known{"$item\0$name"} = $index;
    push @item_of, $item;
    push @name_of, $name;
    push @path_of, full($items[$item], $name);
    push @key_of, $key;
    push @first_of, [$first, $end];
    for (my $entry = $first; $entry < $end; $entry += 3) {
        push $holders{"$item " . unpack 'x4 Q', $noted[$entry + 2]}->@*, $index if $noted[$entry] eq 'l';
    }
}

sub remember {
    for my $record ($_[0]->@*) {
        my ($item, $name, $key, $files) = @$record;
        my $first = @noted;
        push @noted, @$files;
        add_known($item, $name, $key, $first, @$files / 3);
    }
}

sub forget_note {
    (%known, %state, %holders) = ();
    (@item_of, @name_of, @path_of, @key_of, @first_of, @noted) = ();
    $noted_token = '';
}

sub write_note {
    my ($boot, $ahead) = clock();
    if (abs($ahead - $clock_at_start) > 1) { unlink "$folder/transfer-note"; return }
    leave_out_what_is_no_more();
    my ($folders, $entries) = ('', '');
    # Sorted as if "/" came before every other byte: what is below a folder follows it.
    my %order = map { my ($item, $name) = split /\0/, $_, 2; ($_ => pack('N', $item) . $name =~ tr{/}{\0}r) }
        (grep { !gone($known{$_}) && !$listed{$_} } keys %known),
        (grep { $listed{$_}->@* && $items[$listed{$_}[0]]{kind} eq 'store' } keys %listed);
    for my $id (sort { $order{$a} cmp $order{$b} } keys %order) {
        my ($item, $name, $key, @of) = $listed{$id}
            ? ($listed{$id}->@[0 .. 2], $listed{$id}[3]->@*)
            : do {
                my $index = $known{$id};
                my ($from, $to) = $first_of[$index]->@*;
                ($item_of[$index], $name_of[$index], $key_of[$index], @noted[$from .. $to - 1]);
            };
        $folders .= pack 'N N/a* a24 N', $item, $name, $key, @of / 3;
        $entries .= pack '(a n/a* a24)*', @of;
    }
    my $paths = join "\0", map { $_->{path} } @items;
    put("$folder/transfer-note", join("\n", $note_head, $noted_token, $boot, $ahead) . "\n" . pack('N/a* N/a* N/a*', $paths, $folders, $entries));
}

# A folder gave way to a symbolic link while the pass ran: what was listed below it, through the link, lies
# elsewhere. Not to be noted; and the folder that holds the link is listed again.
sub leave_out_what_is_no_more {
    my %kind;
    for my $id (grep { $listed{$_}->@* } keys %listed) {
        my ($item, $name) = $listed{$id}->@[0, 1];
        my ($lost) = grep { ($kind{"$item\0$_"} //= look(full($items[$item], $_)) ? found_kind($stat) : '') ne 'd' } all_above($name) or next;
        $listed{$id} = [];
        my $above = "$item\0" . parent($lost);
        $listed{$above}[2] = $unknown if $listed{$above} && $listed{$above}->@*;
        $key_of[$known{$above}] = $unknown if exists $known{$above};
    }
}

# The paths of the folders above, the highest first.
sub all_above {
    my @parts = split m{/}, $_[0];
    return map { join '/', @parts[0 .. $_] } 0 .. $#parts - 1;
}

# --- what changed ---------------------------------------------------------------------------------
sub gone { return ($state{$_[0]} // '') eq 'g' }

# Looks at what was noted; returns what is to be listed.
sub scan {
    %state = map { (substr($_, 1) => substr $_, 0, 1) } changes();
    my (@queue, %stored);
    for my $index (sort { $a <=> $b } keys %state) {
        # Under a folder that is gone, or no folder any more, nothing is there. One above it has changed.
        mark_gone($index) if gone($index);
    }
    $stored{$item_of[$_]} = 1 for grep { $name_of[$_] eq '' && !gone($_) } 0 .. $#item_of;
    for my $index (sort { $a <=> $b } keys %state) {
        my ($item, $name) = ($item_of[$index], $name_of[$index]);
        push @queue, [$item, $name, $state{$index} eq 'f' ? $index : undef] unless gone($index);
    }
    $count{looked} = @item_of;
    return ((map { [$_, ''] } grep { !$stored{$_} } 0 .. $#items), with_other_holders(@queue));
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
    for my $index (grep { !$state{$_} } map { ($holders{$_} // [])->@* } keys %inodes) {
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

# Words such as d12: folder 12 differs. In several processes: more than there are processors, because what is
# not in memory is waited for. They may wait for their turn from before the freeze on.
my @scanners; # each: where it is told to begin, and what it says

sub start_scanners {
    my $last = $#item_of;
    my $parts = $last < 5000 ? 1 : 8;
    return if $parts == 1;
    my @bounds = map { int($last * $_ / $parts) } 0 .. $parts;
    $bounds[0] = -1;
    for my $part (1 .. $parts) {
        pipe(my $told, my $tell) or die "no pipe: $!\n";
        my $child = open(my $found, '-|') // die "can't fork: $!\n";
        if ($child == 0) {
            close $_ for $tell, $in, $out, map { $_->[0] } @scanners;
            # The pass is off where nobody says so.
            print join ' ', changes_among($bounds[$part - 1] + 1, $bounds[$part]) if sysread $told, my $word, 1;
            STDOUT->flush;
            POSIX::_exit(0);
        }
        close $told;
        push @scanners, [$tell, $found];
    }
}

sub changes {
    start_scanners() unless @scanners;
    my @all = splice @scanners or return changes_among(0, $#item_of);
    syswrite $_->[0], '.' for @all;
    local $/;
    my @found;
    for my $found (map { $_->[1] } @all) {
        push @found, split ' ', <$found> // '';
        close $found or die "a second scan failed\n";
    }
    return @found;
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
