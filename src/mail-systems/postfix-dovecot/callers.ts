import type { Step } from '../../engine/step.ts';
import { addressesOf } from '../../hosts/addresses.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { called, type MailContext } from '../mail-system.ts';
import { carriedPorts } from './carry.ts';

/** Lines of each report that go into the log. */
const shown = 20;

/** Who still comes to a host that has given service away, so that a person can tell them. */
export function callersSteps(context: MailContext): readonly Step[] {
  const { old, new: fresh } = context;
  const isCarrying = carriedPorts(context).length > 0;
  return [
    look('callers', 'Look who has come to OLD since NEW serves', context, () =>
      listed(old, callersScript, [old.folder, 'released']),
    ),
    look('connections', 'Look who is connected to OLD now', context, () =>
      listed(old, connectionsScript, []),
    ),
    ...(isCarrying
      ? [
          look('carried', `Look whom OLD carries to ${called(fresh)}`, context, async () =>
            listed(fresh, callersScript, [fresh.folder, 'owner', ...(await addressesOf(old))]),
          ),
        ]
      : []),
  ];
}

/** Undefined where the host keeps no log that could be read. */
type Callers = readonly string[] | undefined;

function look(id: string, title: string, { log }: MailContext, work: () => Promise<Callers>): Step {
  return {
    id,
    title,
    done: async () => false,
    do: async () => {
      const callers = await work();
      if (callers === undefined)
        return 'not looked at: the mail log is not in the journal of systemd';
      for (const line of callers.slice(0, shown)) log.info(line);
      if (callers.length > shown) log.info(`and ${callers.length - shown} more`);
      return `${callers.length}${callers[0] ? `; first: ${callers[0]}` : ''}`;
    },
  };
}

async function listed(host: MailHost, text: string, args: readonly string[]): Promise<Callers> {
  const result = await host.read(
    script(text, args, { allow: [0, 44], timeout: 600, purpose: 'look who comes' }),
  );
  if (result.code === 44) return undefined;
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map(printable);
}

/**
 * From the mail log, by address, service and user, the most frequent first: senders with an old cache
 * or a fixed route, clients with a fixed address. `$1` folder, `$2` the mark since which; with more
 * arguments only callers from these addresses. A client at a port that is closed leaves no line.
 */
const callersScript = String.raw`
command -v journalctl > /dev/null || exit 44
since=$(stat -c %Y "$1/$2" 2>/dev/null) || exit 44
shift 2
journalctl -q --no-pager -o short --since "@$since" -t dovecot -t postfix/smtpd \
  -t postfix/submission/smtpd -t postfix/submissions/smtpd -t postfix/smtps/smtpd |
perl -e '
  my %only = map { $_ => 1 } @ARGV;
  my %seen;
  sub seen { my ($from, $what) = @_; $seen{"$from $what"}++ if !%only || $only{$from}; }
  while (<STDIN>) {
    if (m{postfix/(?:(\w+)/)?smtpd\[\d+\]: connect from \S*\[([^\]]+)\]}) { seen($2, "by " . ($1 || "smtp")) }
    elsif (m{postfix/(?:(\w+)/)?smtpd\[\d+\]: .*client=\S*\[([^\]]+)\].*sasl_username=([^,\s]+)}) { seen($2, "by $1 as $3") }
    elsif (m{dovecot(?:\[\d+\])?: (\w+)-login: Login: user=<([^>]*)>.* rip=([^,]+)}) { seen($3, "by $1 as $2") }
  }
  print "$_, $seen{$_} times\n" for sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen' "$@"`;

/** ss(8): established connections to the ports of mail and web, by peer and port. */
const connectionsScript = String.raw`
ss -Htn state established > /run/mail-cutover.connections.$$
perl -ne '
  my (undef, undef, $here, $there) = split;
  my ($port) = $here =~ /:(\d+)$/ or next;
  next unless $port =~ /^(?:25|80|110|143|443|465|587|993|995|4190)$/;
  $there =~ s/:\d+$//; $there =~ s/^\[(?:::ffff:)?(.*)\]$/$1/;
  $seen{"$there on port $port"}++;
  END { print "$_, $seen{$_} connections\n" for sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen }' \
  < /run/mail-cutover.connections.$$
rm -f /run/mail-cutover.connections.$$`;
