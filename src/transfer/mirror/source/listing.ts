/** The mirror program on the source: what is sent of a folder, and of files with several links. */
export const listing = String.raw`# --- listing --------------------------------------------------------------------------------------
my $has_young_link; # in the folder that is listed: its key proves nothing

# Lists the queue in batches. The next batch is on its way while the target compares the one before. MORE adds to
# the queue; see next_changed.
sub serve_queue {
    my ($more, @queue) = @_;
    my @asked;
    while (1) {
        push @queue, $more->(!@asked) if !@queue;
        last unless @queue || @asked;
        if (@queue && @asked < 2) { push @asked, list_batch(\@queue) }
        else { push @queue, serve(shift @asked) }
    }
}

# Sends a batch of the queue; returns what it holds, or nothing if there was none to send.
sub list_batch {
    my ($queue) = @_;
    my ($size, $at_mailbox, $batch) = (0, '');
    # A mailbox is not parted: what moved within it is renamed only if both ends of the way are here.
    while (@$queue && ($size < $batch_size || mailbox($queue->[0][1]) eq $at_mailbox)) {
        my ($item, $name, $index) = (shift @$queue)->@*;
        $at_mailbox = mailbox($name);
        $batch //= []; # a folder may be empty, and no longer so at the target
        unshift @$queue, defined $index ? list_some($index, $batch, \$size) : list($item, $name, $batch, \$size);
    }
    return unless $batch;
    send_frame('B', '');
    flush_frames();
    return $batch;
}

# Sends all of a folder. Returns the folders below it that are to be listed too.
sub list {
    my ($item, $name, $batch, $size) = @_;
    my ($it, $id) = ($items[$item], "$item\0$name");
    return if $listed{$id};
    $listed{$id} = [];
    return list_file($item, $batch) if $it->{kind} eq 'file';
    my $path = full($it, $name);
    unless (look($path) && kind(unpack 'x28 S', $stat) eq 'd' && chdir $path && look('.')) {
        $count{unstable}++ unless $it->{kind} eq 'maybe';
        return;
    }
    my $is_coarse = $is_coarse{$item};
    cut_time($item);
    my (undef, $uid, $gid, $mode, undef, undef, undef, undef, $seconds, $nanoseconds) = fields();
    my $record = $listed{$id} = [$item, $name, lasting_key(), []];
    my $before = noted_files($id);
    my ($common, @plain, @others, @below);
    my ($signs, $packed, $with_messages) = ('', '', holds_messages($name));
    my $left = $name eq '' && $it->{kind} eq 'store' ? $staging_name : '';
    $has_young_link = 0;
    my $has_others = 0;
    opendir(my $handle, '.') or die "can't read $path: $!\n";
    for my $entry (readdir $handle) {
        my $is_message = $with_messages && $entry =~ /^[0-9]+\../s;
        next if !$is_message && ($entry eq '.' || $entry eq '..' || $entry eq $left);
        next if syscall($statx_number, -100, $entry, 0x100, 0x7ff, $stat) != 0;
        cut_time($item) if $is_coarse;
        if ($is_message) {
            my $attributes = substr $stat, 16, 14;
            $common //= $attributes if unpack('L x8 S', $attributes) == 1 && kind(unpack 'x12 S', $attributes) eq 'f';
            if (defined $common && $attributes eq $common) {
                push @plain, $entry;
                $signs .= substr($stat, 40, 8) . substr($stat, 112, 12);
                next;
            }
        }
        my $other = entry($item, $name, $entry, $is_message, $record->[3], $before, \@others) // next;
        $packed .= $other;
        next if substr($other, 0, 1) ne 'd';
        my $inner = $name eq '' ? $entry : "$name/$entry";
        if ($elsewhere{"$item\0$inner"}) { $has_others = 1; next }
        push @below, [$item, $inner] unless is_known("$item\0$inner") || $listed{"$item\0$inner"};
    }
    my ($plain_mode, $plain_owner) = (0, 0);
    if (defined $common) {
        my (undef, $plain_uid, $plain_gid, $bits) = unpack 'L L L S', $common;
        ($plain_mode, $plain_owner) = ($bits & 07777, owner($plain_uid, $plain_gid));
    }
    $record->[2] = $unknown if $has_young_link || $has_others;
    push @$batch, [$item, $name, \@plain, \$signs, \@others];
    $$size += 1 + @plain + @others;
    $count{listed}++;
    send_frame('D', pack $folder_form, $item, 1, $name, $mode & 07777, owner($uid, $gid), $seconds, $nanoseconds, $plain_mode, $plain_owner, join("\0", @plain), $signs, scalar @others, $packed);
    return @below;
}

# Of what was just looked at: a mtime as the target can keep it.
sub cut_time { substr($stat, 120, 4) = "\0\0\0\0" if $is_coarse{$_[0]} }

sub is_known { return exists $known{$_[0]} && !gone($known{$_[0]}) }

# Keys of the files that the note has of a folder, by name.
sub noted_files {
    my $index = $known{$_[0]};
    return if !defined $index || gone($index);
    my ($from, $to) = $first_of[$index]->@*;
    return { map { ($noted[$from + $_ * 3 + 1] => $noted[$from + $_ * 3 + 2]) } 0 .. ($to - $from) / 3 - 1 };
}

# Sends those files of an unchanged folder that have changed.
sub list_some {
    my ($index, $batch, $size) = @_;
    my ($item, $name) = ($item_of[$index], $name_of[$index]);
    return if $listed{"$item\0$name"} || gone($index);
    return unless chdir $path_of[$index];
    my ($from, $to) = $first_of[$index]->@*;
    my ($packed, @others) = '';
    for (my $noted = $from; $noted < $to; $noted += 3) {
        next if $noted[$noted] ne 'f';
        my $entry = $noted[$noted + 1];
        look($entry) or next;
        cut_time($item);
        next if key() eq $noted[$noted + 2];
        $noted[$noted + 2] = lasting_key();
        $packed .= entry($item, $name, $entry, 0, [], undef, \@others) // next;
    }
    send_files($item, $name, $batch, $packed, \@others);
    $$size += 1 + @others;
    return;
}

sub list_file {
    my ($item, $batch) = @_;
    my ($it, @others) = $items[$item];
    chdir $it->{root} && look($it->{name}) or do { $count{unstable}++; return };
    cut_time($item);
    my $packed = entry($item, '', $it->{name}, 0, [], undef, \@others) // return;
    send_files($item, '', $batch, $packed, \@others);
    return;
}

sub send_files {
    my ($item, $name, $batch, $packed, $others) = @_;
    push @$batch, [$item, $name, [], \'', $others];
    send_frame('D', pack $folder_form, $item, 0, $name, 0, 0, 0, 0, 0, 0, '', '', scalar @$others, $packed);
}

# One entry that was just looked at, packed; and what is noted and kept of it.
sub entry {
    my ($item, $folder_name, $name, $is_message, $noted, $before, $others) = @_;
    my ($nlink, $uid, $gid, $mode, $inode, $size, undef, undef, $seconds, $nanoseconds) = fields();
    my ($kind, $must, $group, $shown) = (kind($mode), 0, 0, $name);
    my $is_linked = $kind eq 'f' && $nlink > 1;
    if ($kind eq 'f') {
        if (!$is_message) {
            my $proven = $before && ($before->{$name} // $unknown) eq key();
            $must = $items[$item]{kind} eq 'store' && !$proven ? 1 : 0;
            push @$noted, 'f', $name, lasting_key();
        }
        if ($is_linked) {
            $group = ($groups{linked($item)} //= [1 + keys %groups, $nlink])->[0];
            push $groups{linked($item)}->@*, "$item\0$folder_name";
            if ($is_message) {
                push @$noted, 'l', $name, key();
                $has_young_link ||= lasting_key() eq $unknown;
            }
        }
    }
    elsif ($kind eq 'l') { $shown = "$name\0" . (readlink($name) // return) }
    elsif ($kind eq '?') {
        refuse(full($items[$item], $folder_name) . "/$name");
    }
    push @$others, [$kind, $name, $size, $is_message, $is_linked ? linked($item) : undef, sign()];
    return pack $entry_form, $kind, $shown, $mode & 07777, owner($uid, $gid), $size, $seconds, $nanoseconds, $must, $group, $nlink;
}

sub owner {
    my ($uid, $gid) = @_;
    return $owners{"$uid $gid"} // do {
        my $number = keys %owners;
        send_frame('O', pack 'n/a* N n/a* N', getpwuid($uid) // '', $uid, getgrgid($gid) // '', $gid);
        $owners{"$uid $gid"} = $number;
    };
}

# --- links ----------------------------------------------------------------------------------------
# A file with several links may have some in folders that did not change. Those are listed too, so that
# the target sees every link: where the note knows them, else in the same mailbox, else anywhere.
sub serve_links {
    for my $search (\&noted_holders, \&near_holders, \&all_holders) {
        my %lacking = map { $_ => 1 } grep { $groups{$_}->$#* - 1 < $groups{$_}[1] } keys %groups or return;
        serve_queue(sub { }, map { [$item_of[$_], $name_of[$_]] } $search->(\%lacking));
    }
}

# By what the links of a file are known: item, inode, device. The note has the first two, which find no less.
sub linked { return join ' ', $_[0], unpack 'x32 Q x96 Q', $stat }

sub noted_holders {
    my ($lacking) = @_;
    return grep { is_unlisted($_) } map { ($holders{$_} // [])->@* } map { /^(.*) / } keys %$lacking;
}

sub near_holders {
    my ($lacking) = @_;
    my %near = map { (mailbox_of($_) => 1) } map { my @all = $groups{$_}->@*; @all[2 .. $#all] } keys %$lacking;
    return holders($lacking, grep { $near{mailbox_of("$item_of[$_]\0$name_of[$_]")} } unlisted());
}

sub all_holders { return holders($_[0], unlisted()) }

sub is_unlisted { return !gone($_[0]) && !$listed{"$item_of[$_[0]]\0$name_of[$_[0]]"} }

sub unlisted { return grep { is_unlisted($_) } 0 .. $#item_of }

# Which of these folders hold a file that is looked for.
sub holders {
    my ($lacking, @indexes) = @_;
    return grep {
        my $item = $item_of[$_];
        chdir $path_of[$_] and grep { look($_) && $lacking->{linked($item)} } names_here();
    } @indexes;
}

sub mailbox_of { my ($item, $name) = split /\0/, $_[0], 2; return "$item\0" . mailbox($name) }

`;
