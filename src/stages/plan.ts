import type { RRset } from '../dns/provider.ts';
import type { Finding } from '../mail-systems/mail-system.ts';
import { saved } from './addresses.ts';
import { commonChecks, sameHost } from './checks.ts';
import { contents } from './copying.ts';
import { figures } from './figures.ts';
import type { StageContext } from './stage.ts';

/** What a reviewer approves. The digest is taken over it; nothing in it changes by our own stages. */
export interface Plan {
  readonly stores: readonly string[];
  readonly carried: readonly string[];
  readonly fingerprints: { readonly old: string; readonly new: string };
  readonly rrsets: readonly { readonly before: RRset; readonly after: RRset }[];
}

/** Reads both hosts and the DNS; changes nothing. */
export async function readPlan(context: StageContext): Promise<Plan> {
  const { stores, carried } = await contents(context);
  const [old, target] = await Promise.all([
    context.system.fingerprint(context.old, context),
    context.system.fingerprint(context.new, context),
  ]);
  return { stores, carried, fingerprints: { old, new: target }, rrsets: await rrsets(context) };
}

/**
 * Everything in the way of `action`. Where the hosts are not what they should be at all, only that
 * is said: every other fault would follow from it.
 */
export async function findings(
  context: StageContext,
  action: 'plan' | 'prepare',
): Promise<readonly Finding[]> {
  const fresh = context.state.phase === 'untouched';
  const same = await sameHost(context);
  if (same.length > 0) return same;
  const refused = await context.system.refusals(context);
  if (refused.length > 0) return refused;
  const common = await commonChecks(context, action);
  const system = await context.system.checks(context, fresh);
  const found = [...common, ...system];
  const isReady = action === 'plan' && found.every(({ severity }) => severity !== 'blocks');
  return isReady ? [...found, ...(await figures(context))] : found;
}

async function rrsets(context: StageContext): Promise<Plan['rrsets']> {
  const all: { before: RRset; after: RRset }[] = [];
  for (const [index, zone] of context.migration.dns.entries()) {
    for (const record of zone.records) {
      const provider = context.dns[index];
      if (!provider) continue;
      const before =
        saved(context.entries(), record.name, record.type) ??
        (await provider.read(record.name, record.type));
      all.push({
        before,
        after: { name: record.name, type: record.type, ttl: before.ttl, values: record.values },
      });
    }
  }
  return all;
}
