import { script } from '../../hosts/command.ts';
import { has } from '../../hosts/marks.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding, type MailContext, warns } from '../mail-system.ts';
import { acceptedNames, type Control, me, movedNames } from './control.ts';
import { relay } from './freeze.ts';

/**
 * qmail-remote(8) sends late mail to port 25 of NEW, like anybody's. So what stands before
 * qmail-smtpd(8) there judges OLD: a closed port keeps late mail on OLD, a list, a greylist or SPF
 * makes it wait or bounce. OLD asks, as it will send; nothing is sent.
 */
export async function wayToNew(
  context: MailContext,
  there: Control,
  here: Control,
): Promise<readonly Finding[]> {
  const { old, new: target, migration } = context;
  const address = relay(context);
  if (address.includes(':'))
    return [
      blocks(
        `OLD can't send to ${address}: qmail-remote knows no IPv6`,
        'name an IPv4 address of NEW in new.public-addresses, or as new.address',
      ),
    ];
  // Fenced by an earlier stage: it was asked before that.
  if (migration.qmail?.strategy !== 'redirect' && (await has(target, 'fenced'))) return [];
  const accepted = acceptedNames(here);
  const names = [...movedNames(there), me(here), ...accepted];
  const name = names.find((each) => accepted.has(each) && !each.startsWith('.')) ?? '';
  const result = await old.read(
    script(askScript, [address, me(there), name], {
      allow: [0, 1],
      timeout: 120,
      purpose: "ask NEW's port 25",
    }),
  );
  const refused = printable(result.stdout.toString('utf8').trim());
  if (refused === '') return [];
  if (result.code !== 0)
    return [
      blocks(
        `OLD can't reach port 25 of NEW at ${address} (${refused}), by which late mail goes there`,
        'open it for OLD in the firewalls between them, or name another address of NEW in new.public-addresses',
      ),
    ];
  return [
    warns(
      `port 25 of NEW answers OLD with "${refused}": late mail that OLD sends on would wait or bounce`,
      "let OLD's address pass whatever stands before qmail-smtpd there (rblsmtpd, spamdyke, greylisting, SPF)",
    ),
  ];
}

/** Prints the first answer that is no consent; ends with 1 where there was no answer at all. */
const askScript = String.raw`
perl -MIO::Socket::INET -e '
  my ($address, $helo, $name) = @ARGV;
  $SIG{ALRM} = sub { print "no answer"; exit 1 };
  alarm 60;
  my $smtp = IO::Socket::INET->new(PeerAddr => $address, PeerPort => 25, Timeout => 20)
    or do { print $! || $@; exit 1 };
  $smtp->autoflush(1);
  my $answer = sub {
    while (defined(my $line = <$smtp>)) { if ($line =~ /^\d{3}(?: |\r?$)/) { $line =~ s/\s+$//; return $line } }
    print "it hangs up"; exit 1;
  };
  my @to = $name eq "" ? () : "RCPT TO:<postmaster\@$name>";
  # example.com lets nobody send for it (SPF), as little as most senders let OLD.
  my @words = ("HELO $helo", "MAIL FROM:<>", @to, "RSET", "MAIL FROM:<post\@example.com>", @to);
  for my $word (undef, @words) {
    print {$smtp} "$word\r\n" if defined $word;
    my $line = $answer->();
    if ($line !~ /^2/) { print $line; last }
  }
  print {$smtp} "QUIT\r\n";
' "$1" "$2" "$3"`;
