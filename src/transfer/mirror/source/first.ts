/** The mirror program on the source: mailboxes that the target does not have at all, brought by tar(1). */
export const first = String.raw`# --- the first time -------------------------------------------------------------------------------
# Mailboxes that the target does not have at all are brought by tar(1) at both ends: it needs half of the
# processor time a file. Each is noted before tar gets its name, as if a pass had just ended: what came,
# went or changed while tar read is found as the next pass would find it, and no message is looked at twice.
my $tar = 'tar -c -b 512 --format=posix --pax-option=delete=atime --pax-option=delete=ctime --warning=none';
my %squeezers = (zstd => 'zstd -q', gzip => 'gzip -1');
my $trial = 32_000_000;              # bytes after which the rate of a stream is judged
my $patience = 10;                   # seconds in which a stream on trial may stand still
my $worth_squeezing = 60_000_000;    # bytes a second: below that less to carry may be faster

sub bring_new {
    my ($item, @command) = @_;
    # Only where the forced command of a pass's key knows the word.
    return unless @command && $command[-1] =~ s/ mirror$/ tar $item/;
    my @units = grep { !$elsewhere{"$item\0$_"} && !is_known("$item\0$_") } units($item);
    my @lacking = map { $units[$_] } ask_which('U', $item, @units) or return;
    my %all = (item => $item, names => \@lacking, next => 0, messages => 0, bytes => 0);
    my ($by) = grep { $can_squeeze{$_} } qw(zstd gzip);
    my $rate = bring_by_tar(\%all, undef, $by ? $worth_squeezing : 0, @command) or return;
    # The way was slow. Is it faster with less to carry? If not, the rest goes as it is.
    if ($all{next} < @lacking) { bring_by_tar(\%all, $by, $rate, @command) or return }
    if ($all{next} < @lacking) { bring_by_tar(\%all, undef, 0, @command) }
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
            next unless is_folder($entry);
            my $inner = $name eq '' ? $entry : "$name/$entry";
            if ($all || is_folder("$entry/cur")) { push @units, $inner } else { push @above, $inner }
        }
    }
    return @units;
}

sub is_folder { return look($_[0]) && found_kind($stat) eq 'd' }

# What the note would say of a folder and all below it; how many files, how many bytes: of a file with several
# links once, as tar reads it once.
sub note_tree {
    my ($item, $top, $is_linked) = @_;
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
                $bytes += $size unless $links > 1 && $is_linked->{$inode}++;
                if (!$with_messages || $entry !~ /^[0-9]+\../s) { push @files, 'f', $entry, lasting_key() }
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

# One stream of mailboxes that have their turn. After a trial it ends where it does not reach LEAST bytes a
# second (0: no trial), and the others are left for the next. Returns its rate, undef if it failed.
sub bring_by_tar {
    my ($all, $by, $least, @command) = @_;
    my ($item, $names, $first) = $all->@{qw(item names next)};
    my $path = "$items[$item]{root}/.";
    pipe(my $from, my $to) && pipe(my $listed, my $list) or die "no pipe: $!\n";
    widen($to);
    $list->blocking(0);
    my @words = (split(' ', $tar), $by ? ('-I', $squeezers{$by}) : (), '-C', $path, '--null', '-T', '-');
    $command[-1] .= " $by" if $by;
    # What tar complains of, a mailbox that has gone, the listing looks at again.
    my $reader = start_program({ in => $listed, out => $to, is_quiet => 1 }, @words);
    my $carrier = start_program({ in => $from }, @command);
    close $_ for $from, $to, $listed;
    my ($began, $warmer, $rounds, $fed, $rate, $rest, @records) = (uptime(), 0, 0, 0, 0, '');
    my ($bytes_before, $is_on_trial, $had, $moved, %is_linked) = ($seen_bytes, $least > 0, 0, uptime());
    $doing = 'copying';
    while (waitpid($reader, POSIX::WNOHANG()) == 0) {
        my ($got, $from_disk) = read_by($reader);
        $seen_bytes = $bytes_before + $got if $bytes_before + $got > $seen_bytes;
        show_progress();
        # The clock runs from when there is something: connecting is not the rate.
        $began = uptime() if $got < 1_000_000;
        if ($got > $had) {
            ($had, $moved) = ($got, uptime());
            $rate = $got / ($moved - $began || 0.01) if $got >= 1_000_000;
        }
        # Where tar stands still it waits for more: what it was given is less by now, or cannot be read.
        if ($is_on_trial && $rest eq '' && $fed >= $trial && ($got >= $fed * 0.9 || uptime() - $moved > $patience)) {
            $is_on_trial = 0;
            undef $list if $rate < $least;
        }
        if ($list && $rest eq '' && $all->{next} < @$names && !($is_on_trial && $fed >= $trial)) {
            my ($records, $messages, $bytes) = note_tree($item, $names->[$all->{next}], \%is_linked);
            push @records, $records;
            $all->{messages} += $messages;
            $all->{bytes} += $bytes;
            $fed += $bytes;
            $rest = "./$names->[$all->{next}++]\0";
            show_total($all->@{qw(messages bytes)}) if $all->{next} == @$names;
        }
        if ($list && $rest ne '' && syswrite $list, $rest) { ($rest, $moved) = ('', uptime()); next } # whole or not at all: pipe(7)
        undef $list if $rest eq '' && $all->{next} == @$names;
        select undef, undef, undef, 0.05;
        # Much of it comes from the disk: somebody who asks for it ahead of tar makes it come faster.
        $warmer = warm_apart($reader, $list, map { "$path/$_" } $names->@[$first .. $#$names]) if !$warmer && $rounds++ == 4 && $from_disk > $got / 4;
    }
    # 1: files changed or went meanwhile (tar(1)).
    my $is_read = $? >> 8 <= 1 && ($? & 127) == 0;
    waitpid $warmer, 0 if $warmer && kill 'TERM', $warmer;
    waitpid $carrier, 0;
    my $is_whole = $is_read && $? == 0;
    my @names = $names->@[$first .. $all->{next} - 1];
    my @installed = ask_which('I', $item, @names);
    return unless $is_whole;
    $count{tar} += @installed;
    $count{"by_$by"} += @installed if $by;
    remember($records[$_]) for @installed;
    return $rate || 1;
}

sub start_program {
    my ($ends, @words) = @_;
    my $child = fork // die "can't fork: $!\n";
    return $child if $child;
    open STDIN, '<&', $ends->{in} if $ends->{in};
    open STDIN, '<', '/dev/null' unless $ends->{in};
    open STDOUT, '>&', $ends->{out} if $ends->{out};
    open STDOUT, '>', '/dev/null' unless $ends->{out};
    open STDERR, '>', '/dev/null' if $ends->{is_quiet};
    exec { $words[0] } @words or POSIX::_exit(127);
}

# Bytes that a process has read, and how many of them came from a disk (proc(5)).
sub read_by {
    my $text = slurp("/proc/$_[0]/io") // '';
    return map { $text =~ /^$_: ([0-9]+)/m ? $1 : 0 } qw(rchar read_bytes);
}

# Goes the way that tar goes, and asks the disk for each file before tar wants it; not too far ahead.
sub warm_apart {
    my ($reader, $list, @stack) = @_;
    my $child = fork // return 0;
    return $child if $child;
    close $list if $list; # tar waits for its end
    my ($asked, $got) = (0, 0);
    @stack = reverse @stack;
    while (defined(my $path = pop @stack)) {
        look($path) or next;
        my $kind = found_kind($stat);
        if ($kind eq 'd') {
            opendir(my $handle, $path) or next;
            push @stack, map { "$path/$_" } grep { $_ ne '.' && $_ ne '..' } reverse readdir $handle;
        }
        elsif ($kind eq 'f') {
            $asked += unpack 'x40 Q', $stat;
            sysopen(my $file, $path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or next;
            syscall($fadvise_number, fileno $file, 0, 0, 3);
            while ($asked > $got + 67_108_864) {
                POSIX::_exit(0) unless -e "/proc/$reader/io";
                last if $asked <= ($got = (read_by($reader))[0]) + 67_108_864;
                select undef, undef, undef, 0.01;
            }
        }
    }
    POSIX::_exit(0);
}

`;
