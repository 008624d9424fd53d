/** The mirror program's end on the target. */
export const target = String.raw`# --- the target -----------------------------------------------------------------------------------
my @owners;
my (%is_real, %is_fresh, %touched, %set_last);     # by path of a folder; fresh: made in this pass
my (%links, $single);                   # link groups: [links on the source, paths...]
my (@requested, @batch, @answer, $folders_in_batch, %pool, %pooled, @doomed);
my %did = map { $_ => 0 } qw(renamed removed linked made fixed);

sub receive_all {
    ($folder, my $items_file, my $is_held) = @_;
    @items = read_items($items_file);
    open $in, '<&', \*STDIN;
    open $out, '>&', \*STDOUT;
    binmode $_ for $in, $out;
    send_frame('R', join ' ', $byte_order, grep { has_program($_) } qw(zstd gzip));
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

# --- what tar brings ------------------------------------------------------------------------------
# Into a folder of its own, where no link of an earlier pass can lead it astray. From there the mailboxes
# are renamed to their places.
sub staging { return "$_[0]{root}/.mail-cutover.tar" }

sub untar {
    my (undef, $items_file, $number, $by) = (@_, '');
    my $item = $number =~ /^[0-9]+$/ ? (read_items($items_file))[$number] : undef;
    die "refused: no such store\n" unless $item && $item->{kind} eq 'store';
    die "refused: no such program\n" unless $by =~ /^(?:zstd|gzip|)$/;
    -d $item->{root} or make_root($item->{root});
    my $staging = staging($item);
    mkdir $staging, 0700 or die "can't make $staging: $!\n";
    write_back($staging);
    my @words = ('tar', '-x', '-p', '-b', '512', '--warning=none', $by ? ('-I', $by) : (), '-C', $staging);
    exec { $words[0] } @words or die "can't run tar: $!\n";
}

# Brings to disk what tar has written by now, again and again until it ends: else all of it waits in memory for
# the end of the pass. A process of its own, which must not hold the connection open.
sub write_back {
    my ($path) = @_;
    my $tar = $$;
    return if fork // 1;
    POSIX::close($_) for 0 .. 255;
    sysopen(my $handle, $path, O_RDONLY) or POSIX::_exit(0);
    do { syscall($syncfs_number, fileno $handle); select undef, undef, undef, 1 } while getppid == $tar;
    POSIX::_exit(0);
}

# Answers which mailboxes are not here. What a tar that was cut off has left is put in its place before.
sub lacking {
    my ($number, @names) = named($_[0]);
    my $item = $items[$number] // die "refused: no such item\n";
    install($number, @names);
    touch_folder(full($item, '')); # where tar makes its folder
    answer('U', grep { !look(full($item, $names[$_])) } 0 .. $#names);
}

sub installed { answer('I', install(named($_[0]))) }

sub named { my ($number, $names) = unpack 'n a*', $_[0]; return ($number, split /\0/, $names) }

sub answer {
    my ($letter, @numbers) = @_;
    send_frame($letter, pack 'N*', @numbers);
    flush_frames();
}

# Mailboxes to their places, where nothing is. Returns the numbers of those that are there now.
sub install {
    my ($number, @names) = @_;
    my $item = $items[$number] // die "refused: no such item\n";
    my ($staging, @done) = staging($item);
    look($staging) or return;
    for my $index (0 .. $#names) {
        my $name = $names[$index];
        check_name($_) for split m{/}, $name, -1;
        my ($from, $to) = ("$staging/$name", full($item, $name));
        next if !look($from) || look($to);
        my $above = make_real($item, parent($name));
        touch_folder($above);
        # Not if the place is on another file system: then it is sent.
        push @done, $index if rename $from, $to;
    }
    remove_tree($staging);
    return @done;
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

# Before the first change in a folder: its mtime comes back at the end, unless the source's is set.
sub touch_folder {
    my ($path) = @_;
    return if exists $touched{$path};
    look($path) or return;
    $touched{$path} = [(fields())[8, 9]];
}

sub check_name {
    die "refused: a name that leaves its folder\n" if $_[0] eq '' || $_[0] eq '.' || $_[0] eq '..' || $_[0] =~ m{/}s;
}

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

sub remove_tree {
    my ($path) = @_;
    look($path) or return;
    if (found_kind($stat) ne 'd') { unlink $path or die "can't remove $path: $!\n"; $did{removed}++; return }
    delete @$_{$path} for \%is_real, \%is_fresh, \%touched, \%set_last;
    opendir(my $handle, $path) or die "can't read $path: $!\n";
    my @names = grep { $_ ne '.' && $_ ne '..' } readdir $handle;
    closedir $handle;
    remove_tree("$path/$_") for @names;
    rmdir $path or die "can't remove $path: $!\n";
    $did{removed}++;
}

# --- contents -------------------------------------------------------------------------------------
my ($content, $content_path);

sub write_whole {
    open_content();
    my $count = length $_[0];
    if ($count > 0) {
        my $done = syswrite $content, $_[0];
        die "can't write $content_path: $!\n" if !defined $done || $done != $count;
    }
    end_content(1);
}

sub write_content {
    my ($bytes) = @_;
    open_content() unless $content;
    my $done = 0;
    while ($done < length $bytes) {
        my $count = syswrite $content, $bytes, length($bytes) - $done, $done;
        die "can't write $content_path: $!\n" unless defined $count;
        $done += $count;
    }
}

# Under its own name where there is nothing: until its mtime is set it equals no file of the source.
sub open_content {
    die "refused: a content that was not asked for\n" unless @requested;
    my ($folder_path, $full) = $requested[0]->@[1, 2];
    $content_path = $full;
    my $flags = O_WRONLY | O_CREAT | O_EXCL;
    return if sysopen $content, $content_path, $flags, 0600;
    $content_path = temporary($folder_path);
    sysopen $content, $content_path, $flags, 0600 or die "can't make $full: $!\n";
}

sub end_content {
    my ($is_whole) = @_;
    open_content() if $is_whole && !$content;
    my (undef, $folder_path, $full, $mode, $owner, undef, $seconds, $nanoseconds) = (shift @requested)->@*;
    if ($is_whole) {
        # Always: a folder may give its own group to what is made in it.
        chown $owners[$owner]->@*, $content or die "can't give $full its owner: $!\n";
        if ($mode != 0600) { chmod $mode, $content or die "can't set the mode of $full: $!\n" }
        set_mtime($content, $seconds, $nanoseconds);
        close $content or die "can't write $full: $!\n";
        if ($content_path ne $full) { rename $content_path, $full or die "can't rename to $full: $!\n" }
    }
    else {
        unlink $content_path if $content;
        unlink $full;
    }
    undef $content;
}

# --- the end --------------------------------------------------------------------------------------
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
