/** The mirror program on the source: one pass, its connection, its progress, its part of the mailboxes. */
export const pass = String.raw`# --- the source -----------------------------------------------------------------------------------
my (@items, $folder);
my (%owners, %groups);                  # groups: [number, links, folders...], by item and inode
my %listed;                             # by "item NUL folder": [item, folder, key, noted entries]
$count{$_} = 0 for qw(listed looked sent bytes unstable);

# The note of the last pass, an array a field: of folders, sorted so that what is below one follows it;
# and of their entries, three fields each. Letter f: a file to look at; l: a message with several links.
my ($noted_token, @item_of, @name_of, @path_of, @key_of, @first_of, @noted);
my (%known, %root_of, %holders, %state); # state by number: 'd' changed, 'f' some files did, 'g' gone

# A part of the mailboxes only; and those of the others, by item and path. See there.
my ($part, $parts, %elsewhere) = (1, 1);

my %can_squeeze;                        # programs that make less of a stream, of both hosts
my %is_coarse;                          # items for which the target keeps whole seconds only

# Of a detached pass: its folder, and how far it is.
my ($run_folder, $doing, $told, $seen, $seen_bytes) = (undef, 'comparing', 0, 0, 0);

sub send_all {
    (my $which, $folder, my $items_file, my @command) = @_;
    ($part, $parts) = split m{/}, $which;
    lap('start');
    lock_folder($folder);
    my $child = connect_to(@command);
    read_note($items_file);
    lap('note');
    pass($child, @command);
    close $out;
    waitpid $child, 0;
    lap('end');
    print result();
    leave() unless defined $run_folder;
    write_note();
}

# Whoever waits for the pass need not wait for what comes now.
sub leave {
    STDOUT->flush;
    my $child = fork // return;
    POSIX::_exit(0) if $child;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
}

# The pass itself, over a connection that is open.
sub pass {
    my ($child, @command) = @_;
    unlink "$folder/transfer-token"; # this host's own, of a pass in the other direction
    send_frame('H', $noted_token);
    flush_frames();
    begin_scan() if $parts == 1;
    greet();
    my $answer = expect_frame('H');
    lap('connect');
    my $is_trusted = $answer eq 'trusted';
    forget_note() if !$is_trusted;
    find_elsewhere() if $parts > 1;
    if (!$is_trusted || $parts > 1) {
        drop_scan();
        bring_new($_, @command) for stores();
        ($doing, $seen_bytes) = ('comparing', 0);
        lap('tar');
        begin_scan();
    }
    my @queue = next_changed(1);
    lap('scan');
    serve_queue(\&next_changed, @queue);
    serve_links();
    lap('copy');
    $noted_token = join '', map { sprintf '%02x', ord } split //, random(16);
    send_frame('E', $noted_token);
    flush_frames();
    $count{answer} = expect_frame('E');
    lap('finish');
}

# The first frame of the target: it runs, and its numbers look like ours.
my $greeted = 0;
sub greet {
    return if $greeted++;
    my ($order, $coarse, @squeezers) = split ' ', expect_frame('R');
    die "the other host's numbers are of another order\n" if $order ne $byte_order;
    %is_coarse = map { $_ => 1 } grep { /^[0-9]+$/ } split /,/, $coarse;
    %can_squeeze = map { $_ => 1 } grep { has_program($_) } @squeezers;
}

sub result {
    my $answer = delete $count{answer};
    return join(' ', 'done', $answer, map { "$_=$count{$_}" } sort keys %count) . "\n";
}

sub stores { return grep { $items[$_]{kind} eq 'store' } 0 .. $#items }

sub random {
    open(my $source, '<:raw', '/dev/urandom') or die "no /dev/urandom: $!\n";
    read $source, my $bytes, $_[0];
    return $bytes;
}

sub refuse { die "neither file, folder nor symbolic link: $_[0]\n" }

sub connect_to {
    pipe(my $from, my $to_us) && pipe(my $from_us, my $to) or die "no pipe: $!\n";
    my $child = fork // die "can't fork: $!\n";
    if ($child == 0) {
        open STDIN, '<&', $from_us;
        open STDOUT, '>&', $to_us;
        close $_ for $from, $to;
        exec { $_[0] } @_ or POSIX::_exit(127);
    }
    close $_ for $from_us, $to_us;
    ($in, $out) = ($from, $to);
    binmode $_ for $in, $out;
    widen($out);
    $out->blocking(0);
    return $child;
}

# --- progress -------------------------------------------------------------------------------------
# In the folder of a detached pass: "progress" says what is done at the moment, and with how many files
# and bytes; "total" how many there are, as soon as somebody has counted them.

sub show_progress {
    return if !defined $run_folder || $told == time;
    $told = time;
    eval { put("$run_folder/progress", "$doing $seen $seen_bytes\n") };
}

sub show_total {
    my ($messages, $bytes) = @_;
    return unless defined $run_folder;
    eval { put("$run_folder/total", "$messages $bytes\n") };
}

# --- parts ----------------------------------------------------------------------------------------
# A pass may be one of several, each with a part of the mailboxes: it leaves those of the others alone,
# but for changes in what earlier passes have brought. Which part has a mailbox follows from its path.
sub find_elsewhere {
    for my $item (stores()) {
        for my $unit (units($item)) {
            $elsewhere{"$item\0$unit"} = 1 if hash("$items[$item]{path}/$unit") % $parts != $part - 1;
        }
    }
}

# djb2
sub hash {
    my $hash = 5381;
    $hash = ($hash * 33 + $_) & 0xffff_ffff for unpack 'C*', $_[0];
    return $hash;
}

`;
