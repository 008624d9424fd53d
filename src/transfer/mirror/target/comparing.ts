/** The mirror program on the target: what is here beside what was listed, and what is done about it. */
export const comparing = String.raw`# --- comparing ------------------------------------------------------------------------------------
# Of one folder, as listed. What is as it must be is passed over quickly: it is nearly everything.
sub compare {
    my ($number, $is_full, $name, $mode, $owner, $seconds, $nanoseconds, $plain_mode, $plain_owner, $plain, $signs, $amount, $packed) = unpack $folder_form, $_[0];
    my $item = $items[$number] // die "refused: no such item\n";
    check_name($_) for split m{/}, $name, -1;
    die "refused: more than the file\n" if defined $item->{name} && ($is_full || $name ne '');
    my $path = make_real($item, $name);
    my $is_fresh = delete $is_fresh{$path};
    $set_last{$path} = [$mode, $owner, $seconds, $nanoseconds] if $is_full;
    chdir $path or die "can't enter $path: $!\n";
    unlink grep { /^\.mail-cutover\.([0-9]+)\.[0-9]+$/ && $1 != $$ } names_here() if defined $item->{name};
    my %have;
    if ($is_full && !$is_fresh) {
        opendir(my $handle, '.') or die "can't read $path: $!\n";
        for my $entry (readdir $handle) {
            next if $entry eq '.' || $entry eq '..';
            $have{$entry} = substr $stat, 0, 128 if syscall($statx_number, -100, $entry, 0x100, 0x7ff, $stat) == 0;
        }
    }
    my $of = $folders_in_batch++;
    my $number_of = 0;
    if ($plain ne '') {
        my $wanted = pack 'L L L S', 1, $owners[$plain_owner]->@*, 0100000 | $plain_mode;
        for my $entry (split /\0/, $plain, -1) {
            my $sign = substr $signs, $number_of * 20, 20;
            my $found = $have{$entry};
            if (defined $found && substr($found, 16, 14) eq $wanted && substr($found, 40, 8) . substr($found, 112, 12) eq $sign) {
                delete $have{$entry};
            }
            else {
                check_name($entry);
                die "refused: another file\n" if defined $item->{name};
                delete $have{$entry};
                my ($size, $when, $nano) = unpack 'Q q L', $sign;
                compare_file([$of, $number_of], $number, $path, $name, $entry, $found, $plain_mode, $plain_owner, $size, $when, $nano, 0, 0, 1);
            }
            $number_of++;
        }
    }
    my @fields = unpack "($entry_form)$amount", $packed;
    while (my ($kind, $entry, @wanted) = splice @fields, 0, 10) {
        my $text = $kind eq 'l' && $entry =~ s/\0(.*)$//s ? $1 : undef;
        check_name($entry);
        die "refused: another file\n" if defined $item->{name} && $entry ne $item->{name};
        look($entry) and $have{$entry} = $stat unless $is_full;
        my $found = delete $have{$entry};
        my $asked = [$of, $number_of++];
        if ($kind eq 'd') { compare_folder($asked, "$path/$entry", $found) }
        elsif ($kind eq 'l') { compare_link($path, $entry, $found, $text, @wanted) }
        else { compare_file($asked, $number, $path, $name, $entry, $found, @wanted) }
    }
    for my $extra (keys %have) { set_aside($number, $path, $name, $extra, $have{$extra}) }
}

sub compare_folder {
    my ($asked, $path, $found) = @_;
    my $kind = found_kind($found);
    return if $kind eq 'd';
    if ($kind ne '') { touch_folder(parent($path)); unlink $path }
    push @batch, [$asked];
}

sub compare_link {
    my ($path, $entry, $found, $text, $mode, $owner, undef, $seconds, $nanoseconds) = @_;
    my $kind = found_kind($found);
    my $full = "$path/$entry";
    if ($kind ne 'l' || readlink($full) ne $text) {
        touch_folder($path);
        if ($kind eq 'd') { remove_tree($full) } elsif ($kind ne '') { unlink $full }
        symlink $text, $full or die "can't make $full: $!\n";
        $did{made}++;
    }
    my ($uid, $gid) = $owners[$owner]->@*;
    POSIX::lchown($uid, $gid, $full) or die "can't give $full its owner: $!\n";
    set_mtime($full, $seconds, $nanoseconds);
}

sub compare_file {
    my ($asked, $number, $path, $name, $entry, $found, $mode, $owner, $size, $seconds, $nanoseconds, $must, $group, $nlink) = @_;
    my $full = "$path/$entry";
    my $may_lie_elsewhere = holds_messages($name) && is_message($entry);
    if (defined $found) {
        my $kind = found_kind($found);
        if ($kind eq 'f') {
            my (undef, undef, undef, undef, undef, $is_size, undef, undef, $is_seconds, $is_nanoseconds) = fields($found);
            if (!$must && $is_size == $size && $is_seconds == $seconds && $is_nanoseconds == $nanoseconds) {
                fix_owner($full, $found, $mode, $owner);
                note_link($group, $nlink, $full, unpack('x16 L', $found) > 1);
                return;
            }
            set_aside($number, $path, $name, $entry, $found) if $may_lie_elsewhere;
        }
        else {
            touch_folder($path);
            if ($kind eq 'd') { push_messages($number, $full, "$name/$entry"); vacate_folder($full) } else { unlink $full }
        }
    }
    my $place = $may_lie_elsewhere && !$must ? place($number, $name, $entry, $size, $seconds, $nanoseconds) : undef;
    push @batch, [$asked, $path, $full, $mode, $owner, $size, $seconds, $nanoseconds, $group, $nlink, $place];
}

# By what a message is known under another name.
sub place {
    my ($number, $name, $entry, $size, $seconds, $nanoseconds) = @_;
    my $end = index $entry, ':2,';
    my $base = $end < 0 ? $entry : substr $entry, 0, $end;
    return join "\0", $number, mailbox($name), $base, $size, $seconds, $nanoseconds;
}

# What the source does not have under this name. A message may be wanted under another one.
sub set_aside {
    my ($number, $path, $name, $entry, $found) = @_;
    my $kind = found_kind($found);
    my $full = "$path/$entry";
    touch_folder($path);
    if ($kind eq 'f' && holds_messages($name) && is_message($entry)) { offer($number, $path, $name, $entry, $found) }
    elsif ($kind eq 'd') {
        my $inner = $name eq '' ? $entry : "$name/$entry";
        push_messages($number, $full, $inner);
        push @doomed, $full;
    }
    else { unlink $full or die "can't remove $full: $!\n"; $did{removed}++ }
}

sub offer {
    my ($number, $path, $name, $entry, $found) = @_;
    my (undef, undef, undef, undef, undef, $size, undef, undef, $seconds, $nanoseconds) = fields($found);
    my $offer = ["$path/$entry", $path];
    push $pool{place($number, $name, $entry, $size, $seconds, $nanoseconds)}->@*, $offer;
    $pooled{"$path/$entry"} = $offer;
}

# Offers the messages in a folder that is to go.
sub push_messages {
    my ($number, $path, $name) = @_;
    opendir(my $handle, $path) or return;
    my @entries = grep { $_ ne '.' && $_ ne '..' } readdir $handle;
    closedir $handle;
    for my $entry (@entries) {
        look("$path/$entry") or next;
        my $kind = found_kind($stat);
        if ($kind eq 'd') { push_messages($number, "$path/$entry", "$name/$entry") }
        elsif ($kind eq 'f' && holds_messages($name) && is_message($entry)) { offer($number, $path, $name, $entry, $stat) }
    }
}

my $temporaries = 0;
sub temporary { return "$_[0]/.mail-cutover.$$." . $temporaries++ }

# A folder stands where a file must: it goes aside, with what is offered in it.
sub vacate_folder {
    my ($path) = @_;
    my $aside = temporary(parent($path));
    forget_folder($path);
    rename $path, $aside or die "can't move $path: $!\n";
    for my $inside (grep { index($_, "$path/") == 0 } keys %pooled) {
        my $offer = delete $pooled{$inside};
        $offer->[0] = $aside . substr $inside, length $path;
        $pooled{$offer->[0]} = $offer;
    }
    push @doomed, $aside;
}

sub fix_owner {
    my ($path, $found, $mode, $owner) = @_;
    my (undef, $uid, $gid, $is_mode) = unpack 'x16 L L L S', $found;
    my $wanted = $owners[$owner];
    my $is_owner = $uid == $wanted->[0] && $gid == $wanted->[1];
    return if $is_owner && ($is_mode & 07777) == $mode;
    chown $wanted->@*, $path or die "can't give $path its owner: $!\n" unless $is_owner;
    chmod $mode, $path or die "can't set the mode of $path: $!\n";
    $did{fixed}++;
}

# Remembered where either side has several links; put right at the end.
sub note_link {
    my ($group, $nlink, $path, $is_linked) = @_;
    return unless $group || $is_linked;
    $group ||= 's' . $single++;
    push(($links{$group} //= [$nlink])->@*, $path);
}

# All of a batch is known: renames what lies elsewhere, asks for the rest, removes what is left.
sub settle_batch {
    for my $entry (@batch) {
        my ($asked, $path, $full, $mode, $owner, undef, undef, undef, $group, $nlink, $place) = @$entry;
        if (!defined $full) { push @answer, @$asked; next }
        touch_folder($path);
        if ($group && $links{$group}) { note_link($group, $nlink, $full, 1); next }
        my $offer = defined $place && $pool{$place} ? shift $pool{$place}->@* : undef;
        if ($offer) {
            delete $pooled{$offer->[0]};
            vacate($full, $path);
            rename $offer->[0], $full or die "can't rename to $full: $!\n";
            $did{renamed}++;
            look($full) or die "lost: $full\n";
            fix_owner($full, $stat, $mode, $owner);
            note_link($group, $nlink, $full, unpack('x16 L', $stat) > 1);
            next;
        }
        note_link($group, $nlink, $full, 0) if $group;
        push @answer, @$asked;
        push @requested, $entry;
    }
    for my $offer (values %pooled) { unlink $offer->[0] or die "can't remove $offer->[0]: $!\n"; $did{removed}++ }
    remove_tree($_) for @doomed;
    send_frame('A', pack 'N*', @answer);
    (@batch, @answer, %pool, %pooled, @doomed) = ();
    $folders_in_batch = 0;
    flush_frames();
}

# A message that is offered lies where another belongs.
sub vacate {
    my ($full, $path) = @_;
    my $offer = delete $pooled{$full} or return;
    $offer->[0] = temporary($path);
    rename $full, $offer->[0] or die "can't move $full: $!\n";
    $pooled{$offer->[0]} = $offer;
}

sub forget_folder { my ($path) = @_; delete @$_{$path} for \%is_real, \%is_fresh, \%touched, \%set_last }

sub remove_tree {
    my ($path) = @_;
    look($path) or return;
    if (found_kind($stat) ne 'd') { unlink $path or die "can't remove $path: $!\n"; $did{removed}++; return }
    forget_folder($path);
    opendir(my $handle, $path) or die "can't read $path: $!\n";
    my @names = grep { $_ ne '.' && $_ ne '..' } readdir $handle;
    closedir $handle;
    remove_tree("$path/$_") for @names;
    rmdir $path or die "can't remove $path: $!\n";
    $did{removed}++;
}

`;
