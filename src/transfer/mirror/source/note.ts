/** The mirror program on the source: the note of the last pass. */
export const note = String.raw`# --- the note -------------------------------------------------------------------------------------
my $note_head = 'mail-cutover note 2';

# Seconds by which the clock is ahead of the time since boot; changes when the clock is set. What was noted
# while it was set proves nothing.
my $clock_at_start;
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
    (undef, $clock_at_start) = clock();
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
    $root_of{$item} = $index if $name eq '';
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
    (%known, %root_of, %state, %holders) = ();
    (@item_of, @name_of, @path_of, @key_of, @first_of, @noted) = ();
    $noted_token = '';
}

sub write_note {
    my ($boot, $ahead) = clock();
    if (abs($ahead - $clock_at_start) > 1) { unlink "$folder/transfer-note"; return }
    leave_out_what_is_no_more();
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

# A folder gave way to a symbolic link while the pass ran: what was listed below it, through the link, lies
# elsewhere. Not to be noted; and the folder that holds the link is listed again.
sub leave_out_what_is_no_more {
    my %kind;
    for my $id (grep { $listed{$_}->@* } keys %listed) {
        my ($item, $name) = $listed{$id}->@[0, 1];
        my ($lost) = grep { ($kind{"$item\0$_"} //= look(full($items[$item], $_)) ? found_kind($stat) : '') ne 'd' } all_above($name) or next;
        $listed{$id} = [];
        my $above = "$item\0" . parent($lost);
        $listed{$above}[2] = $unknown if $listed{$above} && $listed{$above}->@*;
        $key_of[$known{$above}] = $unknown if exists $known{$above};
    }
}

# The paths of the folders above, the highest first.
sub all_above {
    my @parts = split m{/}, $_[0];
    return map { join '/', @parts[0 .. $_] } 0 .. $#parts - 1;
}

`;
