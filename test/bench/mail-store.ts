/**
 * A store of Maildirs and the changes between two passes, as shell text for a lab host: `$1` the
 * store, then numbers. Sizes and changes follow what was measured on real servers: most messages are
 * of some kilobytes, and of 2,000 mailboxes 300 change.
 */

/** `$2` mailboxes, `$3` messages in each, `$4` `small` for messages of 1 to 2 KB. */
export const seed = String.raw`
perl -e '
use MIME::Base64;
my ($store, $mailboxes, $messages, $sizes) = @ARGV;
srand 1;
# Text of 5,000 words, the frequent ones more so, in lines; and attachments, as base64 has them. Pools so
# large that no compressor finds a message again.
my @words = map { join "", map { chr 97 + rand 26 } 1 .. 2 + rand 9 } 1 .. 5000;
my ($text, $line, $attached) = ("", "", "");
while (length $text < 16_000_000) {
    $line .= $words[5000 * rand() ** 3] . " ";
    if (length $line > 70) { $text .= "$line\n"; $line = "" }
}
open my $random, "<", "/dev/urandom" or die;
while (length $attached < 48_000_000) { read $random, my $bytes, 57_000; $attached .= encode_base64($bytes) }
sub piece { my ($pool, $length) = @_; return substr $$pool, rand length($$pool) - $length, $length }
mkdir $store;
for my $user (1 .. $mailboxes) {
    my $home = "$store/u$user";
    mkdir $home;
    for my $folder ("", "/.Sent", "/.Trash", "/.Archive") {
        mkdir "$home$folder" if $folder;
        mkdir "$home$folder/$_" for qw(cur new tmp);
        for my $index (qw(dovecot-uidlist dovecot.index dovecot.index.log dovecot.index.cache)) {
            open my $file, ">", "$home$folder/$index" or die;
            print $file piece(\$text, int(200 + rand 4000));
        }
    }
    for my $number (1 .. $messages) {
        my $folder = ("", "", "/.Sent", "/.Archive")[$number % 4];
        my $size = $sizes eq "small" ? int(1000 + rand 1000) : int(500 + 40_000 * rand() ** 2 + (rand() < 0.04 ? 300_000 * rand : 0));
        my $path = "$home$folder/cur/" . (1_700_000_000 + $number) . ".M\${user}P$number.old,S=$size:2,S";
        open my $file, ">", $path or die;
        # What is larger than a letter is so by what is attached to it.
        my $letter = $size > 12_000 ? 3_000 : $size;
        print $file piece(\$text, $letter), piece(\$attached, $size - $letter);
        close $file;
        link $path, "$home/.Sent/cur/" . (1_700_000_000 + $number) . ".L\${user}P$number.old:2,S" if $number % 100 == 0;
    }
}
' "$1" "$2" "$3" "$4"
sync -f "$1"`.replaceAll('\\${', '${');

/** `$2` a number that is another one each time. */
export const change = String.raw`
perl -e '
my ($store, $run) = @ARGV;
srand 100 + $run;
my @homes = glob "$store/u*";
sub some { my @all = glob $_[0]; return @all ? $all[rand @all] : undef }
sub home { return $homes[rand @homes] }
for my $number (1 .. 200) {
    my $home = home();
    open my $file, ">", "$home/new/" . (1_800_000_000 + $run * 1000 + $number) . ".M1P$number.old" or die;
    print $file "x" x (1000 + rand 9000);
}
for (1 .. 100) { my $path = some(home() . "/cur/*:2,S") or next; rename $path, "$path" . "T" }
for (1 .. 39) { my $home = home(); my $path = some("$home/cur/*") or next; my ($name) = $path =~ m{([^/]+)$}; rename $path, "$home/.Trash/cur/$name" }
for (1 .. 20) { my $path = some(home() . "/.Sent/cur/*") or next; unlink $path }
for (1 .. 575) {
    my $path = some(home() . "/dovecot*") or next;
    open my $file, "+<", $path or die;
    print $file "run $run";
}
' "$1" "$2"
sync -f "$1"`;
