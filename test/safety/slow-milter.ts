/**
 * Shell text: a filter of Postfix (milter) on the host that says nothing about a message until `releaseMilter` has
 * run: cleanup(8) has the whole message by then, and who sent it no reply. It touches /run/lab-milter.waits.
 */
export const startMilter = `
cat > /run/lab-milter <<'END'
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(
  LocalAddr => "127.0.0.1", LocalPort => 8899, Listen => 5, ReuseAddr => 1) or die;
$SIG{CHLD} = "IGNORE";
while (my $peer = $listener->accept) {
  next if fork;
  my $say = sub { my $text = join "", @_; syswrite $peer, pack("N", length $text) . $text };
  while (5 == read $peer, my $head, 5) {
    my ($length, $command) = unpack "Na", $head;
    read $peer, my $data, $length - 1 if $length > 1;
    if ($command eq "O") { $say->("O", pack "NNN", 6, 0, 0) }
    elsif ($command eq "E") {
      open my $mark, ">", "/run/lab-milter.waits";
      select undef, undef, undef, 0.05 until -e "/run/lab-milter.go";
      $say->("a");
    }
    elsif ($command eq "Q") { last }
    elsif ($command !~ /[DA]/) { $say->("c") }
  }
  exit;
}
END
systemd-run -q --unit=lab-milter perl /run/lab-milter
until ss -Hltn 'sport = :8899' | grep -q .; do sleep 0.05; done
postconf -e "smtpd_milters = $(postconf -h smtpd_milters), inet:127.0.0.1:8899"
postfix reload`;

export const milterWaits = '[ -e /run/lab-milter.waits ]';

export const releaseMilter = 'touch /run/lab-milter.go';

export const endMilter = `
postconf -e "smtpd_milters = $(postconf -h smtpd_milters | sed 's/, inet:127.0.0.1:8899//')"
postfix reload
systemctl stop lab-milter`;
