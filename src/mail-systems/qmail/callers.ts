import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import type { MailContext } from '../mail-system.ts';

const shown = 20;

/**
 * Who has come to OLD's port 25 since it gave service away, the most frequent first, with the name
 * that the address has: senders with a fixed route, and clients that were set up with OLD's own name
 * or its address. POP3 and IMAP are closed there, and a closed port leaves no line in any log.
 */
export function callersStep({ old, log }: MailContext): Step {
  return {
    id: 'callers',
    title: 'Look who still comes to OLD',
    done: async () => false,
    do: async () => {
      const result = await old.read(
        script(callersScript, [old.folder], {
          allow: [0, 44],
          timeout: 600,
          purpose: 'read the log of tcpserver',
        }),
      );
      if (result.code === 44) return 'not looked at: no log of tcpserver was found';
      const callers = result.stdout
        .toString('utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map(printable);
      for (const line of callers.slice(0, shown)) log.info(line);
      if (callers.length > shown) log.info(`and ${callers.length - shown} more`);
      return `${callers.length} callers since NEW serves${callers[0] ? `; first: ${callers[0]}` : ''}`;
    },
  };
}

/**
 * tcpserver(1) -v writes `tcpserver: pid N from ADDRESS`. multilog(8) puts a TAI64N stamp before it,
 * svlogd(8) a date; journal and syslog one of their own.
 */
const callersScript = String.raw`
since=$(stat -c %Y "$1/released" 2>/dev/null) || exit 44
out=$(mktemp)
trap 'rm -f -- "$out"' EXIT
for folder in /var/log/qmail/* /var/log/qmail /var/log/multilog/* /etc/service/*/log/main /service/*/log/main; do
  for file in "$folder"/current "$folder"/@*; do
    if [ -f "$file" ]; then cat -- "$file" >> "$out"; fi
  done
done
if command -v journalctl > /dev/null; then journalctl -q --no-pager -o short-unix --since "@$since" 2>/dev/null | grep -F 'tcpserver: pid' >> "$out" || :; fi
grep -q 'tcpserver: pid' "$out" || exit 44
perl -MTime::Local -ne '
  next unless /tcpserver: pid \d+ from (\S+)/;
  my $address = $1;
  my $time = /^@([0-9a-f]{16})/ ? hex($1) - 2**62 - 10
    : /^(\d{4})-(\d\d)-(\d\d)[_T](\d\d):(\d\d):(\d\d)/ ? timegm($6, $5, $4, $3, $2 - 1, $1)
    : /^(\d{9,})\./ ? $1 : undef;
  next if !defined $time || $time < $ARGV_SINCE;
  $seen{$address}++;
  BEGIN { $ARGV_SINCE = shift @ARGV }
  END { print "$_ $seen{$_}\n" for sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen }' "$since" "$out" |
while read -r address count; do
  name=$(timeout 3 getent hosts "$address" 2>/dev/null | awk '{ print $2; exit }' || :)
  printf '%s%s by smtp, %s times\n' "$address" "\${name:+ ($name)}" "$count"
done`.replaceAll('\\${', '${');
