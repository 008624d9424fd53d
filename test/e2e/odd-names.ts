import type { LabHost } from '../lab/lab.ts';

/**
 * Names that a Maildir may have and a careless program stumbles over, as bytes. Folders are Maildir++
 * (so each begins with a dot), messages lie in `cur`, and one is a whole mailbox.
 */
const parts: readonly Buffer[] = [
  Buffer.from(' leading and trailing space '),
  Buffer.from(`quotes ' and " and \` and \\`),
  Buffer.from('new\nline\n'),
  Buffer.from('Entwürfe 🍎'),
  Buffer.from([0x6e, 0x6f, 0x74, 0xff, 0xfe, 0xc3, 0x28, 0x75, 0x74, 0x66, 0x38]),
  Buffer.from('\t\x1b[31m\x07\x7f'),
  Buffer.from('$(touch oops) ; * ? [a-z] & | <>'),
  Buffer.from('-rf --delete'),
  Buffer.from('%d%n %s'),
];

/** Perl, because no shell text survives such names: the parts come as hexadecimal lines. */
const plant = String.raw`
use strict; use warnings;
my ($maildir, $mailboxes) = @ARGV;
my ($uid, $gid) = (stat $maildir)[4, 5];
my $number = 0;
sub own { chown $uid, $gid, @_; }
sub folder {
  my ($path) = @_;
  for my $part ('', '/cur', '/new', '/tmp') {
    mkdir "$path$part", 0700 or $!{EEXIST} or die "$path$part: $!"; own("$path$part");
  }
}
sub message {
  my ($file) = @_;
  $number += 1;
  open my $out, '>', $file or die "$file: $!";
  print $out "From: <friend\@elsewhere.example>\nSubject: odd $number\nMessage-ID: <odd-$number\@elsewhere.example>\n\nodd\n";
  close $out; chmod 0600, $file; own($file);
  utime 1736000000 + $number, 1736000000 + $number, $file;
}
while (my $line = <STDIN>) {
  chomp $line;
  my $name = pack 'H*', $line;
  folder("$maildir/.$name");
  my $base = '1736000000.M' . $number . 'P1.' . $name;
  message("$maildir/.$name/cur/$base:2,S");
  message("$maildir/cur/$base:2,");
  link "$maildir/cur/$base:2,", "$maildir/.$name/new/$base" or die "link: $!";
  mkdir "$mailboxes/$name", 0700 or die "$mailboxes/$name: $!"; own("$mailboxes/$name");
  folder("$mailboxes/$name/Maildir");
  message("$mailboxes/$name/Maildir/new/1736000002.M1P1.$name");
}
`;

/** Gives OLD's store such names. `maildir` gets folders and messages, `mailboxes` whole mailboxes. */
export async function plantOddNames(
  host: LabHost,
  maildir: string,
  mailboxes: string,
): Promise<void> {
  const stdin = parts.map((part) => `${part.toString('hex')}\n`).join('');
  await host.mustSh('exec perl -e "$1" "$2" "$3"', [plant, maildir, mailboxes], { stdin });
}

export const oddNames = parts.length;

/**
 * Every entry below `path` by type, mode, owner's name, size, link count, mtime, name and content, in
 * hexadecimal: asked of the host itself, not of the suite.
 */
export async function entries(host: LabHost, path: string): Promise<readonly string[]> {
  const text = await host.mustSh(
    `cd "$1"
     { find . -type d -printf '%y %m %u:%g %T@ %p\\0'
       find . -type f -printf '%y %m %u:%g %s %n %T@ %p\\0'
       find . -type l -printf '%y %l %p\\0'
       find . -type f -print0 | xargs -0 sha256sum -z --; } | LC_ALL=C sort -z |
       perl -0 -ne 'chomp; print unpack("H*", $_), "\\n"'`,
    [path],
  );
  return text.split('\n').filter((line) => line !== '');
}
