import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { has } from '../../hosts/marks.ts';
import type { MailContext } from '../mail-system.ts';
import { fence, fenced, runningUnits } from '../postfix-dovecot/fence.ts';
import { finishRemoves, finishSteps } from '../postfix-dovecot/finish.ts';
import { frozenUnits, servingUnits } from './units.ts';

/** Undo group on OLD that nobody undoes: its fence stays. */
const group = 'finished';
const units = [...frozenUnits, ...servingUnits];

/** As for every Postfix and Dovecot; the rest of the relay is closed for good as well. */
export function finishRelay(context: MailContext): readonly Step[] {
  return finishSteps(context).flatMap((step) =>
    step.id === 'close-old' ? [step, closeRelay(context)] : [step],
  );
}

/** What `finish` says beforehand that it removes, a line each. */
export function finishRemovesOfRelay(context: MailContext): readonly string[] {
  return [
    ...finishRemoves(context),
    'OLD: the rest of the relay, its web server and its timers, are stopped and may not start again; clients are no longer carried to NEW',
  ];
}

/** Before the freeze is taken back, which would start what it had stopped. */
function closeRelay(context: MailContext): Step {
  const { old } = context;
  return {
    id: 'close-relay',
    title: 'Stop the rest of the relay on OLD for good',
    done: async () =>
      (await runningUnits(old, units)) === '' && (await fenced(old, 'fenced', context, units)),
    do: async () => {
      if (!(await has(old, 'released')))
        throw new UserError(
          'NEW does not own the mailboxes, so OLD stays open. Run activate first',
        );
      for (const unit of units) {
        await old.edit('stop', [group, `stop-${unit}`, unit], { purpose: `stop ${unit}` });
      }
      await fence(old, group, 'fenced', context, units);
      return undefined;
    },
  };
}
