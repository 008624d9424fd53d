/** The mirror program on the target: mailboxes that tar(1) brings. */
export const unpacking = String.raw`# --- what tar brings ------------------------------------------------------------------------------
# Each stream into a folder of its own, where no link that came otherwise can lead it astray. From there the
# mailboxes are renamed to their places.
sub staging { return "$_[0]{root}/$staging_name" }

sub untar {
    my (undef, $items_file, $number, $by) = (@_, '');
    my $item = $number =~ /^[0-9]+$/ ? (read_items($items_file))[$number] : undef;
    die "refused: no such store\n" unless $item && $item->{kind} eq 'store';
    die "refused: no such program\n" unless $by =~ /^(?:zstd|gzip|)$/;
    -d $item->{root} or make_root($item->{root});
    my $staging = staging($item);
    mkdir $staging, 0700 or look($staging) && found_kind($stat) eq 'd' or die "can't make $staging: $!\n";
    my $own = "$staging/$$";
    mkdir $own, 0700 or die "can't make $own: $!\n";
    write_back($own);
    my @words = ('tar', '-x', '-p', '-b', '512', '--warning=none', $by ? ('-I', $by) : (), '-C', $own);
    exec { $words[0] } @words or die "can't run tar: $!\n";
}

# Brings to disk what tar has written by now, again and again until it ends: else all of it waits in memory for
# the end of the pass. A process of its own, which must not hold the connection open.
sub write_back {
    my ($path) = @_;
    my $tar = $$;
    return if fork // 1;
    POSIX::close($_) for 0 .. 255;
    sysopen(my $handle, $path, O_RDONLY) or POSIX::_exit(0);
    do { syscall($syncfs_number, fileno $handle); select undef, undef, undef, 1 } while getppid == $tar;
    POSIX::_exit(0);
}

# Answers which mailboxes are not here. What a tar that was cut off has left is put in its place before.
sub lacking {
    my ($number, @names) = named($_[0]);
    my $item = $items[$number] // die "refused: no such item\n";
    install($number, @names);
    touch_folder(full($item, '')); # where tar makes its folder
    answer('U', grep { !look(full($item, $names[$_])) } 0 .. $#names);
}

sub installed { answer('I', install(named($_[0]))) }

sub named { my ($number, $names) = unpack 'n a*', $_[0]; return ($number, split /\0/, $names) }

sub answer {
    my ($letter, @numbers) = @_;
    send_frame($letter, pack 'N*', @numbers);
    flush_frames();
}

# Mailboxes to their places, where nothing is. Returns the numbers of those that are there now.
sub install {
    my ($number, @names) = @_;
    my $item = $items[$number] // die "refused: no such item\n";
    my ($staging, @done) = staging($item);
    look($staging) or return;
    my @streams = folders_in($staging);
    for my $index (0 .. $#names) {
        my $name = $names[$index];
        check_name($_) for split m{/}, $name, -1;
        my ($stream) = grep { has_below($_, $name) } @streams or next;
        my ($from, $to) = ("$stream/$name", full($item, $name));
        next if look($to);
        my $above = make_real($item, parent($name));
        touch_folder($above);
        # Not if the place is on another file system: then it is sent.
        push @done, $index if rename $from, $to;
    }
    remove_tree($staging);
    return @done;
}

sub folders_in {
    my ($path) = @_;
    found_kind($stat) eq 'd' && opendir(my $handle, $path) or return;
    return grep { look($_) && found_kind($stat) eq 'd' } map { "$path/$_" } grep { /^[0-9]+$/ } readdir $handle;
}

# Whether something lies there, and all that is above it are folders: no link leads elsewhere.
sub has_below {
    my ($path, $name) = @_;
    for my $part (split m{/}, $name) {
        return 0 unless look($path) && found_kind($stat) eq 'd';
        $path .= "/$part";
    }
    return look($path);
}

`;
