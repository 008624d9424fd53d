/** The part of the mirror program that holds a connection open for the final pass, and its end. */
export const hold = String.raw`# --- held open ------------------------------------------------------------------------------------
# A process that has started, read the note and connected, and waits on a local socket for the word. So
# the pass that is in the downtime pays for none of it. It has no key: what is lost is made anew.
#   hold SOCKET HOURS TAG FOLDER ITEMS COMMAND...    returns when the connection stands
#   go SOCKET TAG       the pass; 6 if nothing (with this tag, of this note) is held
#   release SOCKET      ends what is held
use Socket;

sub hold_all {
    my ($path, $hours, $tag, $for, $items_file, @command) = @_;
    $folder = $for;
    my $child = connect_to(@command);
    read_note($items_file);
    greet();
    socket(my $listener, PF_UNIX, SOCK_STREAM, 0) or die "can't make a socket: $!\n";
    unlink $path;
    bind($listener, pack_sockaddr_un($path)) && listen($listener, 5) or die "can't make $path: $!\n";
    my ($holder_folder) = $path =~ m{^(.*)/}s;
    my $holder = fork // die "can't fork: $!\n";
    if ($holder) { put("$holder_folder/pid", "$holder\n"); print "held\n"; STDOUT->flush; POSIX::_exit(0) }
    POSIX::setsid();
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    chdir '/';
    my $end = time + $hours * 3600;
    my $code = eval { await($listener, $path, $tag, $end, $child, $items_file); 1 };
    unlink $path;
    POSIX::_exit(0);
}

sub await {
    my ($listener, $path, $tag, $end, $child, $items_file) = @_;
    while (time < $end) {
        my ($ready) = ('', '');
        vec($ready, fileno $listener, 1) = 1;
        vec($ready, fileno $in, 1) = 1;
        select($ready, undef, undef, 60) or next;
        # The target says nothing unasked: it has gone.
        return if vec($ready, fileno $in, 1);
        accept(my $client, $listener) or next;
        my $word = <$client> // next;
        chomp $word;
        return if $word eq 'release';
        if ($word eq 'ping') { print {$client} "held\n"; next }
        unlink $path;
        if ($word ne "go $tag" || $noted_token eq '' || note_token() ne $noted_token) { print {$client} "fault 6 what is held is not of this pass\n"; return }
        obey($client, $child, $items_file);
        return;
    }
}

sub obey {
    my ($client, $child, $items_file) = @_;
    my $is_done = eval { lap('start'); lock_folder($folder); pass($child, $items_file); 1 };
    print {$client} $is_done ? result() : "fault 5 $@";
    close $client;
    # Nobody waits for it any more.
    write_note() if $is_done;
    close $out;
    waitpid $child, 0;
}

sub speak {
    my ($path, $word) = @_;
    socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "can't make a socket: $!\n";
    connect($socket, pack_sockaddr_un($path)) or return;
    syswrite $socket, "$word\n";
    local $/;
    return <$socket> // '';
}

sub go {
    my ($path, $tag) = @_;
    my $said = speak($path, "go $tag") // "fault 6 nothing is held\n";
    if ($said =~ /^done /) { print $said; return }
    my ($code, $text) = $said =~ /^fault ([0-9]+) (.*)$/s ? ($1, $2) : (5, "the pass ended without a word\n");
    print STDERR $text;
    exit $code;
}

`;
