/** The mirror program's end on the source. */
export const source = String.raw`# --- the source -----------------------------------------------------------------------------------
my (@items, $folder);
my (%owners, %groups);                  # groups: [number, links, folders...], by item and inode
my %listed;                             # by "item NUL folder": [item, folder, key, noted entries]
$count{$_} = 0 for qw(listed looked sent bytes unstable);

# The note of the last pass, an array a field: of folders, sorted so that what is below one follows it;
# and of their entries, three fields each. Letter f: a file to look at; l: a message with several links.
my ($noted_token, @item_of, @name_of, @path_of, @key_of, @first_of, @noted);
my (%known, %holders, %state);          # state by number: 'd' changed, 'f' some files did, 'g' gone

# A part of the mailboxes only; and those of the others, by item and path. See there.
my ($part, $parts, %elsewhere) = (1, 1);

my %can_squeeze;                        # programs that make less of a stream, of both hosts

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
    my @queue = scan();
    lap('scan');
    greet();
    my $answer = expect_frame('H');
    lap('connect');
    my $is_trusted = $answer eq 'trusted';
    forget_note() if !$is_trusted;
    find_elsewhere() if $parts > 1;
    if (!$is_trusted || $parts > 1) {
        bring_new($_, @command) for stores();
        ($doing, $seen_bytes) = ('comparing', 0);
        @queue = scan();
        lap('tar');
    }
    serve_queue(@queue);
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
    my ($order, @squeezers) = split ' ', expect_frame('R');
    die "the other host's numbers are of another order\n" if $order ne $byte_order;
    %can_squeeze = map { $_ => 1 } grep { has_program($_) } @squeezers;
}

sub result {
    my $answer = delete $count{answer};
    return join(' ', 'done', $answer, map { "$_=$count{$_}" } sort keys %count) . "\n";
}

sub random {
    open(my $source, '<:raw', '/dev/urandom') or die "no /dev/urandom: $!\n";
    read $source, my $bytes, $_[0];
    return $bytes;
}

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

# --- the first time -------------------------------------------------------------------------------
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
    # Only over the door that knows the word.
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

sub stores { return grep { $items[$_]{kind} eq 'store' } 0 .. $#items }

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

sub refuse {
    print STDERR "neither file, folder nor symbolic link: $_[0]\n";
    exit 4;
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

# --- the note -------------------------------------------------------------------------------------
my $note_head = 'mail-cutover note 2';

# Seconds by which the clock is ahead of the time since boot; changes when the clock is set.
sub clock {
    my $boot = slurp('/proc/sys/kernel/random/boot_id') // '';
    chomp $boot;
    return ($boot, sprintf '%.0f', time - uptime());
}

# The token of the note that is there now; '' if it proves nothing.
sub note_token {
    open(my $file, '<:raw', "$folder/transfer-note") or return '';
    my ($head, $token, $boot, $ahead) = map { my $line = <$file> // ''; chomp $line; $line } 1 .. 4;
    my ($boot_now, $ahead_now) = clock();
    return '' if $head ne $note_head || $token eq '' || $boot eq $boot_now && abs($ahead - $ahead_now) > 1;
    return $token;
}

sub read_note {
    @items = read_items($_[0]);
    $noted_token = note_token();
    return if $noted_token eq '';
    my $text = slurp("$folder/transfer-note") // '';
    my $start = 0;
    $start = index($text, "\n", $start) + 1 for 1 .. 4;
    my ($paths, $folders, $entries) = unpack "x$start N/a* N/a* N/a*", $text;
    my %number = map { $items[$_]{path} => $_ } grep { $items[$_]{kind} eq 'store' } 0 .. $#items;
    my @number = map { $number{$_} } split /\0/, $paths;
    @noted = unpack '(a n/a* a24)*', $entries;
    my @folders = unpack '(N N/a* a24 N)*', $folders;
    my $first = 0;
    for (my $index = 0; $index < @folders; $index += 4) {
        my $item = $number[$folders[$index]];
        add_known($item, $folders[$index + 1], $folders[$index + 2], $first, $folders[$index + 3]) if defined $item;
        $first += $folders[$index + 3] * 3;
    }
}

# A folder of the note, whose COUNT entries begin at FIRST in @noted.
sub add_known {
    my ($item, $name, $key, $first, $count) = @_;
    my ($index, $end) = (scalar @item_of, $first + $count * 3);
    $known{"$item\0$name"} = $index;
    push @item_of, $item;
    push @name_of, $name;
    push @path_of, full($items[$item], $name);
    push @key_of, $key;
    push @first_of, [$first, $end];
    for (my $entry = $first; $entry < $end; $entry += 3) {
        push $holders{"$item " . unpack 'x4 Q', $noted[$entry + 2]}->@*, $index if $noted[$entry] eq 'l';
    }
}

sub remember {
    for my $record ($_[0]->@*) {
        my ($item, $name, $key, $files) = @$record;
        my $first = @noted;
        push @noted, @$files;
        add_known($item, $name, $key, $first, @$files / 3);
    }
}

sub forget_note {
    (%known, %state, %holders) = ();
    (@item_of, @name_of, @path_of, @key_of, @first_of, @noted) = ();
    $noted_token = '';
}

sub write_note {
    my ($boot, $ahead) = clock();
    my ($folders, $entries) = ('', '');
    # Sorted as if "/" came before every other byte: what is below a folder follows it.
    my %order = map { my ($item, $name) = split /\0/, $_, 2; ($_ => pack('N', $item) . $name =~ tr{/}{\0}r) }
        (grep { !gone($known{$_}) && !$listed{$_} } keys %known),
        (grep { $listed{$_}->@* && $items[$listed{$_}[0]]{kind} eq 'store' } keys %listed);
    for my $id (sort { $order{$a} cmp $order{$b} } keys %order) {
        my ($item, $name, $key, @of) = $listed{$id}
            ? ($listed{$id}->@[0 .. 2], $listed{$id}[3]->@*)
            : do {
                my $index = $known{$id};
                my ($from, $to) = $first_of[$index]->@*;
                ($item_of[$index], $name_of[$index], $key_of[$index], @noted[$from .. $to - 1]);
            };
        $folders .= pack 'N N/a* a24 N', $item, $name, $key, @of / 3;
        $entries .= pack '(a n/a* a24)*', @of;
    }
    my $paths = join "\0", map { $_->{path} } @items;
    put("$folder/transfer-note", join("\n", $note_head, $noted_token, $boot, $ahead) . "\n" . pack('N/a* N/a* N/a*', $paths, $folders, $entries));
}

# --- what changed ---------------------------------------------------------------------------------
sub gone { return ($state{$_[0]} // '') eq 'g' }

# Looks at what was noted; returns what is to be listed.
sub scan {
    %state = map { (substr($_, 1) => substr $_, 0, 1) } changes();
    my (@queue, %stored);
    for my $index (sort { $a <=> $b } keys %state) {
        # Under a folder that is gone, or no folder any more, nothing is there. One above it has changed.
        mark_gone($index) if gone($index);
    }
    $stored{$item_of[$_]} = 1 for grep { $name_of[$_] eq '' && !gone($_) } 0 .. $#item_of;
    for my $index (sort { $a <=> $b } keys %state) {
        my ($item, $name) = ($item_of[$index], $name_of[$index]);
        push @queue, [$item, $name, $state{$index} eq 'f' ? $index : undef] unless gone($index);
    }
    $count{looked} = @item_of;
    return ((map { [$_, ''] } grep { !$stored{$_} } 0 .. $#items), with_other_holders(@queue));
}

# These folders, and those with other links of what lies in them. The latter would be asked for in the end
# (serve_links); here they cost no turn of their own.
sub with_other_holders {
    my %by_index = map { ($known{"$_->[0]\0$_->[1]"} => $_) } @_;
    my %inodes;
    for my $index (keys %by_index) {
        my ($entry, $end) = $first_of[$index]->@*;
        for (; $entry < $end; $entry += 3) {
            $inodes{"$item_of[$index] " . unpack 'x4 Q', $noted[$entry + 2]} = 1 if $noted[$entry] eq 'l';
        }
    }
    for my $index (grep { !$state{$_} } map { ($holders{$_} // [])->@* } keys %inodes) {
        $by_index{$index} = [$item_of[$index], $name_of[$index]];
    }
    return @by_index{sort { $a <=> $b } keys %by_index};
}

# A folder of the note and all below it.
sub mark_gone {
    my ($index) = @_;
    my ($item, $start) = ($item_of[$index], $name_of[$index] eq '' ? '' : "$name_of[$index]/");
    do { $state{$index++} = 'g' }
        while $index < @item_of && $item_of[$index] == $item && index($name_of[$index], $start) == 0;
}

# Words such as d12: folder 12 differs. In several processes: more than there are processors, because what is
# not in memory is waited for.
sub changes {
    my $last = $#item_of;
    my $parts = $last < 5000 ? 1 : 8;
    my (@others, @found);
    for my $part (1 .. $parts - 1) {
        my ($from, $to) = map { int($last * $_ / $parts) } $part, $part + 1;
        my $child = open(my $other, '-|') // die "can't fork: $!\n";
        if ($child == 0) {
            print join ' ', changes_among($from + 1, $to);
            STDOUT->flush;
            POSIX::_exit(0);
        }
        push @others, $other;
    }
    push @found, changes_among(0, int($last / $parts));
    local $/;
    for my $other (@others) {
        push @found, split ' ', <$other> // '';
        close $other or die "a second scan failed\n";
    }
    return @found;
}

sub changes_among {
    my ($from, $to) = @_;
    my @found;
    FOLDER: for my $index ($from .. $to) {
        my $path = $path_of[$index];
        if (syscall($statx_number, -100, $path, 0x100, 0x7ff, $stat) != 0) { push @found, "g$index"; next }
        if (substr($stat, 28, 12) . substr($stat, 96, 12) ne $key_of[$index]) {
            push @found, (kind(unpack 'x28 S', $stat) eq 'd' ? 'd' : 'g') . $index;
            next;
        }
        my ($entry, $end) = $first_of[$index]->@*;
        my $differs = 0;
        for (; $entry < $end; $entry += 3) {
            my $file = "$path/$noted[$entry + 1]";
            if (syscall($statx_number, -100, $file, 0x100, 0x7ff, $stat) != 0) { push @found, "d$index"; next FOLDER }
            next if substr($stat, 28, 12) . substr($stat, 96, 12) eq $noted[$entry + 2];
            # A message that is also another file may change under that other name.
            if ($noted[$entry] eq 'l') { push @found, "d$index"; next FOLDER }
            $differs = 1;
        }
        push @found, "f$index" if $differs;
    }
    return @found;
}

my $has_young_link; # in the folder that is listed: its key proves nothing

# --- listing --------------------------------------------------------------------------------------
# Lists the queue in batches. The next batch is on its way while the target compares the one before.
sub serve_queue {
    my @queue = @_;
    my @asked;
    while (@queue || @asked) {
        my ($size, $at_mailbox, $batch) = (0, '');
        # A mailbox is not parted: what moved within it is renamed only if both ends of the way are here.
        while (@queue && ($size < $batch_size || mailbox($queue[0][1]) eq $at_mailbox)) {
            my ($item, $name, $index) = (shift @queue)->@*;
            $at_mailbox = mailbox($name);
            $batch //= []; # a folder may be empty, and no longer so at the target
            unshift @queue, defined $index ? list_some($index, $batch, \$size) : list($item, $name, $batch, \$size);
        }
        if ($batch) { send_frame('B', ''); flush_frames(); push @asked, $batch }
        push @queue, serve(shift @asked) if @asked && (@asked > 1 || !@queue);
    }
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
    my (undef, $uid, $gid, $mode, undef, undef, undef, undef, $seconds, $nanoseconds) = fields();
    my $record = $listed{$id} = [$item, $name, lasting_key(), []];
    my $before = noted_files($id);
    my ($common, @plain, @others, @below);
    my ($signs, $packed, $with_messages) = ('', '', holds_messages($name));
    $has_young_link = 0;
    my $has_others = 0;
    opendir(my $handle, '.') or die "can't read $path: $!\n";
    for my $entry (readdir $handle) {
        my $is_message = $with_messages && $entry =~ /^[0-9]+\../s;
        next if !$is_message && ($entry eq '.' || $entry eq '..');
        next if syscall($statx_number, -100, $entry, 0x100, 0x7ff, $stat) != 0;
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
            $group = ($groups{"$item $inode"} //= [1 + keys %groups, $nlink])->[0];
            push $groups{"$item $inode"}->@*, "$item\0$folder_name";
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
    push @$others, [$kind, $name, $size, $is_message, $is_linked ? "$item $inode" : undef, sign()];
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
        serve_queue(map { [$item_of[$_], $name_of[$_]] } $search->(\%lacking));
    }
}

sub noted_holders { my ($lacking) = @_; return grep { is_unlisted($_) } map { ($holders{$_} // [])->@* } keys %$lacking }

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
        chdir $path_of[$_] and grep { look($_) && $lacking->{"$item " . unpack 'x32 Q', $stat} } names_here();
    } @indexes;
}

sub mailbox_of { my ($item, $name) = split /\0/, $_[0], 2; return "$item\0" . mailbox($name) }

# --- contents -------------------------------------------------------------------------------------
my $ahead = 24; # files that are opened, and asked of the disk, before the one that is read

# Sends what the target asks for: numbers of folder and entry. Returns the folders that it does not have.
sub serve {
    my ($batch) = @_;
    my @wanted = unpack 'N*', expect_frame('A');
    my (@below, @opened);
    while (@wanted || @opened) {
        while (@wanted && @opened < $ahead) {
            my ($of, $number) = splice @wanted, 0, 2;
            my ($item, $name, $plain, $signs, $others) = $batch->[$of]->@*;
            my $other = $number < @$plain ? undef : $others->[$number - @$plain];
            if (!$other) {
                my $sign = substr $$signs, $number * 20, 20;
                push @opened, open_ahead($item, $name, $plain->[$number], unpack('Q', $sign), 1, undef, $sign);
            }
            elsif ($other->[0] ne 'd') { push @opened, open_ahead($item, $name, $other->@[1 .. 5]) }
            else {
                my $inner = $name eq '' ? $other->[1] : "$name/$other->[1]";
                push @below, [$item, $inner] unless $listed{"$item\0$inner"} || $elsewhere{"$item\0$inner"};
                forget_below("$item\0$inner");
            }
        }
        send_content(shift @opened) if @opened;
    }
    flush_frames();
    if (defined $run_folder) {
        for my $of (@$batch) {
            $seen += $of->[2]->@* + $of->[4]->@*;
            $seen_bytes += $_ for unpack('(Q x12)*', $of->[3]->$*), map { $_->[2] } $of->[4]->@*;
        }
        show_progress();
    }
    return @below;
}

# The target lacks a folder that the note has: nothing below it is known.
sub forget_below {
    my ($id) = @_;
    mark_gone($known{$id}) if is_known($id);
}

# Adds to what is given: the file, open, or why it can't be.
sub open_ahead {
    my ($item, $name, $entry, $size) = @_;
    my $path = full($items[$item], $name) . "/$entry";
    my $file;
    if (sysopen $file, $path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) {
        syscall($fadvise_number, fileno $file, 0, 0, 3) if $size > 0; # POSIX_FADV_WILLNEED
        return [@_, $path, $file];
    }
    die "can't read $path: $!\n" unless grep { $! == $_ } POSIX::ENOENT, POSIX::ENOTDIR, POSIX::ELOOP, POSIX::ENXIO;
    return [@_, $path, undef];
}

sub send_content {
    my ($item, $name, $entry, $size, $is_message, $group, $sign, $path, $file) = $_[0]->@*;
    if (defined $file) {
        my $result = send_bytes($file, $path, $size, $is_message, $sign);
        if ($result ne 'gone') { $count{sent}++; $count{bytes} += $size }
        show_progress();
        return if $result eq 'same';
        send_frame('G', '') if $result eq 'gone';
    }
    else { send_frame('G', '') }
    # It went or changed while it was read: what the next pass finds there counts. Other links of it
    # may lie in folders that do not change.
    $count{unstable}++;
    for my $id ("$item\0$name", $group ? do { my @all = $groups{$group}->@*; @all[2 .. $#all] } : ()) {
        $listed{$id}[2] = $unknown if $listed{$id} && $listed{$id}->@*;
        $key_of[$known{$id}] = $unknown if exists $known{$id};
    }
}

# same: as it was listed. changed: no message, so all there is was sent. gone: a message that is not
# what was listed.
sub send_bytes {
    my ($file, $path, $size, $is_message, $sign) = @_;
    my $got = sysread $file, my $bytes, $size < $piece ? $size + 1 : $piece;
    # EISDIR: a folder has taken its name
    if (!defined $got) { return 'gone' if $! == POSIX::EISDIR; die "can't read $path: $!\n" }
    if (!look_at($file) || found_kind($stat) ne 'f') { return 'gone' }
    if ($got == $size && $size < $piece) {
        # Still what was listed? Its ctime may be another one, as renaming changes that.
        my $is_same = sign() eq $sign;
        return 'gone' if $is_message && !$is_same;
        send_frame('W', $bytes);
        return $is_same ? 'same' : 'changed';
    }
    my $sum = 0;
    while ($got > 0) {
        $sum += $got;
        return 'gone' if $sum > $size && $is_message;
        send_frame('C', $bytes);
        show_progress();
        last if $sum == $size && $got < $piece;
        $got = sysread $file, $bytes, $piece;
        die "can't read $path: $!\n" unless defined $got;
    }
    my $is_same = $sum == $size && look_at($file) && sign() eq $sign;
    return 'gone' if $is_message && !$is_same;
    send_frame('K', '');
    return $is_same ? 'same' : 'changed';
}

`;
