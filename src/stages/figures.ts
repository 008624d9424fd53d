import { type Finding, tells } from '../mail-systems/mail-system.ts';
import { usage } from '../mail-systems/room.ts';
import { measured, words } from '../report/durations.ts';
import { saved } from './addresses.ts';
import { contents } from './copying.ts';
import type { StageContext } from './stage.ts';

/**
 * For a freeze that was never measured: what its steps take beside the copying, and how many files of
 * both hosts a final pass looks at in a second, compare included (docs/benchmarks.md: a slow day).
 */
const guess = { seconds: 15, filesPerSecond: 8000 } as const;

/** What a plan says in figures: how much mail there is, how long it will stand still, how long it may. */
export async function figures(context: StageContext): Promise<readonly Finding[]> {
  const { stores } = await contents(context);
  const used = await usage(context.old, stores);
  const sum = (what: 'kib' | 'inodes') => used.reduce((total, store) => total + store[what], 0);
  const files = sum('inodes');
  return [
    tells(`OLD holds ${files} files and folders, ${(sum('kib') / 1024).toFixed(1)} MiB of mail`),
    tells(expected(context, files)),
    tells(ceiling(context)),
    ...(await waits(context)),
  ];
}

/** What the TTLs of before demand. */
async function waits(context: StageContext): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const [index, { zone, ttl, records }] of context.migration.dns.entries()) {
    const before = records.map(
      ({ name, type }) =>
        saved(context.entries(), name, type) ?? context.dns[index]?.read(name, type),
    );
    const old = Math.max(...(await Promise.all(before)).map((rrset) => rrset?.ttl ?? 0));
    found.push(
      tells(
        old > ttl
          ? `${zone}: prepare lowers TTLs of up to ${words(old)} to ${words(ttl)}, and freeze waits ${words(old)} after that`
          : `${zone}: its TTLs are ${words(old)} at most already, so freeze need not wait`,
      ),
    );
  }
  return found;
}

function expected(context: StageContext, files: number): string {
  const before = measured(context.history());
  const parts = ['freeze', 'transfer final', 'activate'].map((stage) => before.get(stage));
  const known = parts.filter((seconds) => seconds !== undefined);
  if (known.length === parts.length)
    return `mailboxes will stand still for about ${words(known.reduce((sum, seconds) => sum + seconds, 0))}, as they did last time; approvals come on top`;
  const seconds = guess.seconds + files / guess.filesPerSecond;
  const live = before.get('transfer live');
  const hint =
    live === undefined
      ? 'a second live pass tells more'
      : `the last live pass took ${words(live)}, and the final one does little more`;
  return `mailboxes will stand still for about ${words(Math.round(seconds))}: a guess by the number of files; ${hint}; approvals come on top`;
}

/** With `hold` nobody waits; with `stop` those who send do, and not for ever. */
function ceiling({ migration, system }: StageContext): string {
  const { mode, 'max-minutes': minutes } = migration.freeze;
  const patience = `other servers give mail back to its sender after ${system.sendersGiveUpDays} days at the earliest`;
  const limit = `OLD thaws by itself after ${minutes} minutes`;
  return mode === 'hold'
    ? `${limit}; mail that comes meanwhile waits on OLD. Should OLD fail: ${patience}`
    : `${limit}; mail that comes meanwhile waits at its senders, until NEW is in the DNS: ${patience}, which no freeze can reach`;
}
