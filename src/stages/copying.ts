import { UserError } from '../errors.ts';
import type { Contents } from '../mail-systems/mail-system.ts';
import { demandEqual, howTimesWereCompared, TreesDiffer } from '../transfer/manifest.ts';
import { finalPass, passAndHold, transferPass } from '../transfer/pass.ts';
import { classify, type Item, type PassOptions, rsyncPass } from '../transfer/rsync-pass.ts';
import type { StageContext } from './stage.ts';

/** A live pass from OLD to NEW, of all mailboxes or the part asked for. Returns a line of evidence. */
export async function copyLive(context: StageContext): Promise<string> {
  const { shard: part } = context.inputs;
  const whole = await wholePass(context, await contents(context), []);
  const evidence = await transferPass({ ...whole, live: true, part });
  return part.count === 1 ? evidence : `part ${part.index} of ${part.count}: ${evidence}`;
}

/** Another live pass just before the freeze, which leaves a connection open for the final one. */
export async function copyAndHold(context: StageContext): Promise<string> {
  const whole = await wholePass(context, await contents(context), [queueOf(context)]);
  return passAndHold({ ...whole, live: true });
}

/** The final pass: NEW becomes an exact mirror. Returns a line of evidence. */
export async function copyFinally(context: StageContext, found: Contents): Promise<string> {
  return finalPass(await wholePass(context, found, [queueOf(context)]));
}

/** Where a queue lies that is copied in the freeze; there is one only in `stop`. */
function queueOf({ old }: StageContext): string {
  return `${old.folder}/queue`;
}

/** All that is to be copied; of `extra` what is there. */
async function wholePass(
  context: StageContext,
  { stores, carried }: Contents,
  extra: readonly string[],
) {
  const items = await classify(context.old, [...stores, ...carried, ...extra]);
  const missing = items.filter((item) => item.kind === 'missing' && !extra.includes(item.path));
  if (missing.length > 0)
    throw new UserError(
      `${context.old.label}: ${missing.map((item) => item.path).join(', ')} does not exist. Correct stores and carry in the migration file`,
    );
  return { ...passOptions(context, items, false), stores };
}

function passOptions(context: StageContext, items: readonly Item[], live: boolean): PassOptions {
  return {
    source: context.old,
    target: context.new,
    migration: context.migration.name,
    items,
    live,
    log: (line) => context.log.info(line),
  };
}

/**
 * Compares both hosts. Should they differ after the quick pass, rsync, which knows nothing of
 * Maildirs and looks at every file, gets a try before a person has to. That it was needed is a fault of
 * the quick pass, and stands in the record, the summary and the log.
 */
export async function compareOrRepair(context: StageContext, found: Contents): Promise<string> {
  try {
    return await compare(context, found);
  } catch (error) {
    if (!(error instanceof TreesDiffer)) throw error;
    context.log.warning(`${error.message}. Trying once more with rsync`);
    await context.note({ step: 'repair', text: error.message });
    const items = await classify(context.old, [...found.stores, ...found.carried]);
    await rsyncPass(passOptions(context, items, false));
    const evidence = await compare(context, found);
    return `${evidence}, but only AFTER A REPAIR by rsync: ${error.message}. Nothing is lost; please report this as a fault of mail-cutover`;
  }
}

/** Both hosts hold the same, to the entry. Returns a line of evidence. */
async function compare(
  context: StageContext,
  { stores, carried, bookkeeping }: Contents,
): Promise<string> {
  const manifests = await demandEqual(
    context.old,
    context.new,
    [...stores, ...carried],
    context.migration.options.verify,
    bookkeeping,
  );
  const trees = manifests.map(({ path, digest, entries }) => ({ path, digest, entries }));
  await context.note({ step: 'manifests', data: { trees } });
  const entries = manifests.reduce((sum, manifest) => sum + manifest.entries, 0);
  return `${entries} entries in ${manifests.length} trees are equal (${context.migration.options.verify})${howTimesWereCompared(manifests)}`;
}

/** What holds mail on the source and what comes along, as the mail system says. */
export function contents(context: StageContext) {
  return context.system.contents(context);
}
