/** The part of the mirror program that holds a connection open for the final pass, and its end. */
export const hold = String.raw`# --- held open ------------------------------------------------------------------------------------
# A process that has started, read the note and connected, and waits on a local socket for the word. So
# the pass that is in the downtime pays for none of it. It has no key: what is lost is made anew.
#   hold SOCKET HOURS TAG FOLDER ITEMS COMMAND...    ends when the connection stands
#   go SOCKET TAG       the pass; 6 if nothing (with this tag, of this note) is held; see above
#   release SOCKET      ends what is held

sub hold_all {
    my ($path, $hours, $tag, $for, $items_file, @command) = @_;
    $folder = $for;
    apart(sub {
        my ($ready) = @_;
        my $child = connect_to(@command);
        read_note($items_file);
        greet();
        start_scanners();
        socket(my $listener, PF_UNIX, SOCK_STREAM, 0) or die "can't make a socket: $!\n";
        unlink $path;
        bind($listener, pack_sockaddr_un($path)) && listen($listener, 5) or die "can't make $path: $!\n";
        $ready->();
        eval { await($listener, $path, $tag, time + $hours * 3600, $child) };
        unlink $path;
    });
}

# Runs WORK in a process of its own that outlives this connection; returns when WORK says that it is ready.
sub apart {
    my ($work) = @_;
    pipe(my $from, my $to) or die "no pipe: $!\n";
    my $child = fork // die "can't fork: $!\n";
    if ($child == 0) {
        close $from;
        POSIX::setsid();
        chdir '/';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        my $is_done = eval { $work->(sub { syswrite $to, "ready\n"; close $to; open STDERR, '>', '/dev/null' }); 1 };
        print STDERR $@ unless $is_done;
        POSIX::_exit($is_done ? 0 : 5);
    }
    close $to;
    my $said = <$from> // '';
    exit 5 if $said ne "ready\n";
}

# detach RUN PART/PARTS FOLDER ITEMS COMMAND...: a pass whose progress and end lie in RUN, for whoever looks.
sub detach {
    my ($run, @rest) = @_;
    unlink map { "$run/$_" } qw(code out fault progress total pid);
    apart(sub {
        my ($ready) = @_;
        put("$run/pid", "$$\n");
        $ready->();
        $run_folder = $run;
        open STDOUT, '>', "$run/out";
        open STDERR, '>', "$run/fault";
        my $is_done = eval { send_all(@rest); 1 };
        print STDERR $@ unless $is_done;
        STDOUT->flush;
        put("$run/code", $is_done ? "0\n" : "5\n");
    });
}

sub await {
    my ($listener, $path, $tag, $end, $child) = @_;
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
        unlink $path;
        my $number = $word =~ s/ lock ([0-9]*)$// ? $1 : '';
        if ($word ne "go $tag" || $noted_token eq '' || note_token() ne $noted_token) { print {$client} "fault 6 what is held is not of this pass\n"; return }
        obey($client, $child, $number);
        return;
    }
}

sub obey {
    my ($client, $child, $number) = @_;
    my $is_done = eval {
        lap('start');
        enlist($folder, $number);
        lock_folder($folder);
        send_frame('N', $number);
        pass($child);
        1;
    };
    print {$client} $is_done ? result() : "fault 5 $@";
    close $client;
    # Nobody waits for it any more.
    write_note() if $is_done;
    close $out;
    waitpid $child, 0;
}

`;
