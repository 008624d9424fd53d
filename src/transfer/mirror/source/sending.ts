/** The mirror program on the source: the contents that the target asks for. */
export const sending = String.raw`# --- contents that are asked for ------------------------------------------------------------------
my $ahead = 24; # files that are opened, and asked of the disk, before the one that is read

# Sends what the target asks for: numbers of folder and entry. Returns the folders that it does not have.
sub serve {
    my ($batch) = @_;
    my @wanted = unpack 'N*', expect_frame('A');
    my (@below, @opened);
    while (@wanted || @opened) {
        while (@wanted && @opened < $ahead) {
            my ($of, $number) = splice @wanted, 0, 2;
            my ($item, $name, $plain, $signs, $others) = $batch->[$of]->@*;
            my $other = $number < @$plain ? undef : $others->[$number - @$plain];
            if (!$other) {
                my $sign = substr $$signs, $number * 20, 20;
                push @opened, open_ahead($item, $name, $plain->[$number], unpack('Q', $sign), 1, undef, $sign);
            }
            elsif ($other->[0] ne 'd') { push @opened, open_ahead($item, $name, $other->@[1 .. 5]) }
            else {
                my $inner = $name eq '' ? $other->[1] : "$name/$other->[1]";
                push @below, [$item, $inner] unless $listed{"$item\0$inner"} || $elsewhere{"$item\0$inner"};
                forget_below("$item\0$inner");
            }
        }
        send_content(shift @opened) if @opened;
    }
    flush_frames();
    if (defined $run_folder) {
        for my $of (@$batch) {
            $seen += $of->[2]->@* + $of->[4]->@*;
            $seen_bytes += $_ for unpack('(Q x12)*', $of->[3]->$*), map { $_->[2] } $of->[4]->@*;
        }
        show_progress();
    }
    return @below;
}

# The target lacks a folder that the note has: nothing below it is known.
sub forget_below {
    my ($id) = @_;
    mark_gone($known{$id}) if is_known($id);
}

# Adds to what is given: the file, open, or why it can't be.
sub open_ahead {
    my ($item, $name, $entry, $size) = @_;
    my $path = full($items[$item], $name) . "/$entry";
    my $file;
    if (sysopen $file, $path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) {
        syscall($fadvise_number, fileno $file, 0, 0, 3) if $size > 0; # POSIX_FADV_WILLNEED
        return [@_, $path, $file];
    }
    die "can't read $path: $!\n" unless grep { $! == $_ } POSIX::ENOENT, POSIX::ENOTDIR, POSIX::ELOOP, POSIX::ENXIO;
    return [@_, $path, undef];
}

sub send_content {
    my ($item, $name, $entry, $size, $is_message, $group, $sign, $path, $file) = $_[0]->@*;
    if (defined $file) {
        my $result = send_bytes($item, $file, $path, $size, $is_message, $sign);
        if ($result ne 'gone') { $count{sent}++; $count{bytes} += $size }
        show_progress();
        return if $result eq 'same';
        send_frame('G', '') if $result eq 'gone';
    }
    else { send_frame('G', '') }
    # It went or changed while it was read: what the next pass finds there counts. Other links of it
    # may lie in folders that do not change.
    $count{unstable}++;
    for my $id ("$item\0$name", $group ? do { my @all = $groups{$group}->@*; @all[2 .. $#all] } : ()) {
        $listed{$id}[2] = $unknown if $listed{$id} && $listed{$id}->@*;
        $key_of[$known{$id}] = $unknown if exists $known{$id};
    }
}

# same: as it was listed. changed: no message, so all there is was sent. gone: a message that is not
# what was listed.
sub send_bytes {
    my ($item, $file, $path, $size, $is_message, $sign) = @_;
    my $got = sysread $file, my $bytes, $size < $piece ? $size + 1 : $piece;
    # EISDIR: a folder has taken its name
    if (!defined $got) { return 'gone' if $! == POSIX::EISDIR; die "can't read $path: $!\n" }
    if (!look_at($file) || found_kind($stat) ne 'f') { return 'gone' }
    cut_time($item);
    if ($got == $size && $size < $piece) {
        # Still what was listed? Its ctime may be another one, as renaming changes that.
        my $is_same = sign() eq $sign;
        return 'gone' if $is_message && !$is_same;
        send_frame('W', $bytes);
        return $is_same ? 'same' : 'changed';
    }
    my $sum = 0;
    while ($got > 0) {
        $sum += $got;
        return 'gone' if $sum > $size && $is_message;
        send_frame('C', $bytes);
        show_progress();
        last if $sum == $size && $got < $piece;
        $got = sysread $file, $bytes, $piece;
        die "can't read $path: $!\n" unless defined $got;
    }
    my $is_whole = $sum == $size && look_at($file);
    cut_time($item);
    my $is_same = $is_whole && sign() eq $sign;
    return 'gone' if $is_message && !$is_same;
    send_frame('K', '');
    return $is_same ? 'same' : 'changed';
}

`;
