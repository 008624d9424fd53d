import type { Step } from '../../engine/step.ts';
import { has } from '../../hosts/marks.ts';
import type { MailContext } from '../mail-system.ts';
import { accountLines, accountsOf, missingAccounts, wantedAccounts } from './accounts.ts';
import type { Numbers } from './copy-rewrite.ts';

/** The group of undo records on NEW of the accounts that were made there. */
export const accountsGroup = 'accounts';
/** On NEW, while accounts are being made: some may exist without all that belongs to them. */
const unfinished = 'accounts-unfinished';

/**
 * Makes on NEW the users and groups that own mail on OLD or that local mail is for. `owners` are
 * `u:NAME` and `g:NAME`; `trees` are the stores.
 */
export function accountsStep(
  context: MailContext,
  owners: () => Promise<readonly string[]>,
  trees: () => Promise<readonly string[]>,
): Step {
  const { new: target } = context;
  return {
    id: 'accounts',
    title: 'Make the users and groups that own mail on OLD',
    done: async () => {
      const [wanted, here] = await Promise.all([
        owners().then((names) => wantedAccounts(context.old, context, names)),
        accountsOf(target),
      ]);
      const missing = missingAccounts(wanted, here);
      return (
        missing.users.length + missing.groups.length + missing.members.length === 0 &&
        !(await has(target, unfinished))
      );
    },
    do: async () => {
      const [wanted, here] = await Promise.all([
        owners().then((names) => wantedAccounts(context.old, context, names)),
        accountsOf(target),
      ]);
      // Those that an earlier try has begun are named again: hostctl knows which are ours.
      const toMake = (await has(target, unfinished)) ? wanted : missingAccounts(wanted, here);
      await target.edit('put', [unfinished], { stdin: 'see undo/accounts\n' });
      await target.edit('accounts', [accountsGroup, ...(await trees())], {
        stdin: await accountLines(context.old, toMake),
        timeout: 3600,
        purpose: 'make the accounts',
      });
      await target.edit('remove', [unfinished]);
      const names = [...toMake.users, ...toMake.groups].map(({ name }) => name);
      return names.length === 0 ? undefined : `made: ${[...new Set(names)].join(', ')}`;
    },
    undo: async () => {
      await target.edit('undo', [accountsGroup]);
    },
  };
}

/** The numbers of OLD's mail owners, each with what the same name has on NEW. */
export async function ownerNumbers(
  context: MailContext,
  owners: readonly string[],
): Promise<{ uids: Numbers; gids: Numbers }> {
  const [wanted, here] = await Promise.all([
    wantedAccounts(context.old, context, owners),
    accountsOf(context.new),
  ]);
  const uids = new Map<number, number>();
  const gids = new Map<number, number>();
  for (const { name, uid } of wanted.users) {
    const other = here.users.find((user) => user.name === name);
    if (other) uids.set(uid, other.uid);
  }
  for (const { name, gid } of wanted.groups) {
    const other = here.groups.find((each) => each.name === name);
    if (other) gids.set(gid, other.gid);
  }
  return { uids, gids };
}
