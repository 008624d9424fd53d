import { leaseIsOver } from '../../admission.ts';

/** The mirror program on the source: the streams of tar(1) by which mailboxes come, one or some side by side. */
export const streams = String.raw`# --- streams --------------------------------------------------------------------------------------
# tar here, whose list of names is a pipe, and tar there, behind a connection of its own. Each mailbox is given to
# a stream that wants one.
#   by               the program that makes less of it, or ''
#   reader, carrier  processes: tar, and the connection; 0 when they have ended
#   list, rest       where the names go, until it gets no more; what is still to be written there
#   fed              [name, stream, records] of the mailboxes that it was given
#   given, got       bytes of these, and bytes that tar has read
#   met              of files with several links, by inode: how many it has met, how many there are
my $tar = 'tar -c -b 512 --format=posix --pax-option=delete=atime --pax-option=delete=ctime --warning=none';
my %squeezers = (zstd => 'zstd -q', gzip => 'gzip -1');
my $given_ahead = 16_000_000;              # bytes that a stream is given before tar wants them

# How mailboxes are carried is tried, not guessed: so many streams, what makes less of them.
my $side_by_side = 4;
my $fast_enough = 120_000_000;       # bytes a second at which no other manner is tried
my $settling = 12_000_000;           # bytes of each stream that only fill what lies between the hosts,
my $trial = 32_000_000;              # and bytes by which its rate is told after that;
my $longest = 5;                     # or so many seconds, each
my $clearly = 110;                   # percent of the rate of what is simpler, from which on it is worth it

# Brings the mailboxes of WORK. Returns its streams, all of which have ended.
sub carry {
    my ($work) = @_;
    my ($by) = grep { $can_squeeze{$_} } qw(zstd gzip);
    $work->{manners} = [[1, ''], [$side_by_side, ''], $by ? [$side_by_side, $by] : ()];
    $work->@{qw(streams waiting noted)} = ([], [], 0);
    my ($bytes_before, $began) = ($seen_bytes, uptime());
    take_up($work, 0);
    while (1) {
        my @running = grep { is_running($_) } $work->{streams}->@*;
        my $got = 0;
        $got += $_->{got} for $work->{streams}->@*;
        $seen_bytes = $bytes_before + $got if $bytes_before + $got > $seen_bytes;
        show_progress();
        if (!@running) {
            last if $work->{next} == $work->{names}->@* || $work->{is_settled};
            # No connection came about, perhaps because there were so many.
            settle_on($work, 0);
        }
        judge($work, $got) unless $work->{is_settled};
        warm($work, $began) if @running == 1;
        my $given = grep { give($work, $_) } @running;
        # Where all have enough, there is time to note what comes later: so it is known soon how much there is.
        select undef, undef, undef, 0.02 unless $given || note_next($work);
    }
    cool($work);
    $count{streams} = $work->{manners}[$work->{manner}][0];
    return $work->{streams}->@*;
}

# From here on mailboxes are carried in this manner. Streams of another get no more.
sub take_up {
    my ($work, $number) = @_;
    my ($count, $by) = $work->{manners}[$number]->@*;
    $work->{manner} = $number;
    delete $work->{trial};
    cool($work) if $number > 0;
    my @open = grep { $_->{list} } $work->{streams}->@*;
    my @same = grep { $_->{by} eq $by } @open;
    my %stays = map { $_ => 1 } splice @same, 0, $count;
    close_list($_) for grep { !$stays{$_} } @open;
    push $work->{streams}->@*, map { start_stream($work, $by) } keys(%stays) + 1 .. $count;
}

sub settle_on {
    my ($work, $number) = @_;
    $work->{is_settled} = 1;
    take_up($work, $number) if $number != $work->{manner} || !grep { $_->{list} } $work->{streams}->@*;
}

# Tells the rate of a manner, once what others have begun is over; takes up the next where it is slow, and in
# the end the best.
sub judge {
    my ($work, $got) = @_;
    return if grep { !$_->{list} && ($_->{reader} || $_->{carrier}) } $work->{streams}->@*;
    my ($number, $now) = ($work->{manner}, uptime());
    my $count = $work->{manners}[$number][0];
    my $trial_of = $work->{trial} //= { since => $now, had => $got };
    my ($seconds, $bytes) = ($now - $trial_of->{since}, $got - $trial_of->{had});
    if (!$trial_of->{is_filled}) {
        $work->{trial} = { since => $now, had => $got, is_filled => 1 } if $bytes >= $settling * $count || $seconds >= $longest;
        return;
    }
    return if $bytes < $trial * $count && $seconds < $longest;
    $work->{rates}[$number] = $bytes / ($seconds || 0.01);
    if ($work->{rates}[$number] >= $fast_enough) { $work->{is_settled} = 1 }
    elsif ($number < $work->{manners}->$#*) { take_up($work, $number + 1) }
    else { settle_on($work, best($work->{rates}->@*)) }
}

# The number of the highest rate; of a later one only if it is clearly higher.
sub best {
    my $best = 0;
    for my $number (1 .. $#_) { $best = $number if $_[$number] * 100 > $_[$best] * $clearly }
    return $best;
}

sub start_stream {
    my ($work, $by) = @_;
    pipe(my $from, my $to) && pipe(my $listed, my $list) or die "no pipe: $!\n";
    widen($to);
    $list->blocking(0);
    my @words = (split(' ', $tar), $by ? ('-I', $squeezers{$by}) : (), '-C', $work->{path}, '--null', '-T', '-');
    my @command = $work->{command}->@*;
    # The first has the connection that the pass shares, whose other end says little meanwhile; the others one each.
    splice @command, 1, 0, '-S', 'none' if $command[0] eq 'ssh' && $work->{streams}->@*;
    $command[-1] .= " $by" if $by;
    # What tar complains of, a mailbox that has gone, the listing looks at again.
    my $reader = start_program({ in => $listed, out => $to, is_quiet => 1 }, @words);
    my $carrier = start_program({ in => $from }, @command);
    return { by => $by, reader => $reader, carrier => $carrier, list => $list, rest => '', fed => [], given => 0, got => 0, from_disk => 0, met => {} };
}

# Looks what a stream has done, and whether it has ended; is_whole if all of it arrived.
sub is_running {
    my ($stream) = @_;
    if ($stream->{reader}) {
        my ($got, $from_disk) = read_by($stream->{reader});
        $stream->@{qw(got from_disk)} = ($got, $from_disk) if $got > $stream->{got};
        if (waitpid($stream->{reader}, POSIX::WNOHANG()) != 0) {
            $stream->{reader} = 0;
            # 1: files changed or went meanwhile (tar(1)).
            $stream->{is_read} = $? >> 8 <= 1 && ($? & 127) == 0;
            close_list($stream);
        }
    }
    if (!$stream->{reader} && $stream->{carrier} && waitpid($stream->{carrier}, POSIX::WNOHANG()) != 0) {
        $stream->{carrier} = 0;
        $stream->{is_whole} = $stream->{is_read} && $? == 0;
        # By the other side's sshd or by its door, when the lease of the key is over; or the connection was lost.
        $count{refused_streams}++ if $? >> 8 == 255 || $? >> 8 == ${leaseIsOver};
    }
    return $stream->{reader} || $stream->{carrier};
}

sub close_list { close delete $_[0]{list} if $_[0]{list} }

# Notes a mailbox before it is given to a stream. True if one was left.
sub note_next {
    my ($work) = @_;
    my $number = $work->{noted}++;
    if ($number >= $work->{names}->@*) { $work->{noted} = $number; return 0 }
    my %met;
    my ($records, $messages, $bytes) = note_tree($work->{item}, $work->{names}[$number], \%met);
    push $work->{waiting}->@*, [$work->{names}[$number], $records, $bytes, \%met];
    $work->{messages} += $messages;
    $work->{bytes} += $bytes;
    show_total($work->@{qw(messages bytes)}) if $work->{noted} == $work->{names}->@*;
    return 1;
}

# Gives a stream its next mailbox, if it wants one. True if something was given.
sub give {
    my ($work, $stream) = @_;
    my $list = $stream->{list} or return 0;
    if ($stream->{rest} eq '') {
        if ($work->{next} == $work->{names}->@*) { close_list($stream); return 0 }
        # An empty pipe: tar is at the last mailbox that it was given, whatever it has read of the others.
        if (!unread($list)) { $stream->{given} = $stream->{got} }
        elsif ($stream->{given} - $stream->{got} >= $given_ahead) { return 0 }
        note_next($work) unless $work->{waiting}->@*;
        $work->{next}++;
        my ($name, $records, $bytes, $met) = (shift $work->{waiting}->@*)->@*;
        push $stream->{fed}->@*, [$name, $stream, $records];
        $stream->{given} += $bytes + 4096;
        $stream->{rest} = "./$name\0";
        for my $inode (keys %$met) {
            my $of = $stream->{met}{$inode} //= [0];
            $of->[0] += $met->{$inode}[0];
            $of->[1] = $met->{$inode}[1];
        }
    }
    syswrite $list, $stream->{rest} or return 0; # whole or not at all: pipe(7)
    $stream->{rest} = '';
    return 1;
}

# Bytes in a pipe that nobody has read (FIONREAD).
sub unread { my $count = pack 'i', 0; ioctl $_[0], $unread_number, $count or return 1; return unpack 'i', $count }

# Much of it comes from the disk: somebody who asks for it ahead of tar makes it come faster.
sub warm {
    my ($work, $began) = @_;
    return if defined $work->{warmer} || $work->{manner} > 0 || uptime() - $began < 0.2;
    my ($stream) = $work->{streams}->@*;
    return unless $stream->{reader};
    $work->{warmer} = 0;
    $work->{warmer} = warm_apart($stream, map { "$work->{path}/$_" } $work->{names}->@*) if $stream->{from_disk} > $stream->{got} / 4;
}

sub cool {
    my $warmer = delete $_[0]{warmer} or return;
    $_[0]{warmer} = 0;
    waitpid $warmer, 0 if kill 'TERM', $warmer;
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
    my ($stream, @stack) = @_;
    my $child = fork // return 0;
    return $child if $child;
    close $stream->{list} if $stream->{list}; # tar waits for its end
    my $reader = $stream->{reader};
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
