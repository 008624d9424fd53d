import type { RecordConfig } from '../config/schema.ts';
import type { DnsProvider, RRset } from '../dns/provider.ts';
import { cachesForgetAt, mayFreezeAt, type TtlLowering } from '../dns/ttl.ts';
import type { Entry } from '../engine/journal.ts';
import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { confirmLock } from './ownership.ts';
import type { StageContext } from './stage.ts';
import { always } from './steps.ts';

/** Seconds that the authoritative servers are given to publish a change, and between two looks. */
const publishSeconds = 120;
const pollSeconds = 1;

/** Step under which the RRsets are kept as they were before anything changed. */
const savedStep = 'rrset-before';
const publishedStep = 'ttl-published';
const cutStep = 'cut-published';

interface Target {
  readonly provider: DnsProvider;
  readonly record: RecordConfig;
  readonly loweredTtl: number;
}

function targets(context: StageContext): readonly Target[] {
  return context.migration.dns.flatMap((zone, index) => {
    const provider = context.dns[index];
    if (!provider) throw new Error(`no provider for ${zone.zone}`);
    return zone.records.map((record) => ({ provider, record, loweredTtl: zone.ttl }));
  });
}

/** The RRset as it was before the migration touched it, from the journal. */
export function saved(entries: readonly Entry[], name: string, type: string): RRset | undefined {
  const entry = entries.find(
    (line) => line.step === savedStep && line.data?.name === name && line.data.type === type,
  );
  return entry?.data as RRset | undefined;
}

/** `prepare`: lowers the TTL of every RRset that the cutover will change, and keeps the old one. */
export function lowerTtlSteps(context: StageContext): readonly Step[] {
  return targets(context).map(({ provider, record, loweredTtl }) => ({
    id: `lower-ttl-${record.name}-${record.type}`,
    title: `Bring the TTL of ${record.name} ${record.type} to ${loweredTtl} s at most`,
    async done() {
      const now = await provider.read(record.name, record.type);
      return (
        saved(context.entries(), record.name, record.type) !== undefined &&
        isLow(now, loweredTtl) &&
        publishedAt(context.entries(), record) !== undefined
      );
    },
    async do() {
      const before = await provider.read(record.name, record.type);
      if (saved(context.entries(), record.name, record.type) === undefined) {
        await context.note({ step: savedStep, data: { ...before } });
      }
      const after = isLow(before, loweredTtl) ? before : { ...before, ttl: loweredTtl };
      if (after !== before) await provider.change([{ before, after }], holdsLock(context));
      await untilPublished(provider, after);
      await context.note({ step: publishedStep, data: { name: record.name, type: record.type } });
      if (before.values.length === 0) return 'does not exist yet';
      return after === before ? `is ${before.ttl} s` : `${before.ttl} s → ${after.ttl} s`;
    },
  }));
}

function isLow(rrset: RRset, loweredTtl: number): boolean {
  return rrset.values.length === 0 || rrset.ttl <= loweredTtl;
}

function publishedAt(entries: readonly Entry[], record: RecordConfig): Date | undefined {
  const entry = entries.find(
    (line) =>
      line.step === publishedStep &&
      line.data?.name === record.name &&
      line.data.type === record.type,
  );
  return entry && new Date(entry.time);
}

/** `freeze`: refused until no cache can hold the old TTL any more. */
export function demandLowTtl(context: StageContext): void {
  const lowerings: TtlLowering[] = [];
  for (const { record } of targets(context)) {
    const before = saved(context.entries(), record.name, record.type);
    const at = publishedAt(context.entries(), record);
    if (!before || !at)
      throw new UserError(
        `the TTL of ${record.name} ${record.type} was never lowered. Run prepare first`,
      );
    if (before.values.length > 0)
      lowerings.push({ name: record.name, type: record.type, oldTtl: before.ttl, publishedAt: at });
  }
  const verdict = mayFreezeAt(lowerings, new Date());
  if (!verdict.allowed)
    throw new UserError(
      `caches may hold the old TTL until ${verdict.at.toISOString()}. Run freeze again after that; OLD goes on serving`,
    );
}

/**
 * `prepare`, after an attempt that was cut over and taken back: caches that still know NEW's address
 * find a NEW that sends on to OLD. It is not closed before they have forgotten.
 */
export function demandForgotten(context: StageContext): void {
  const history = context.history();
  const cut = history.findLastIndex((line) => line.step === cutStep);
  const back = history
    .slice(cut + 1)
    .find((line) => line.kind === 'stage-end' && line.stage === 'rollback' && line.ok);
  if (cut < 0 || !back) return;
  const at = Math.max(
    ...context.migration.dns.map(({ ttl }) => Number(cachesForgetAt(new Date(back.time), ttl))),
  );
  if (at > Date.now())
    throw new UserError(
      `caches may send mail and clients to NEW until ${new Date(at).toISOString()}, from the attempt that was taken back; until then NEW sends mail on to OLD. Run prepare again after that; OLD goes on serving`,
    );
}

/** `dns-cutover`: the RRsets of the migration file, if the zone still holds what was saved. */
export function cutoverSteps(context: StageContext): readonly Step[] {
  return context.migration.dns.map((zone, index) => {
    const provider = context.dns[index] as DnsProvider;
    const wanted = (record: RecordConfig): RRset => ({
      name: record.name,
      type: record.type,
      ttl: zone.ttl,
      values: record.values,
    });
    return {
      id: `cut-${zone.zone}`,
      title: `Point ${zone.zone} at NEW`,
      async done() {
        for (const record of zone.records) {
          if ((await provider.lagging(wanted(record))).length > 0) return false;
        }
        return context
          .entries()
          .some((line) => line.step === cutStep && line.data?.zone === zone.zone);
      },
      async do() {
        const changes = zone.records.map((record) => {
          const before = saved(context.entries(), record.name, record.type);
          if (!before)
            throw new UserError(`${record.name} ${record.type} was never saved. Run prepare first`);
          return { before, after: wanted(record) };
        });
        await provider.change(changes, holdsLock(context));
        for (const { after } of changes) await untilPublished(provider, after);
        await context.note({ step: cutStep, data: { zone: zone.zone } });
        const forgotten = cachesForgetAt(new Date(), zone.ttl);
        return `${changes.length} RRsets at every authoritative server; caches forget the old ones by ${forgotten.toISOString()}`;
      },
    };
  });
}

/** When caches that keep to TTLs have forgotten the old addresses, by zone; of those that were cut over. */
export function cachesForget(
  context: StageContext,
  entries: readonly Entry[],
): readonly { readonly zone: string; readonly at: Date }[] {
  return context.migration.dns.flatMap(({ zone, ttl }) => {
    const cut = entries.findLast((line) => line.step === cutStep && line.data?.zone === zone);
    return cut ? [{ zone, at: cachesForgetAt(new Date(cut.time), ttl) }] : [];
  });
}

/** Puts back what was saved: values and TTL (`rollback`), or only the TTL (`finish`). */
export function restoreSteps(context: StageContext, what: 'all' | 'ttl'): readonly Step[] {
  return targets(context).flatMap(({ provider, record }) => {
    const before = saved(context.entries(), record.name, record.type);
    if (!before) return [];
    const goal = async (): Promise<RRset> => {
      if (what === 'all') return before;
      const now = await provider.read(record.name, record.type);
      return now.values.length === 0 || before.ttl === 0 ? now : { ...now, ttl: before.ttl };
    };
    return [
      {
        id: `restore-${what}-${record.name}-${record.type}`,
        title: `Restore ${what === 'all' ? '' : 'the TTL of '}${record.name} ${record.type}`,
        done: async () => (await provider.lagging(await goal())).length === 0,
        async do() {
          const now = await provider.read(record.name, record.type);
          const after = await goal();
          await provider.change([{ before: now, after }], holdsLock(context));
          await untilPublished(provider, after);
          return `TTL ${after.ttl} s`;
        },
      },
    ];
  });
}

/**
 * `rollback`, before it puts anything back: a change that an overtaken run has prepared, and not sent yet,
 * is void from now on. The zone gets a new version, also where its records are what they should be, and
 * whatever looked at it before is refused (`DnsProvider.change`).
 */
export function fenceSteps(context: StageContext): readonly Step[] {
  const { log, migration } = context;
  if (!context.entries().some(({ stage }) => stage === 'dns-cutover')) return [];
  return migration.dns.flatMap(({ zone, records }, index) => {
    const provider = context.dns[index];
    const [first] = records;
    if (!provider || !first) return [];
    return [
      always(
        `fence-dns-${zone}`,
        `Make void what another run may still send for ${zone}`,
        async () => {
          const found = await Promise.all(
            records.map(({ name, type }) => provider.read(name, type)),
          );
          const present = found.find(({ values }) => values.length > 0);
          if (present) {
            await renewZone(context, provider, present, {
              ...present,
              ttl: neighbour(present.ttl),
            });
            return undefined;
          }
          // Nothing of ours is there to be written again: a note beside it comes and goes.
          const note = { name: first.name, type: 'TXT', ttl: 0, values: [] };
          try {
            await renewZone(context, provider, note, {
              ...note,
              ttl: 60,
              values: ['mail-cutover'],
            });
          } catch (error) {
            if (!(error instanceof UserError)) throw error;
            log.warning(`${error.message} A run that sleeps might still change ${zone}: end it`);
          }
          return undefined;
        },
      ),
    ];
  });
}

/** Writes an RRset otherwise and again as it was. A server passes over an update that changes nothing. */
async function renewZone(
  context: StageContext,
  provider: DnsProvider,
  before: RRset,
  after: RRset,
): Promise<void> {
  await provider.change([{ before, after }], holdsLock(context));
  await provider.change([{ before: after, after: before }], holdsLock(context));
}

function neighbour(ttl: number): number {
  return ttl > 1 ? ttl - 1 : ttl + 1;
}

/** The hosts guard only themselves: before the DNS is changed they are asked whether this run still may. */
function holdsLock(context: StageContext): () => Promise<void> {
  return () => confirmLock(context);
}

/** Waits until every authoritative server answers with the RRset. */
async function untilPublished(provider: DnsProvider, expected: RRset): Promise<void> {
  const end = performance.now() + publishSeconds * 1000;
  for (;;) {
    const late = await provider.lagging(expected);
    if (late.length === 0) return;
    if (performance.now() > end)
      throw new UserError(
        `${expected.name} ${expected.type} was changed, but after ${publishSeconds} s not every server shows it: ${late.join('; ')}. Look at the zone transfer, then run this stage again`,
      );
    await new Promise((resolve) => setTimeout(resolve, pollSeconds * 1000));
  }
}
