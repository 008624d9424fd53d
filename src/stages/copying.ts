import { UserError } from '../errors.ts';
import { demandEqual } from '../transfer/manifest.ts';
import { classify, rsyncPass } from '../transfer/rsync-pass.ts';
import type { StageContext } from './stage.ts';

/** One pass from OLD to NEW. Returns a line of evidence. */
export async function copy(
  context: StageContext,
  live: boolean,
  extra: readonly string[],
): Promise<string> {
  const { stores, carried } = await contents(context);
  const items = await classify(context.old, [...stores, ...carried, ...extra]);
  const missing = items.filter((item) => item.kind === 'missing' && !extra.includes(item.path));
  if (missing.length > 0)
    throw new UserError(
      `${context.old.label}: ${missing.map((item) => item.path).join(', ')} does not exist. Correct stores and carry in the migration file`,
    );
  await rsyncPass({
    source: context.old,
    target: context.new,
    targetPort: context.migration.new.port,
    migration: context.migration.name,
    items,
    live,
    log: (line) => context.log.info(line),
  });
  return `${items.filter((item) => item.kind !== 'missing').length} trees`;
}

/** Both hosts hold the same, to the entry. Returns a line of evidence. */
export async function compare(context: StageContext): Promise<string> {
  const { stores, carried, bookkeeping } = await contents(context);
  const manifests = await demandEqual(
    context.old,
    context.new,
    [...stores, ...carried],
    context.migration.options.verify,
    bookkeeping,
  );
  for (const { path, digest, entries } of manifests) {
    await context.note({ step: 'manifest', data: { path, digest, entries } });
  }
  const entries = manifests.reduce((sum, manifest) => sum + manifest.entries, 0);
  return `${entries} entries in ${manifests.length} trees are equal (${context.migration.options.verify})`;
}

export function contents(context: StageContext) {
  return context.system.contents(context);
}
