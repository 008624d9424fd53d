import type { Answer } from 'dns-packet';
import type { RRset } from './provider.ts';
import { canonicalName, canonicalValue, presentData } from './rdata.ts';

/** RRsets in one canonical form, so that "the same" is a comparison of text. */

/** Canonical name and values, each value once, sorted; an RRset without values has TTL 0. */
export function canonicalRRset(rrset: RRset): RRset {
  const values = unique(rrset.values.map((value) => canonicalValue(rrset.type, value)));
  return {
    name: canonicalName(rrset.name),
    type: rrset.type,
    ttl: values.length === 0 ? 0 : rrset.ttl,
    values,
  };
}

/** The RRset of that name and type among the records of a reply; without values if not there. */
export function rrsetAmong(answers: readonly Answer[], name: string, type: string): RRset {
  const wanted = canonicalName(name);
  const records = answers.filter(
    (answer) => answer.type === type && canonicalName(answer.name) === wanted,
  );
  return {
    name: wanted,
    type,
    // One RRset has one TTL (RFC 2181 section 5.2). Of a server that breaks this, the longest counts.
    ttl: Math.max(0, ...records.map((record) => ('ttl' in record ? (record.ttl ?? 0) : 0))),
    values: unique(records.map((record) => presentData(type, 'data' in record && record.data))),
  };
}

/** Same values; TTLs may differ. Both must be of one name and type. */
export function sameValues(one: RRset, other: RRset): boolean {
  const [a, b] = [canonicalRRset(one), canonicalRRset(other)];
  return a.values.length === b.values.length && a.values.every((value, i) => value === b.values[i]);
}

/** Same values and TTL. Two RRsets without values are the same. */
export function sameRRset(one: RRset, other: RRset): boolean {
  return sameValues(one, other) && canonicalRRset(one).ttl === canonicalRRset(other).ttl;
}

/** For messages: "A 192.0.2.1, 192.0.2.2, TTL 300" or "no A". */
export function describeRRset(rrset: RRset): string {
  if (rrset.values.length === 0) return `no ${rrset.type}`;
  return `${describeValues(rrset)}, TTL ${rrset.ttl}`;
}

/** For messages where the TTL does not matter: "A 192.0.2.1, 192.0.2.2" or "no A". */
export function describeValues(rrset: RRset): string {
  if (rrset.values.length === 0) return `no ${rrset.type}`;
  return `${rrset.type} ${rrset.values.join(', ')}`;
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}
