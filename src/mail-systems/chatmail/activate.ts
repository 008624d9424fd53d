import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { MailContext } from '../mail-system.ts';
import { activateSteps } from '../postfix-dovecot/activate.ts';
import { runCmdeploy } from './cmdeploy.ts';
import type { RelayIni } from './ini.ts';
import { closedRelay, probeAsUser } from './probe.ts';
import { demandRelay, noCreateFile } from './relay.ts';
import { enabledOnNew, startedLast } from './units.ts';

/**
 * On NEW. All of it stands still since `prepare`, so each service starts here for the first time, with
 * the configuration and the keys that are there now: none can go on with older ones. It opens by
 * systemd, in seconds; the relay's own tool has its turn when users are served already
 * (`deployedSteps`).
 */
export function activateRelay(context: MailContext): readonly Step[] {
  const whileClosed = [...probeAsUser(context), accountsAsOnOld(context)];
  return [...activateSteps(context, closedRelay, whileClosed), openRelay(context)];
}

/** The bar that kept NEW empty is gone since it started. One that the administrator of OLD has set goes along. */
function accountsAsOnOld(context: MailContext): Step {
  const { old, new: target } = context;
  return {
    id: 'accounts',
    title: 'Let accounts be made on NEW as they were on OLD',
    done: async () => false,
    do: async () => {
      // OLD may be dead by now; then accounts may be made.
      const there = await old
        .read(script('[ ! -e "$1" ] || cat "$1"', [noCreateFile], { purpose: 'look at the bar' }))
        .catch(() => undefined);
      const isOpen = (there?.stdout.length ?? 0) === 0;
      if (!isOpen)
        await target.edit('file', ['accounts-bar', 'nocreate', noCreateFile, '644', 'root:root'], {
          stdin: there?.stdout ?? '',
          purpose: 'bar new accounts, as on OLD',
        });
      return isOpen ? 'new accounts are made at the first login' : 'closed, as OLD was';
    },
  };
}

function openRelay(context: MailContext): Step {
  const { new: target } = context;
  return {
    id: 'open-relay',
    title: 'Start nginx and the timers on NEW, and all of it at boot',
    done: async () => (await missing(target, 'is-active --quiet', startedLast)) === '',
    do: async () => {
      const { ini } = await demandRelay(target);
      // Each in one go: systemd reads its units anew for every change of what starts at boot.
      await target.change(
        script(`${present}systemctl start "$@"`, startedLast(ini), {
          purpose: 'start the rest of the relay',
        }),
      );
      await target.change(
        script(`${present}systemctl enable -q "$@"`, enabledOnNew(ini), {
          purpose: 'start the relay at boot',
        }),
      );
      return undefined;
    },
  };
}

/** Leaves, of the arguments, the units that are there. */
const present = `todo=$#
while [ "$todo" -gt 0 ]; do
  if [ "$(systemctl show -p LoadState --value "$1")" = loaded ]; then set -- "$@" "$1"; fi
  shift
  todo=$((todo - 1))
done
[ "$#" -gt 0 ] || exit 0
`;

/** Those of the units that are there for which `question` of systemctl(1) is answered with no. */
async function missing(
  target: MailHost,
  question: string,
  units: (ini: RelayIni) => readonly string[],
): Promise<string> {
  const { ini } = await demandRelay(target);
  const result = await target.read(
    script(
      `${present}for unit; do if ! systemctl ${question} "$unit"; then printf '%s ' "$unit"; fi; done`,
      units(ini),
      { purpose: 'look at the services' },
    ),
  );
  return result.stdout.toString('utf8').trim();
}

/**
 * What the relay's own tool looks after besides: the renewal of the certificate, the note of the
 * revision. Last of all, when users are served already and mail flows.
 */
export function deployedSteps(context: MailContext): readonly Step[] {
  const { new: target, migration, source } = context;
  if (migration.provision !== 'cmdeploy' || source.role !== 'old') return [];
  return [
    {
      id: 'cmdeploy-activate',
      title: 'Let cmdeploy finish NEW: stage activate',
      done: async () => false,
      do: () => runCmdeploy(context, target, 'activate'),
    },
  ];
}
