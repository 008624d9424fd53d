/** The mirror program on the target: contents that come. */
export const writing = String.raw`# --- contents that come ---------------------------------------------------------------------------
my ($content, $content_path);

sub write_whole {
    write_content($_[0]);
    end_content(1);
}

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
    die "refused: a content that was not asked for\n" unless @requested;
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
        # Always: a folder may give its own group to what is made in it.
        chown $owners[$owner]->@*, $content or die "can't give $full its owner: $!\n";
        if ($mode != 0600) { chmod $mode, $content or die "can't set the mode of $full: $!\n" }
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

`;
