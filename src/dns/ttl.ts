/** When caches have forgotten. Pure arithmetic; clocks and zones are the caller's. */

/** A TTL that was lowered, or a name that is new (then `oldTtl` is the zone's negative TTL). */
export interface TtlLowering {
  readonly name: string;
  readonly type: string;
  /** Seconds; what caches may have kept before. */
  readonly oldTtl: number;
  /** When the lowered TTL was seen at every authoritative server. */
  readonly publishedAt: Date;
}

/**
 * From when on no cache can hold an RRset with its old TTL: one old TTL after the lowered one was
 * published everywhere, for the slowest of all. Nothing lowered: at once.
 */
export function mayFreezeAt(
  lowerings: readonly TtlLowering[],
  now: Date,
): { allowed: boolean; at: Date } {
  const times = lowerings.map(({ publishedAt, oldTtl }) => cachesForgetAt(publishedAt, oldTtl));
  const at = new Date(
    Math.max(...times.map(Number), times.length === 0 ? now.getTime() : -Infinity),
  );
  return { allowed: now.getTime() >= at.getTime(), at };
}

/**
 * When the last cache that keeps to TTLs has forgotten what was published until `changedAt`.
 * `ttl` in seconds: the one that the old values were served with.
 */
export function cachesForgetAt(changedAt: Date, ttl: number): Date {
  return new Date(changedAt.getTime() + ttl * 1000);
}
