/**
 * The program by which the source calls the target where only the target can open a connection, in Perl
 * as perl-base has it. It lies on both hosts; what it does is told in its own comments.
 */
export const meetingProgram = String.raw`#!/usr/bin/perl
# mail-cutover: lets the source of a pass call the target, where only the target can connect.
#
#   answer FOLDER SSH...       on the target: keeps a connection to the source, which waits. Each call gets
#                              FOLDER/forced-command, as from sshd. Ends when FOLDER/key is gone.
#   wait FOLDER                on the source, all that the target's key may start: one connection, waiting
#   call FOLDER HOST WORDS...  on the source, in place of ssh(1): takes a connection that waits
#
# Over a connection go "ready" from the source, then one line with the words of the call, then whatever
# the caller says. What the forced command says goes back in pieces, each after its length; 0 is a sign
# of life, and the last number is followed by the command's exit code.
use strict;
use warnings;
use Socket;
use POSIX ();

umask 077;
$SIG{PIPE} = 'IGNORE';

my $piece = 262_144;             # bytes
my ($beat, $patience) = (15, 75); # seconds: a sign of life, and how long the caller waits for one
my $opening = 30;                # seconds that the first connection may take
my $last = 0xffff_ffff;

sub put_all {
    my ($to, $bytes) = @_;
    my $done = 0;
    while ($done < length $bytes) {
        my $count = syswrite $to, $bytes, length($bytes) - $done, $done;
        return 0 unless defined $count;
        $done += $count;
    }
    return 1;
}

sub carry {
    my ($from, $to) = @_;
    my $bytes;
    while (sysread $from, $bytes, $piece) { put_all($to, $bytes) or return }
}

sub take {
    my ($from, $count) = @_;
    my $bytes = '';
    while (length $bytes < $count) { sysread($from, $bytes, $count - length $bytes, length $bytes) or return }
    return $bytes;
}

# Byte by byte: what follows the line is another's.
sub line {
    my ($from) = @_;
    my $line = '';
    while (defined(my $byte = take($from, 1))) { return $line if $byte eq "\n"; $line .= $byte }
    return;
}

# --- on the source --------------------------------------------------------------------------------
sub wait_here {
    my ($folder) = @_;
    my $path = "$folder/waiting.$$";
    my $listener;
    socket($listener, PF_UNIX, SOCK_STREAM, 0) && bind($listener, pack_sockaddr_un($path)) && listen($listener, 1)
        or die "can't make $path: $!\n";
    put_all(\*STDOUT, "ready\n");
    my $ready = '';
    vec($ready, fileno STDIN, 1) = 1;
    vec($ready, fileno $listener, 1) = 1;
    select $ready, undef, undef, undef;
    # The target says nothing unasked: it has gone.
    if (vec $ready, fileno STDIN, 1) { unlink $path; return }
    accept(my $caller, $listener) or die "can't take a call: $!\n";
    unlink $path;
    close $listener;
    put_all($caller, "\n"); # to this one only
    my $child = send_apart($caller);
    close STDIN;
    carry($caller, \*STDOUT);
    close STDOUT;
    waitpid $child, 0;
}

# Standard input to a socket. A process for each direction: one that waits keeps the other from nothing.
sub send_apart {
    my ($socket) = @_;
    my $child = fork // die "can't fork: $!\n";
    return $child if $child;
    close STDOUT;
    carry(\*STDIN, $socket);
    shutdown $socket, 1;
    POSIX::_exit(0);
}

sub call {
    my ($folder, undef, @words) = @_;
    my $socket = meet($folder);
    unless ($socket) { print STDERR "no connection of the target's is waiting\n"; exit 255 } # as ssh(1) does
    put_all($socket, join(' ', @words) . "\n");
    my $child = send_apart($socket);
    close STDIN;
    local $SIG{ALRM} = sub { kill 'TERM', $child; POSIX::_exit(255) };
    my $code = hear($socket);
    kill 'TERM', $child;
    exit $code;
}

# A connection that has waited, and is ours now; the next may be on its way.
sub meet {
    my ($folder) = @_;
    for (1 .. 300) {
        for my $path (glob "$folder/waiting.*") {
            socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "can't make a socket: $!\n";
            return $socket if connect($socket, pack_sockaddr_un($path)) && defined take($socket, 1);
        }
        select undef, undef, undef, 0.1;
    }
    return;
}

# What the forced command says, to whoever called; returns its exit code, as ssh(1) does 255 if it is lost.
sub hear {
    my ($socket) = @_;
    while (1) {
        alarm $patience;
        my $length = number($socket) // return 255;
        return number($socket) // 255 if $length == $last;
        my $bytes = $length > 0 ? take($socket, $length) : '';
        alarm 0;
        return 255 unless defined $bytes;
        put_all(\*STDOUT, $bytes) or return 255;
    }
}

sub number { my $bytes = take($_[0], 4) // return; return unpack 'N', $bytes }

# --- on the target --------------------------------------------------------------------------------
# Returns when the first connection stands; goes on in a process of its own.
sub answer {
    my ($folder, @ssh) = @_;
    pipe(my $told, my $tell) or die "no pipe: $!\n";
    my $child = fork // die "can't fork: $!\n";
    if ($child == 0) {
        close $told;
        POSIX::setsid();
        chdir '/';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        answer_each($folder, sub { syswrite $tell, "ready\n"; close $tell; open STDERR, '>', '/dev/null' }, @ssh);
        POSIX::_exit(5);
    }
    close $tell;
    local $SIG{ALRM} = sub { kill 'TERM', $child; print STDERR "no word from the other side\n"; POSIX::_exit(5) };
    alarm $opening;
    exit 5 if (<$told> // '') ne "ready\n";
    alarm 0;
}

sub answer_each {
    my ($folder, $stands, @ssh) = @_;
    my $idle;
    # Calls that are answered go on.
    $SIG{TERM} = sub { kill 'TERM', $idle if $idle; POSIX::_exit(0) };
    $SIG{CHLD} = 'IGNORE';
    my $file;
    open($file, '>', "$folder/answer.pid") && print {$file} "$$\n" or die "can't write $folder/answer.pid: $!\n";
    close $file;
    my $failures = 0;
    while (-e "$folder/key" && $failures < 30) {
        my ($from, $to);
        ($idle, $from, $to) = connect_by(@ssh);
        if ((line($from) // '') eq 'ready') {
            $failures = 0;
            if ($stands) { $stands->(); undef $stands }
            my $request = line($from);
            my $child = defined $request ? fork : undef;
            if (defined $child && $child == 0) { serve($folder, $request, $from, $to) }
        }
        elsif ($stands) { return }
        else { $failures++; sleep 2 } # whatever keeps it away may pass
        undef $idle;
    }
}

sub connect_by {
    my ($from, $to_us, $from_us, $to);
    pipe($from, $to_us) && pipe($from_us, $to) or die "no pipe: $!\n";
    my $child = fork // die "can't fork: $!\n";
    if ($child == 0) {
        $SIG{$_} = 'DEFAULT' for qw(TERM CHLD PIPE);
        open STDIN, '<&', $from_us;
        open STDOUT, '>&', $to_us;
        exec { $_[0] } @_ or POSIX::_exit(127);
    }
    return ($child, $from, $to);
}

sub serve {
    my ($folder, $request, $from, $to) = @_;
    # In a group of its own, as sshd does it: by that the lock ends it.
    POSIX::setsid();
    $SIG{$_} = 'DEFAULT' for qw(TERM CHLD);
    pipe(my $said, my $saying) or POSIX::_exit(5);
    my $command = fork // POSIX::_exit(5);
    if ($command == 0) {
        $SIG{PIPE} = 'DEFAULT';
        open STDIN, '<&', $from;
        open STDOUT, '>&', $saying;
        $ENV{SSH_ORIGINAL_COMMAND} = $request;
        exec 'sh', "$folder/forced-command" or POSIX::_exit(127);
    }
    close $_ for $from, $saying;
    while (1) {
        my $ready = '';
        vec($ready, fileno $said, 1) = 1;
        if (select($ready, undef, undef, $beat) == 0) { put_all($to, pack 'N', 0) or last; next }
        my $bytes = '';
        my $got = sysread($said, $bytes, $piece) or last;
        put_all($to, pack('N', $got) . $bytes) or last;
    }
    close $said;
    waitpid $command, 0;
    put_all($to, pack 'N N', $last, $? & 127 ? 128 + ($? & 127) : $? >> 8);
    POSIX::_exit(0);
}

my ($word, @rest) = @ARGV;
my %words = (answer => \&answer, wait => \&wait_here, call => \&call);
unless (eval { $words{$word}->(@rest); 1 }) {
    print STDERR $@;
    exit 5;
}
`;
