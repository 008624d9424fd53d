import { createHash } from 'node:crypto';
import type { Entry } from '../engine/journal.ts';

/** All that a reviewer approves, and nothing else: the plan digest is taken over it. */
export interface ApprovedPlan {
  /** The migration file in its canonical form: JSON with sorted keys. */
  readonly migration: string;
  /** Of the suite. */
  readonly version: string;
  readonly plan: {
    readonly stores: readonly string[];
    readonly carried: readonly string[];
    readonly fingerprints: { readonly old: string; readonly new: string };
    readonly rrsets: readonly { readonly before: Records; readonly after: Records }[];
  };
  /** Titles of the mail system's steps, in their order. */
  readonly titles: readonly string[];
}

interface Records {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly values: readonly string[];
}

/** The digest of exactly this plan. */
export function digestOf(approved: ApprovedPlan): string {
  return createHash('sha256').update(JSON.stringify(approved)).digest('hex');
}

/** Note of the journal that holds what its line's plan digest stands for. */
export const planNote = 'plan';

/** Every plan that the journal holds, by its digest. */
export function recordedPlans(entries: readonly Entry[]): ReadonlyMap<string, ApprovedPlan> {
  return new Map(
    entries
      .filter(({ kind, step }) => kind === 'note' && step === planNote)
      .map(({ planDigest, data }) => [planDigest, data?.plan as ApprovedPlan]),
  );
}

/** Each part of a plan by its name in words, with its values. */
export function planParts(approved: ApprovedPlan): ReadonlyMap<string, readonly string[]> {
  const { migration, version, plan, titles } = approved;
  const { stores, carried, fingerprints, rrsets } = plan;
  return new Map([
    ...leaves(JSON.parse(migration), []).map(
      ([path, values]) => [`migration file: ${path}`, values] as const,
    ),
    ['version of mail-cutover', [version]],
    ['mail stores', stores],
    ['what is carried', carried],
    ['configuration of OLD, as a fingerprint', [fingerprints.old]],
    ['configuration of NEW, as a fingerprint', [fingerprints.new]],
    ...rrsets.flatMap(({ before, after }) =>
      [['now', before] as const, ['then', after] as const].map(
        ([when, { name, type, ttl, values }]) =>
          [`DNS: ${name} ${type} ${when}`, [`TTL ${ttl}`, ...values]] as const,
      ),
    ),
    ['steps', titles],
  ]);
}

/** What is other in `after`, a line a part: `freeze.mode: hold → stop`. Empty where nothing is. */
export function planDifference(before: ApprovedPlan, after: ApprovedPlan): readonly string[] {
  const [was, is] = [planParts(before), planParts(after)];
  return [...new Set([...was.keys(), ...is.keys()])].flatMap((name) => {
    const [old, now] = [was.get(name) ?? [], is.get(name) ?? []];
    if (JSON.stringify(old) === JSON.stringify(now)) return [];
    return [`${name}: ${changed(old, now)}`];
  });
}

function changed(old: readonly string[], now: readonly string[]): string {
  const words = (values: readonly string[]) => values.join(', ') || 'nothing';
  if (old.length <= 1 && now.length <= 1) return `${words(old)} → ${words(now)}`;
  const gone = old.filter((value) => !now.includes(value));
  const come = now.filter((value) => !old.includes(value));
  if (gone.length === 0 && come.length === 0) return 'in another order';
  return [
    ...(gone.length > 0 ? [`no longer ${words(gone)}`] : []),
    ...(come.length > 0 ? [`now also ${words(come)}`] : []),
  ].join('; ');
}

/** Every value of nested JSON by its path; a list of plain values is one. */
function leaves(value: unknown, path: readonly string[]): [string, readonly string[]][] {
  if (typeof value !== 'object' || value === null) return [[path.join('.'), [String(value)]]];
  if (Array.isArray(value) && value.every((each) => typeof each !== 'object'))
    return [[path.join('.'), value.map(String)]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}
