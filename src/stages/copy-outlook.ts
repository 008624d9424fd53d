import type { Phase } from '../engine/states.ts';
import { type Finding, warns } from '../mail-systems/mail-system.ts';
import { type Outlook, outlook, partsOf } from '../transfer/outlook.ts';
import { contents } from './copying.ts';
import type { StageContext } from './stage.ts';

export type { Outlook };

const phasesBefore: readonly Phase[] = ['untouched', 'prepared', 'copied', 'rolled-back'];

/** How the passes of this migration will copy; undefined when that lies behind. */
export async function copyOutlook(context: StageContext): Promise<Outlook | undefined> {
  if (!phasesBefore.includes(context.state.phase)) return undefined;
  const { stores } = await contents(context);
  return outlook({
    source: context.old,
    target: context.new,
    stores,
  });
}

/** The parts in which live passes are to bring the mailboxes, as JSON; as many as are wanted, else by size. */
export function copyParts(seen: Outlook | undefined, wanted: number | undefined): string {
  return JSON.stringify(partsOf(seen?.bytes ?? 0, wanted));
}

/** What of it somebody should know. */
export function wayFindings(context: StageContext, { connects }: Outlook): readonly Finding[] {
  return connects
    ? []
    : [
        warns(
          `OLD gets no answer from sshd at ${context.new.address}, port ${context.migration.new.port}: all mail goes through the runner, which is slower, and the final pass has no connection ready`,
          `let OLD through to that port in the firewalls of both, or NEW to port ${context.migration.old.port} of OLD, until the migration is finished`,
        ),
      ];
}
