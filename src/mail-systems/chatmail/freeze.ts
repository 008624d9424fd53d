import type { Step } from '../../engine/step.ts';
import { command } from '../../hosts/command.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { fence, fenced, runningUnits } from '../postfix-dovecot/fence.ts';
import { holdSteps, stopSteps } from '../postfix-dovecot/freeze.ts';
import { runCmdeploy } from './cmdeploy.ts';
import { frozenUnits, servingUnits } from './units.ts';

/**
 * Delivery agents that write into mailboxes. What leaves the relay goes through lmtp(8) as well, by
 * a transport of this name (master.cf of the relay): it writes nothing, and may wait for the world.
 */
const deliveryAgents = String.raw`
find /proc/[0-9]*/exe -maxdepth 0 \( -lname '*/postfix/sbin/local' -o -lname '*/postfix/sbin/virtual' \
  -o -lname '*/postfix/sbin/lmtp' -o -lname '*/postfix/sbin/smtp' -o -lname '*/postfix/sbin/pipe' \
  -o -lname '*/dovecot-lda' \) -printf '%h %l\n' 2>/dev/null |
while read -r process program; do
  words=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) || continue
  case $words in *lmtp-filtermail*) continue ;; esac
  case $program in
    */smtp) case $words in lmtp\ *) ;; *) continue ;; esac ;;
  esac
  printf '%s %s\n' "$process" "$program"
done`;

/**
 * By systemd, in seconds. `hold`: Postfix goes on accepting, Dovecot and all that writes stops; unlike
 * on other servers port 25 asks Dovecot nothing. `stop`: the whole relay is down.
 */
export function freezeSteps(context: MailContext): readonly Step[] {
  if (context.migration.freeze.mode === 'stop')
    return [
      ...stopSteps(context),
      stopRelay(context, 'stop-relay', [...frozenUnits, ...servingUnits]),
      ...(freezesByCmdeploy(context) ? [disableMail(context)] : []),
    ];
  const closing = holdSteps(context, deliveryAgents).filter(({ id }) => id !== 'close-sessions');
  return [...closing, stopRelay(context, 'close-sessions', frozenUnits)];
}

/** Only OLD: NEW, in a rollback, is frozen by systemd. */
export function freezesByCmdeploy({ migration, source }: MailContext): boolean {
  return migration.chatmail?.freeze === 'cmdeploy' && source.role === 'old';
}

/**
 * The published way, at the end: by now nothing is cut off by it, and the fence holds what it would
 * start. Only the stage that stops mail: the others would upgrade an OLD that may have to serve again.
 */
function disableMail(context: MailContext): Step {
  const { source } = context;
  const units = ['dovecot.service', 'postfix.service'];
  return {
    id: 'disable-mail',
    title: 'Let cmdeploy stop mail on OLD: stage activate, with --disable-mail',
    done: async () => false,
    do: async () => {
      try {
        return await runCmdeploy(context, source, 'activate', ['--disable-mail']);
      } finally {
        // It also keeps them from starting at boot, which would outlive a thaw.
        await source.change(
          command(['systemctl', 'enable', '-q', ...units], { purpose: 'let a thaw start them' }),
        );
      }
    },
  };
}

function stopRelay(context: MailContext, id: string, units: readonly string[]): Step {
  const { source } = context;
  return {
    id,
    title: `Stop Dovecot, accounts, notices, expiry and renewal on ${called(source)}`,
    done: async () =>
      (await runningUnits(source, units)) === '' &&
      (await fenced(source, 'frozen', context, units)),
    do: async () => {
      const words = units.flatMap((unit) => [`stop-${unit}`, unit]);
      await source.edit('stop', [group, ...words], { purpose: 'stop the relay' });
      await fence(source, group, 'frozen', context, units);
      return undefined;
    },
    undo: async () => {
      await source.edit('undo', [group]);
    },
  };
}
