import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import type { MailContext } from '../mail-system.ts';

/** Lines of the report that go into the log. */
const shown = 20;

/**
 * Who has come to OLD since it gave service away, by address, service and user, the most frequent
 * first: senders with an old cache or a fixed route, clients with a fixed address. A client at a
 * port that is closed leaves no line in any log, so it is not among them.
 */
export function callersStep(context: MailContext): Step {
  const { old, log } = context;
  return {
    id: 'callers',
    title: 'Look who still comes to OLD',
    done: async () => false,
    do: async () => {
      const result = await old.read(
        script(callersScript, [old.folder], {
          allow: [0, 44],
          timeout: 600,
          purpose: 'read the mail log',
        }),
      );
      if (result.code === 44) return 'not looked at: the mail log is not in the journal of systemd';
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

const callersScript = String.raw`
command -v journalctl > /dev/null || exit 44
since=$(stat -c %Y "$1/released" 2>/dev/null) || exit 44
journalctl -q --no-pager -o short --since "@$since" -t dovecot -t postfix/smtpd \
  -t postfix/submission/smtpd -t postfix/submissions/smtpd -t postfix/smtps/smtpd |
perl -ne '
  if (m{postfix/(?:(\w+)/)?smtpd\[\d+\]: connect from \S*\[([^\]]+)\]}) { $seen{"$2 by " . ($1 || "smtp")}++ }
  elsif (m{postfix/(?:(\w+)/)?smtpd\[\d+\]: .*client=\S*\[([^\]]+)\].*sasl_username=([^,\s]+)}) { $seen{"$2 by $1 as $3"}++ }
  elsif (m{dovecot: (\w+)-login: Login: user=<([^>]*)>.* rip=([^,]+)}) { $seen{"$3 by $1 as $2"}++ }
  END { print "$_, $seen{$_} times\n" for sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen }'`;
