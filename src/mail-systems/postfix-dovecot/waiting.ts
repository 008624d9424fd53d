import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called } from '../mail-system.ts';

/**
 * Waits on the host, ten looks a second, until `look` prints nothing. `look` is shell text of ours
 * that prints what is still in the way; `after` is done first, in the same trip, and changes the host.
 */
export async function waitUntilNothing(
  host: MailHost,
  look: string,
  options: {
    args?: readonly string[];
    seconds: number;
    what: string;
    cure: string;
    after?: string;
  },
): Promise<void> {
  const { after } = options;
  const result = await host[after === undefined ? 'read' : 'change'](
    script(
      `look() { ${look}
       }
       limit=$1; shift
       { ${after ?? ':'}
       } >&2
       end=$(($(date +%s) + limit))
       while :; do
         left=$(look "$@")
         if [ -z "$left" ]; then exit 0; fi
         if [ "$(date +%s)" -ge "$end" ]; then printf '%s' "$left"; exit 75; fi
         sleep 0.1
       done`,
      [String(options.seconds), ...(options.args ?? [])],
      {
        allow: [0, 75],
        timeout: options.seconds + (after === undefined ? 30 : 330),
        purpose: `wait until ${options.what}`,
      },
    ),
  );
  if (result.code === 75)
    throw new UserError(
      `${host.label}: not so after ${options.seconds} s: ${options.what}. Still there: ${result.stdout.toString('utf8').trim().split('\n').slice(0, 5).join(', ')}. ${options.cure}`,
    );
}

/** A stop by systemd, `after`, may be only asked for: Postfix itself says when it is down. */
export async function untilPostfixIsDown(host: MailHost, after?: string): Promise<void> {
  await waitUntilNothing(host, 'if postfix status 2>/dev/null; then echo postfix; fi', {
    seconds: 60,
    ...(after === undefined ? {} : { after }),
    what: 'Postfix is down',
    cure: `Look at \`systemctl status postfix@-\` on ${called(host)}`,
  });
}

/** What `look`, shell text of ours, prints about the processes of the host. */
export async function running(
  host: MailHost,
  look: string,
  args: readonly string[],
): Promise<string> {
  const result = await host.read(script(look, args, { purpose: 'look at the processes' }));
  return result.stdout.toString('utf8').trim();
}

/**
 * Prints `/proc/PID PROGRAM` of every delivery agent that works for Postfix. One find(1) and no fork
 * a process, because it is asked ten times a second. lmtp(8) is smtp(8) under another name.
 */
export const deliveryAgents = String.raw`
find /proc/[0-9]*/exe -maxdepth 0 \( -lname '*/postfix/sbin/local' -o -lname '*/postfix/sbin/virtual' \
  -o -lname '*/postfix/sbin/lmtp' -o -lname '*/postfix/sbin/smtp' -o -lname '*/postfix/sbin/pipe' \
  -o -lname '*/dovecot-lda' -o -lname '*/dovecot/deliver' \) -printf '%h %l\n' 2>/dev/null |
while read -r process program; do
  case $program in
    */smtp) case $(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) in lmtp\ *) ;; *) continue ;; esac ;;
  esac
  printf '%s %s\n' "$process" "$program"
done`;

/** Prints `/proc/PID PROGRAM` of every Dovecot process whose program is among the arguments. */
export const dovecotProcesses = String.raw`
find /proc/[0-9]*/exe -maxdepth 0 -lname '*/dovecot/*' -printf '%h %l\n' 2>/dev/null |
while read -r process program; do
  for wanted; do
    case $program in */"$wanted") printf '%s %s\n' "$process" "$wanted" ;; esac
  done
done`;
