import type { Step } from '../../engine/step.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { called } from '../mail-system.ts';
import { tell } from './program.ts';
import { until } from './until.ts';

/**
 * After a redirect was taken back, what had waited in the remote queue comes home over this host's
 * own port 25. Once nothing waits any more, `smtproutes` is as it was.
 */
export function homingStep(host: MailHost): Step {
  return {
    id: `homing-${host.role}`,
    title: `Bring home what waits in the remote queue of ${called(host)}`,
    done: async () => !(await has(host, 'undo/homing')),
    do: async () => {
      await tell(host, ['alrm']);
      await until(host, () => tell(host, ['end-homing']), {
        seconds: 120,
        what: 'no message waits for a name that is local again',
        cure: `Look at qmail-qread on ${called(host)}, and whether its own port 25 answers it; then run this stage again`,
      });
      return undefined;
    },
  };
}
