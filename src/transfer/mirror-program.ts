/**
 * The program that makes trees of the target what the source's are, in Perl as perl-base has it; the
 * same text runs at both ends of one connection. How it works and why it is right is told in its own
 * comments, because a person at the console of a host meets it there.
 *
 *     perl mirror.pl send    FOLDER ITEMS COMMAND...   on the source
 *     perl mirror.pl receive FOLDER ITEMS              on the target, as COMMAND's other end
 *
 * FOLDER keeps the note (source) and the token (target). ITEMS: a file of NUL-terminated pairs, kind
 * (`store`, `tree`, `file`) and path, as many and in the same order on both hosts.
 */
export const mirrorProgram = String.raw`#!/usr/bin/perl
# mail-cutover: makes trees here (receive) what they are at the other end of the connection (send).
#
# A directory is "listed" when the source sends all of its entries, with size, owner, mode, mtime, and
# the target reads its own and compares. What is not listed is left alone, so this must be sure:
#
#   The note. While the source lists a directory it notes the ctime that the directory had just before
#   it was read, and the ctime of every file in it that is not a message. The next pass lists only
#   directories whose ctime, inode or mode differ, and sends only other files for which they do.
#   A message, a file in cur or new with a name as Maildir makes them, never changes under its name,
#   and its coming, going and renaming change the directory.
#   - A ctime less than two seconds old when it was looked at proves nothing, as a later change could
#     bear the same one: it is noted as unknown. A clock that was set since makes all of them unknown.
#   - The note counts only with the token that the target wrote when that pass had ended well and was on
#     disk. The target drops its token before it changes anything. So after a pass that was cut off, or
#     with a host that was set back to an earlier state, everything is listed.
#
# A listed message that the target lacks may be there under other flags or in another folder of the
# same mailbox: same name up to ":2,", same size, same mtime to the nanosecond. It is renamed.
# Whatever else is lacking is sent. All names are bytes; owners travel by name.
use strict;
use warnings;
use Config;
use Fcntl;
use IO::Handle;
use POSIX ();

umask 077;
$SIG{PIPE} = 'IGNORE';

# Numbers of statx(2) and utimensat(2): perl-base has no other way to nanoseconds.
my %numbers = (
    x86_64 => [332, 280], aarch64 => [291, 88], riscv64 => [291, 88],
    powerpc64le => [383, 304], s390x => [379, 315],
);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my ($statx_number, $utimensat_number) = ($numbers{$machine} || [])->@*;

my $young = 2;               # seconds; see above
my $batch_size = 20_000;     # entries that the target compares at a time
my $piece = 262_144;         # bytes
my $unknown = "\0" x 22;     # a key that equals none

# --- files ----------------------------------------------------------------------------------------
my $stat = "\0" x 256;

# look PATH: lstat into $stat; false if there is nothing.
sub look {
    my $path = "$_[0]"; # syscall() takes what was ever used as a number for one
    return syscall($statx_number, -100, $path, 0x100, 0x7ff, $stat) == 0;
}

sub look_at {
    my $none = '';
    return syscall($statx_number, fileno $_[0], $none, 0x1000, 0x7ff, $stat) == 0;
}

# Inode, size and mtime, of what $stat holds.
sub identity { return substr($stat, 32, 16) . substr($stat, 112, 12) }

# What statx(2) has left in $stat: nlink uid gid mode inode size ctime ctime-ns mtime mtime-ns
sub fields { return unpack('x16 L L L S x2 Q Q x48 q L x4 q L', $stat) }

# By which a path is known again: mode, inode, ctime.
sub key { return substr($stat, 28, 2) . substr($stat, 32, 8) . substr($stat, 96, 12) }

# The same, or unknown where the ctime is too young to prove anything.
sub lasting_key {
    return unpack('x96 q', $stat) >= time - $young ? $unknown : key();
}

sub kind {
    my $type = $_[0] & 0170000;
    return $type == 0100000 ? 'f' : $type == 0040000 ? 'd' : $type == 0120000 ? 'l' : '?';
}

# set_mtime PATH-or-HANDLE SECONDS NANOSECONDS; the atime stays (UTIME_OMIT)
sub set_mtime {
    my $times = pack('q q q q', 0, 0x3ffffffe, $_[1], $_[2]);
    my $failed = ref $_[0]
        ? syscall($utimensat_number, fileno $_[0], 0, $times, 0)
        : syscall($utimensat_number, -100, my $path = $_[0], $times, 0x100);
    die "can't set the time of $_[0]: $!\n" if $failed;
}

sub slurp {
    open(my $file, '<:raw', $_[0]) or return;
    local $/;
    my $content = <$file>;
    return $content;
}

# Whole or not at all, and on disk.
sub put {
    my ($path, $content) = @_;
    open(my $file, '>:raw', "$path.new") or die "can't write $path: $!\n";
    print {$file} $content or die "can't write $path: $!\n";
    $file->flush && $file->sync or die "can't write $path: $!\n";
    close $file or die "can't write $path: $!\n";
    rename "$path.new", $path or die "can't write $path: $!\n";
    sync_folder($path);
}

sub drop {
    unlink $_[0] and sync_folder($_[0]);
}

sub sync_folder {
    my ($folder) = $_[0] =~ m{^(.*)/}s;
    sysopen(my $handle, $folder, O_RDONLY) or die "can't open $folder: $!\n";
    $handle->sync;
}

sub names_here {
    opendir(my $folder, '.') or die "can't read a folder: $!\n";
    return grep { $_ ne '.' && $_ ne '..' } readdir $folder;
}

# --- items ----------------------------------------------------------------------------------------
# Each has a root, a folder. Of a "file" item only the entry of that name belongs to it.
sub read_items {
    my @words = split /\0/, slurp($_[0]) // die("can't read $_[0]: $!\n");
    my @items;
    while (my ($kind, $path) = splice @words, 0, 2) {
        my %item = (kind => $kind, path => $path, root => $path);
        ($item{root}, $item{name}) = $path =~ m{^(.*)/([^/]+)$}s if $kind eq 'file';
        $item{root} = '/' if $item{root} eq '';
        push @items, \%item;
    }
    return @items;
}

# The path of a folder of an item; '' is its root. "/." because the root may be a symbolic link.
sub full {
    my ($item, $folder) = @_;
    return $folder eq '' ? "$item->{root}/." : "$item->{root}/$folder";
}

sub parent { my ($above) = $_[0] =~ m{^(.*)/}s; return $above // '' }

sub holds_messages { return $_[0] =~ m{(?:^|/)(?:cur|new)$}s }

# Strict on purpose: what is not known for a message is looked at each time.
sub is_message { return $_[0] =~ /^[0-9]+\.[^\/]/ }

# --- the connection -------------------------------------------------------------------------------
# Frames: one letter, the length in four bytes, so many bytes.
my ($in, $out);
my ($received, $at, $waiting) = ('', 0, '');

sub send_frame {
    my ($letter, $payload) = @_;
    $waiting .= $letter . pack('N', length $payload);
    $waiting .= $payload;
    flush_frames() if length $waiting > $piece;
}

sub flush_frames {
    my $done = 0;
    while ($done < length $waiting) {
        my $count = syswrite $out, $waiting, length($waiting) - $done, $done;
        if (!defined $count) {
            my $fault = $!;
            while (1) { take_frame() } # it may have said why
            die "the other end is gone: $fault\n";
        }
        $done += $count;
    }
    $waiting = '';
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

# An entry of a listing: letter, name ("name NUL text" for a symbolic link), mode, owner, size, mtime,
# nanoseconds, whether its content must be sent whatever the target has, link group, links.
my $entry_form = 'a n/a* n n Q> q> N C N N';
my $folder_form = 'n C N/a* n n q> N N';

# --- the source -----------------------------------------------------------------------------------
my (@items, $folder);
my (%note, @notes, %state, %listed);    # by "item NUL folder"
my (%owners, %groups);                  # groups: [number, links, folders...], by item and inode
my %count = map { $_ => 0 } qw(listed looked sent bytes unstable);

sub send_all {
    ($folder, my $items_file, my @command) = @_;
    lap('start');
    @items = read_items($items_file);
    my $child = connect_to(@command);
    my $old = read_note();
    send_frame('H', $old->{token});
    flush_frames();
    my @queue = scan($old);
    lap('scan');
    @queue = first_queue() if expect_frame('H') ne 'trusted';
    lap('connect');
    serve_queue(@queue);
    serve_links();
    lap('copy');
    my $token = join '', map { sprintf '%02x', ord } split //, random(16);
    send_frame('E', $token);
    flush_frames();
    my $answer = expect_frame('E');
    lap('finish');
    write_note($token);
    close $out;
    waitpid $child, 0;
    lap('end');
    print "done $answer", (map { " $_=$count{$_}" } sort keys %count), "\n";
}

# Milliseconds since the one before, into the counts.
my $lap;
sub lap {
    my ($now) = split ' ', slurp('/proc/uptime') // '0';
    $count{"ms_$_[0]"} = sprintf '%.0f', ($now - ($lap // $now)) * 1000;
    $lap = $now;
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
    return $child;
}

# Seconds by which the clock is ahead of the time since boot; changes when the clock is set.
sub clock {
    my ($uptime) = split ' ', slurp('/proc/uptime') // '0';
    my $boot = slurp('/proc/sys/kernel/random/boot_id') // '';
    chomp $boot;
    return ($boot, sprintf '%.0f', time - $uptime);
}

my $note_head = 'mail-cutover note 1';

# The note: a head, then for each folder: item path, folder, key, entries (letter, name, key).
# Letter f: a file to look at; l: a message with several links, to find the others.
sub read_note {
    my %old = (token => '', folders => []);
    my $text = slurp("$folder/transfer-note") // return \%old;
    my ($head, $token, $boot, $ahead) = split /\n/, $text, 5;
    return \%old if ($head // '') ne $note_head;
    my ($boot_now, $ahead_now) = clock();
    return \%old if $boot eq $boot_now && abs($ahead - $ahead_now) > 1;
    $old{token} = $token;
    my %number = map { $items[$_]{path} => $_ } grep { $items[$_]{kind} eq 'store' } 0 .. $#items;
    my $where = length(join "\n", $head, $token, $boot, $ahead) + 1;
    while ($where < length $text) {
        my ($size) = unpack 'N', substr $text, $where, 4;
        my ($path, $name, $key, @entries) = unpack 'N/a* N/a* a22 N/(a n/a* a22)', substr $text, $where + 4, $size;
        $where += 4 + $size;
        push $old{folders}->@*, [$number{$path}, $name, $key, \@entries] if defined $number{$path};
    }
    return \%old;
}

sub write_note {
    my ($boot, $ahead) = clock();
    my $text = join("\n", $note_head, $_[0], $boot, $ahead) . "\n";
    # A folder may have been noted twice: the later one counts. Sorted, each comes after the one above it.
    my %last = map { ("$_->[0]\0$_->[1]" => $_) } @notes;
    for my $record (@last{sort keys %last}) {
        next unless $items[$record->[0]]{kind} eq 'store';
        my $packed = pack 'N/a* N/a* a22 N (a n/a* a22)*', $items[$record->[0]]{path}, $record->@[1, 2], $record->[3]->@* / 3, $record->[3]->@*;
        $text .= pack('N', length $packed) . $packed;
    }
    put("$folder/transfer-note", $text);
}

# Looks at what was noted; returns what is to be listed.
sub scan {
    my ($old) = @_;
    my $folders = $old->{folders};
    my (%changed, @queue, %stored);
    $changed{$_} = 1 for changes($folders);
    for my $index (0 .. $folders->$#*) {
        my $record = $folders->[$index];
        my ($item, $name, $key, $entries) = $record->@*;
        # A folder that is gone, or under one that is: a folder above it has changed.
        next if exists $changed{"g$index"} || $name ne '' && !exists $state{"$item\0" . parent($name)};
        $stored{$item} = 1;
        if ($changed{"d$index"}) {
            $state{"$item\0$name"} = 'changed';
            $note{"$item\0$name"} = { $entries->@* ? map { ($entries->[$_ * 3 + 1] => $entries->[$_ * 3 + 2]) } 0 .. $entries->@* / 3 - 1 : () };
            push @queue, [$item, $name];
            next;
        }
        $state{"$item\0$name"} = 'same';
        push @notes, $record;
        if (my $files = $changed{"f$index"}) { push @queue, [$item, $name, $record] }
    }
    $count{looked} = $folders->@*;
    push @queue, map { [$_, ''] } grep { !$stored{$_} } 0 .. $#items;
    return @queue;
}

sub first_queue {
    (%note, %state) = ();
    @notes = ();
    return map { [$_, ''] } 0 .. $#items;
}

# Words such as d12: folder 12 differs (g: is gone; f: has files that differ). In two processes.
sub changes {
    my ($folders) = @_;
    my $last = $folders->$#*;
    return changes_among($folders, 0, $last) if $last < 5000;
    my $half = int $last / 2;
    my $child = open(my $other, '-|') // die "can't fork: $!\n";
    if ($child == 0) {
        print join ' ', changes_among($folders, $half + 1, $last);
        STDOUT->flush;
        POSIX::_exit(0);
    }
    my @found = changes_among($folders, 0, $half);
    local $/;
    push @found, split ' ', <$other> // '';
    close $other or die "the second scan failed\n";
    return @found;
}

sub changes_among {
    my ($folders, $from, $to) = @_;
    my @found;
    for my $index ($from .. $to) {
        my ($item, $name, $key, $entries) = $folders->[$index]->@*;
        my $path = full($items[$item], $name);
        if (!look($path) || kind(unpack 'x28 S', $stat) ne 'd') { push @found, "g$index"; next }
        if (key() ne $key) { push @found, "d$index"; next }
        for (my $entry = 0; $entry < $entries->@*; $entry += 3) {
            next if $entries->[$entry] ne 'f';
            next if look("$path/$entries->[$entry + 1]") && key() eq $entries->[$entry + 2];
            push @found, "f$index";
            last;
        }
    }
    return @found;
}

# Lists the queue in batches. The next batch is on its way while the target compares the one before.
sub serve_queue {
    my @queue = @_;
    my @asked;
    while (@queue || @asked) {
        my (@entries, $is_batch);
        while (@queue && @entries < $batch_size) {
            my ($item, $name, $record) = (shift @queue)->@*;
            $is_batch = 1; # a folder may be empty, and no longer so at the target
            unshift @queue, $record ? list_some($item, $name, $record, \@entries) : list($item, $name, \@entries);
        }
        if ($is_batch) { send_frame('B', ''); flush_frames(); push @asked, \@entries }
        push @queue, serve(shift @asked) if @asked && (@asked > 1 || !@queue);
    }
}

# Sends all of a folder. Returns the folders below it that are to be listed too.
sub list {
    my ($item, $name, $entries) = @_;
    my $it = $items[$item];
    return if $listed{"$item\0$name"}++;
    return list_file($item, $entries) if $it->{kind} eq 'file';
    my $path = full($it, $name);
    unless (look($path) && kind(unpack 'x28 S', $stat) eq 'd' && chdir $path && look('.')) {
        $count{unstable}++;
        return;
    }
    my (undef, $uid, $gid, $mode, undef, undef, undef, undef, $seconds, $nanoseconds) = fields();
    my @record = ($item, $name, lasting_key(), []);
    my ($before, @below, @packed) = ($note{"$item\0$name"});
    my $with_messages = holds_messages($name);
    for my $entry (names_here()) {
        look($entry) or next;
        my $is_message = $with_messages && is_message($entry);
        my $packed = entry($item, $name, $entry, $is_message, $record[3], $before, $entries) // next;
        push @packed, $packed;
        next if substr($packed, 0, 1) ne 'd';
        my $inner = $name eq '' ? $entry : "$name/$entry";
        push @below, [$item, $inner] unless exists $state{"$item\0$inner"} || $listed{"$item\0$inner"};
    }
    send_folder($item, 1, $name, $mode, owner($uid, $gid), $seconds, $nanoseconds, \@packed);
    push @notes, \@record;
    $count{listed}++;
    return @below;
}

# Sends those files of an unchanged folder that have changed.
sub list_some {
    my ($item, $name, $record, $entries) = @_;
    return if $listed{"$item\0$name"};
    my $path = full($items[$item], $name);
    return unless chdir $path;
    my ($noted, @packed) = ($record->[3]);
    for (my $index = 0; $index < $noted->@*; $index += 3) {
        next if $noted->[$index] ne 'f';
        my $entry = $noted->[$index + 1];
        look($entry) or next;
        next if key() eq $noted->[$index + 2];
        $noted->[$index + 2] = lasting_key();
        push @packed, entry($item, $name, $entry, 0, [], undef, $entries) // next;
    }
    send_folder($item, 0, $name, 0, 0, 0, 0, \@packed);
    return;
}

sub list_file {
    my ($item, $entries) = @_;
    my $it = $items[$item];
    chdir $it->{root} && look($it->{name}) or do { $count{unstable}++; return };
    send_folder($item, 0, '', 0, 0, 0, 0, [entry($item, '', $it->{name}, 0, [], undef, $entries)]);
    return;
}

sub send_folder {
    my ($item, $is_full, $name, $mode, $owner, $seconds, $nanoseconds, $packed) = @_;
    send_frame('D', pack($folder_form, $item, $is_full, $name, $mode & 07777, $owner, $seconds, $nanoseconds, scalar @$packed) . join '', @$packed);
}

# One entry that was just looked at, packed; and what is noted and kept of it.
sub entry {
    my ($item, $folder_name, $name, $is_message, $noted, $before, $entries) = @_;
    my ($nlink, $uid, $gid, $mode, $inode, $size, undef, undef, $seconds, $nanoseconds) = fields();
    my ($kind, $must, $group, $shown) = (kind($mode), 0, 0, $name);
    if ($kind eq 'f') {
        if (!$is_message) {
            my $proven = $before && ($before->{$name} // $unknown) eq key();
            $must = $items[$item]{kind} eq 'store' && !$proven ? 1 : 0;
            push @$noted, 'f', $name, lasting_key();
        }
        if ($nlink > 1) {
            $group = ($groups{"$item $inode"} //= [1 + keys %groups, $nlink])->[0];
            push $groups{"$item $inode"}->@*, "$item\0$folder_name";
            push @$noted, 'l', $name, key() if $is_message;
        }
    }
    elsif ($kind eq 'l') { $shown = "$name\0" . (readlink($name) // return) }
    elsif ($kind eq '?') {
        print STDERR "neither file, folder nor symbolic link: ", full($items[$item], $folder_name), "/$name\n";
        exit 4;
    }
    push @$entries, [$kind, $item, $folder_name, $name, $size, $is_message, $nlink > 1 && $kind eq 'f' ? "$item $inode" : undef, identity()];
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

# A file with several links may have some in folders that did not change. Those are listed too, so that
# the target sees every link: where the note knows them, else in the same mailbox, else anywhere.
sub serve_links {
    for my $search (\&noted_holders, \&near_holders, \&all_holders) {
        my %lacking = map { $_ => 1 } grep { $groups{$_}->$#* - 1 < $groups{$_}[1] } keys %groups or return;
        serve_queue($search->(\%lacking));
    }
}

sub noted_holders {
    my ($lacking) = @_;
    return grep {
        my ($item, $entries) = ($_->[0], $_->[3]);
        grep { $lacking->{"$item " . unpack 'x2 Q', $entries->[$_ * 3 + 2]} } 0 .. $entries->@* / 3 - 1;
    } map { [$_->@[0, 1], undef, $_->[3]] } unlisted();
}

sub near_holders {
    my ($lacking) = @_;
    my %near = map { (mailbox_of($_) => 1) } map { my @all = $groups{$_}->@*; @all[2 .. $#all] } keys %$lacking;
    return holders($lacking, grep { $near{mailbox_of("$_->[0]\0$_->[1]")} } unlisted());
}

sub all_holders { return holders($_[0], unlisted()) }

sub unlisted { return grep { !$listed{"$_->[0]\0$_->[1]"} } @notes }

# Which of these folders hold a file that is looked for.
sub holders {
    my ($lacking, @folders) = @_;
    return map { [$_->@[0, 1]] } grep {
        my $item = $_->[0];
        chdir full($items[$item], $_->[1])
            and grep { look($_) && $lacking->{"$item " . unpack 'x32 Q', $stat} } names_here();
    } @folders;
}

sub mailbox_of { my ($item, $name) = split /\0/, $_[0], 2; return "$item\0" . mailbox($name) }

# The mailbox of a folder with messages: above cur or new, and above a folder of Maildir++ (".Sent").
sub mailbox {
    my $above = parent($_[0]);
    return $above =~ m{^(?:(.*)/)?\.[^/]*$}s ? $1 // '' : $above;
}

# Sends what the target asks for. Returns the folders that it does not have.
sub serve {
    my ($entries) = @_;
    my $wanted = expect_frame('A');
    my @below;
    for my $index (0 .. $#$entries) {
        next unless vec $wanted, $index, 1;
        my $entry = $entries->[$index];
        if ($entry->[0] eq 'd') {
            my ($item, $inner) = ($entry->[1], $entry->[2] eq '' ? $entry->[3] : "$entry->[2]/$entry->[3]");
            push @below, [$item, $inner] unless $listed{"$item\0$inner"};
            forget_below($item, $inner);
        }
        else { send_content($entry) }
    }
    flush_frames();
    return @below;
}

# The target lacks a folder that the note has: nothing below it is known.
sub forget_below {
    my ($item, $name) = @_;
    my $start = "$item\0$name";
    return unless exists $state{$start};
    delete $state{$_} for grep { $_ eq $start || index($_, "$start/") == 0 } keys %state;
    @notes = grep { $_->[0] != $item || $listed{"$item\0$_->[1]"} || ($_->[1] ne $name && index($_->[1], "$name/") != 0) } @notes;
}

sub send_content {
    my ($kind, $item, $name, $entry, $size, $is_message, $group, $identity) = $_[0]->@*;
    my $path = full($items[$item], $name) . "/$entry";
    if (sysopen my $file, $path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) {
        my $is_whole = -f $file && send_bytes($file, $path, $size, $is_message);
        # Still what was listed? Its ctime may be another one, as renaming changes that.
        my $is_same = $is_whole && look_at($file) && identity() eq $identity;
        if ($is_same || $is_whole && !$is_message) {
            send_frame('K', '');
            $count{sent}++;
            $count{bytes} += $size;
            return if $is_same;
        }
        else { send_frame('G', '') }
    }
    elsif (grep { $! == $_ } POSIX::ENOENT, POSIX::ENOTDIR, POSIX::ELOOP, POSIX::ENXIO) { send_frame('G', '') }
    else { die "can't read $path: $!\n" }
    # It went or changed while it was read: what the next pass finds there counts. Other links of it
    # may lie in folders that do not change.
    $count{unstable}++;
    my %affected = map { $_ => 1 } "$item\0$name", $group ? do { my @all = $groups{$group}->@*; @all[2 .. $#all] } : ();
    for my $record (@notes) { $record->[2] = $unknown if $affected{"$record->[0]\0$record->[1]"} }
}

# False if a message is not as long as listed. Of another file that is being written, all there is.
sub send_bytes {
    my ($file, $path, $size, $is_message) = @_;
    my $left = $size;
    while (1) {
        my $got = sysread $file, my $bytes, $left >= 0 && $left < $piece ? $left + 1 : $piece;
        die "can't read $path: $!\n" unless defined $got;
        return $left == 0 || !$is_message if $got == 0;
        $left -= $got;
        return 0 if $left < 0 && $is_message;
        send_frame('C', $bytes);
        return 1 if $left == 0 && $got == $size;
    }
}

# --- the target -----------------------------------------------------------------------------------
my @owners;
my (%is_real, %touched, %set_last);     # by path of a folder
my (%links, $single);                   # link groups: [links on the source, paths...]
my (@requested, @batch, %pool, %pooled, @doomed);
my %did = map { $_ => 0 } qw(renamed removed linked made fixed);

sub receive_all {
    ($folder, my $items_file) = @_;
    @items = read_items($items_file);
    open $in, '<&', \*STDIN;
    open $out, '>&', \*STDOUT;
    binmode $_ for $in, $out;
    my $token = expect_frame('H');
    my $is_trusted = $token ne '' && "$token " . roots() eq (slurp("$folder/transfer-token") // '');
    drop("$folder/transfer-token");
    send_frame('H', $is_trusted ? 'trusted' : 'no');
    flush_frames();
    while (1) {
        my ($letter, $payload) = take_frame();
        if ($letter eq 'C') { write_content($payload) }
        elsif ($letter eq 'K' || $letter eq 'G') { end_content($letter eq 'K') }
        elsif ($letter eq 'D') { compare($payload) }
        elsif ($letter eq 'O') { push @owners, ids(unpack 'n/a* N n/a* N', $payload) }
        elsif ($letter eq 'B') { settle_batch() }
        elsif ($letter eq 'E') { finish($payload); last }
        else { die "unexpected frame: $letter\n" }
    }
}

# The stores' own folders, by inode and mtime: one that was wiped, or put in place anew, is not the one
# that the token speaks of. What else somebody changed here, the comparison after the pass finds.
sub roots {
    return join ' ', map { look("$_->{root}/.") ? unpack('H*', identity()) : 'none' } grep { $_->{kind} eq 'store' } @items;
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
        unless (look($path) && kind(unpack 'x28 S', $stat) eq 'd') {
            touch_folder($above);
            unlink $path;
            mkdir $path, 0700 or die "can't make $path: $!\n";
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

sub compare {
    my ($payload) = @_;
    my ($number, $is_full, $name, $mode, $owner, $seconds, $nanoseconds, $amount) = unpack $folder_form, $payload;
    my $item = $items[$number] // die "refused: no such item\n";
    check_name($_) for split m{/}, $name, -1;
    die "refused: more than the file\n" if defined $item->{name} && ($is_full || $name ne '');
    my $path = make_real($item, $name);
    $set_last{$path} = [$mode, $owner, $seconds, $nanoseconds] if $is_full;
    my @fields = unpack "($entry_form)$amount", substr $payload, 27 + length $name;
    chdir $path or die "can't enter $path: $!\n";
    unlink grep { /^\.mail-cutover\.([0-9]+)\.[0-9]+$/ && $1 != $$ } names_here() if defined $item->{name};
    my %have;
    if ($is_full) { look($_) and $have{$_} = $stat for names_here() }
    while (my ($kind, $entry, @wanted) = splice @fields, 0, 10) {
        my $text = $kind eq 'l' && $entry =~ s/\0(.*)$//s ? $1 : undef;
        check_name($entry);
        die "refused: another file\n" if defined $item->{name} && $entry ne $item->{name};
        look($entry) and $have{$entry} = $stat unless $is_full;
        my $found = delete $have{$entry};
        push @batch, [0];
        if ($kind eq 'd') { compare_folder("$path/$entry", $found) }
        elsif ($kind eq 'l') { compare_link($path, $entry, $found, $text, @wanted) }
        else { compare_file($number, $path, $name, $entry, $found, @wanted) }
    }
    for my $extra (keys %have) { set_aside($number, $path, $name, $extra, $have{$extra}) }
}

sub found_kind { return defined $_[0] ? kind(unpack 'x28 S', $_[0]) : '' }

sub compare_folder {
    my ($path, $found) = @_;
    my $kind = found_kind($found);
    return if $kind eq 'd';
    if ($kind ne '') { touch_folder(parent($path)); unlink $path }
    $batch[-1][0] = 1;
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
    my ($number, $path, $name, $entry, $found, $mode, $owner, $size, $seconds, $nanoseconds, $must, $group, $nlink) = @_;
    my $kind = found_kind($found);
    my $wanted = $batch[-1];
    my $full = "$path/$entry";
    if ($kind eq 'f') {
        my (undef, undef, undef, undef, undef, $is_size, undef, undef, $is_seconds, $is_nanoseconds) = unpack 'x16 L L L S x2 Q Q x48 q L x4 q L', $found;
        my $is_same = !$must && $is_size == $size && $is_seconds == $seconds && $is_nanoseconds == $nanoseconds;
        if ($is_same) {
            fix_owner($full, $found, $mode, $owner);
            note_link($group, $nlink, $full, unpack('x16 L', $found) > 1);
            return;
        }
        set_aside($number, $path, $name, $entry, $found) if holds_messages($name) && is_message($entry);
    }
    elsif ($kind ne '') {
        touch_folder($path);
        if ($kind eq 'd') { push_messages($number, $full, "$name/$entry"); vacate_folder($full) } else { unlink $full }
    }
    # [requested, folder, path, mode, owner, size, mtime, ns, link group, links, where it may lie]
    my $place = $must || !holds_messages($name) || !is_message($entry) ? undef : place($number, $name, $entry, $size, $seconds, $nanoseconds);
    @$wanted = (0, $path, $full, $mode, $owner, $size, $seconds, $nanoseconds, $group, $nlink, $place);
}

# By what a message is known under another name.
sub place {
    my ($number, $name, $entry, $size, $seconds, $nanoseconds) = @_;
    my ($base) = $entry =~ /^(.*?)(?::2,|$)/s;
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
    my (undef, undef, undef, undef, undef, $size, undef, undef, $seconds, $nanoseconds) = unpack 'x16 L L L S x2 Q Q x48 q L x4 q L', $found;
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
    my $answer = '';
    vec($answer, $#batch, 1) = 0 if @batch;
    for my $index (0 .. $#batch) {
        my ($asked, $path, $full, $mode, $owner, undef, undef, undef, $group, $nlink, $place) = $batch[$index]->@*;
        if (!defined $full) { vec($answer, $index, 1) = 1 if $asked; next }
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
        note_link($group, $nlink, $full, 0);
        vec($answer, $index, 1) = 1;
        push @requested, $batch[$index];
    }
    for my $offer (values %pooled) { unlink $offer->[0] or die "can't remove $offer->[0]: $!\n"; $did{removed}++ }
    remove_tree($_) for @doomed;
    (@batch, %pool, %pooled, @doomed) = ();
    send_frame('A', $answer);
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
    if (kind(unpack 'x28 S', $stat) ne 'd') { unlink $path or die "can't remove $path: $!\n"; $did{removed}++; return }
    delete @$_{$path} for \%is_real, \%touched, \%set_last;
    opendir(my $handle, $path) or die "can't read $path: $!\n";
    my @names = grep { $_ ne '.' && $_ ne '..' } readdir $handle;
    closedir $handle;
    remove_tree("$path/$_") for @names;
    rmdir $path or die "can't remove $path: $!\n";
    $did{removed}++;
}

my ($content, $content_path);

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
        chown $owners[$owner]->@*, $content or die "can't give $full its owner: $!\n";
        chmod $mode, $content or die "can't set the mode of $full: $!\n";
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
    settle_links();
    for my $path (keys %set_last) {
        my ($mode, $owner, $seconds, $nanoseconds) = $set_last{$path}->@*;
        next unless look($path) && kind(unpack 'x28 S', $stat) eq 'd';
        fix_owner($path, $stat, $mode, $owner);
        my ($is_seconds, $is_nanoseconds) = (fields())[8, 9];
        set_mtime("$path", $seconds, $nanoseconds) if $touched{$path} || $is_seconds != $seconds || $is_nanoseconds != $nanoseconds;
    }
    for my $path (grep { !$set_last{$_} } keys %touched) { set_mtime("$path", $touched{$path}->@*) if look($path) }
    lap('target');
    my %roots = map { $_->{root} => 1 } grep { -d $_->{root} } @items;
    system('sync', '-f', '--', sort keys %roots) == 0 or system('sync') == 0 or die "can't sync\n";
    lap('sync');
    put("$folder/transfer-token", "$token " . roots());
    send_frame('E', join ' ', (map { "$_=$did{$_}" } sort keys %did), "ms_sync=$count{ms_sync}");
    flush_frames();
}

# --------------------------------------------------------------------------------------------------
unless ($statx_number && $Config{ivsize} == 8 && look('/')) {
    print STDERR "this machine ($machine) is not known to the program\n";
    exit 3;
}
my ($word, @rest) = @ARGV;
exit 0 if $word eq 'probe';
my $work = $word eq 'send' ? \&send_all : \&receive_all;
unless (eval { $work->(@rest); 1 }) {
    my $fault = $@;
    tell_source($fault) if $work == \&receive_all;
    print STDERR $fault;
    exit 5;
}

# The source tells the person.
sub tell_source {
    my ($fault) = @_;
    $waiting = 'X' . pack('N', length $fault) . $fault;
    eval { flush_frames() } if $out;
}
`;
