/** The part of the mirror program that speaks to the other end. */
export const wire = String.raw`# --- the connection -------------------------------------------------------------------------------
# Frames: one letter, the length in four bytes, so many bytes.
my ($in, $out);
my ($received, $at, $waiting) = ('', 0, '');

sub send_frame {
    $waiting .= $_[0] . pack('N', length $_[1]);
    $waiting .= $_[1];
    flush_frames() if length $waiting > $piece;
}

sub flush_frames {
    my $done = 0;
    while ($done < length $waiting) {
        my $count = syswrite $out, $waiting, length($waiting) - $done, $done;
        if (!defined $count) {
            if ($! == POSIX::EAGAIN) { hear(); next }
            my $fault = $!;
            while (1) { take_frame() } # it may have said why
            die "the other end is gone: $fault\n";
        }
        $done += $count;
    }
    $waiting = '';
}

# The source can't write at the moment. It reads meanwhile, whatever comes: else both ends might wait
# for the other to read.
sub hear {
    my ($reading, $writing) = ('', '');
    vec($reading, fileno $in, 1) = 1;
    vec($writing, fileno $out, 1) = 1;
    select($reading, $writing, undef, undef) > 0 or return;
    return unless vec $reading, fileno $in, 1;
    my $got = sysread $in, $received, $piece, length $received;
    while (defined $got && $got == 0) { take_frame() } # it may have said why
}

sub take {
    my ($count) = @_;
    while (length($received) - $at < $count) {
        if ($at > 0) { substr($received, 0, $at) = ''; $at = 0 }
        my $got = sysread $in, $received, $piece > $count ? $piece : $count, length $received;
        die "the connection was lost: $!\n" unless defined $got;
        die "the other end has ended\n" if $got == 0;
    }
    $at += $count;
    return substr $received, $at - $count, $count;
}

sub take_frame {
    my ($letter, $length) = unpack 'a N', take(5);
    my $payload = take($length);
    die "on the target: $payload" if $letter eq 'X';
    return ($letter, $payload);
}

sub expect_frame {
    my ($letter, $payload) = take_frame();
    die "unexpected answer: $letter\n" if $letter ne $_[0];
    return $payload;
}

# A larger pipe (F_SETPIPE_SZ) means fewer turns; where it is refused, it stays as it is.
sub widen { fcntl $_[0], 1031, my $size = 1_048_576 }

# A folder: item, whether all of it is there, name, mode, owner, mtime, ns. Then its plain messages, of
# one link, one owner and one mode: that mode, that owner, names parted by NUL, size and mtime of each.
# Then how many other entries.
my $folder_form = 'n C N/a* n n q> N n n N/a* N/a* N a*';

# Another entry: letter, name ("name NUL text" for a symbolic link), mode, owner, size, mtime,
# nanoseconds, whether its content must be sent whatever the target has, link group, links.
my $entry_form = 'a n/a* n n Q> q> N C N N';

# Sizes and times of plain messages travel as the processor has them.
my $byte_order = unpack('H*', pack 'L', 1);

`;
