import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import type { MailContext } from '../mail-system.ts';
import { doorSteps } from './door.ts';
import { fence, fenced, runningUnits } from './freeze.ts';
import { dovecotUnits, milterUnits, postfixUnits } from './names.ts';
import { missingOwners } from './owners.ts';

/** NEW is closed before anything is brought to it: nothing delivers, serves, or starts at boot. */
export function prepareSteps(
  context: MailContext,
  owners: () => Promise<readonly string[]>,
  /** `provision: copy`: what brings accounts and configuration, for a NEW that is fenced. */
  copying: readonly Step[] = [],
): readonly Step[] {
  const { new: target, migration } = context;
  const units = [...dovecotUnits, ...postfixUnits, ...milterUnits];
  return [
    {
      id: 'fence',
      title: 'Fence NEW: nothing is served or delivered there until it is activated',
      done: async () =>
        (await runningUnits(target, units)) === '' && (await fenced(target, migration.name, units)),
      do: async () => {
        for (const unit of units) {
          await target.edit('stop', ['fence', `stop-${unit}`, unit], { purpose: `stop ${unit}` });
        }
        await target.edit('put', ['fenced'], { stdin: new Date().toISOString() });
        await fence(target, 'fence', 'fenced', context, units);
        return undefined;
      },
      undo: async () => {
        await target.edit('remove', ['fenced']);
        await target.edit('undo', ['fence']);
      },
    },
    ...copying,
    {
      id: 'owners',
      title: 'Check that every owner of mail on OLD exists on NEW',
      done: async () => false,
      do: async () => {
        const wanted = await owners();
        const missing = await missingOwners(context, wanted);
        if (missing.length > 0)
          throw new UserError(
            `${target.label}: these owners of mail on OLD don't exist: ${missing.join(', ')}. Create them (their numbers may differ), then run prepare again`,
          );
        return `${wanted.length} owners, by name`;
      },
    },
    ...doorSteps(context),
  ];
}
