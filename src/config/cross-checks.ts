import { isIP, isIPv4, isIPv6 } from 'node:net';
import { valueAt } from './schema-faults.ts';
import type { Fault, Path } from './source.ts';

/*
 * What a schema can't say: faults between fields. The checks read the plain values of the file, not
 * the validated ones, so that they also speak when some other field is wrong.
 */

type Check = (file: unknown) => Fault[];

/** Faults between fields of the migration file. */
export function crossFaults(file: unknown): Fault[] {
  return checks.flatMap((check) => check(file));
}

const checks: readonly Check[] = [
  sameHost,
  cutoverNeeds,
  providerNeeds,
  relayOnly,
  recordsInZone,
  recordValues,
  probeInDomains,
  carriesClients,
  duplicateDomains,
  duplicateZones,
  duplicateRecords,
  nestedStores,
  privateKeys,
  qmailNeeds,
];

function text(file: unknown, path: Path): string | undefined {
  const value = valueAt(file, path);
  return typeof value === 'string' ? value : undefined;
}

function list(file: unknown, path: Path): readonly unknown[] {
  const value = valueAt(file, path);
  return Array.isArray(value) ? value : [];
}

/**
 * One spelling for one address: lower case, no brackets, no final dot, IPv6 as in RFC 5952, an
 * IPv4-mapped address as IPv4.
 */
export function normalAddress(address: string): string {
  const bare = address
    .trim()
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
  if (!isIPv6(bare) || bare.includes('%')) return bare;
  const canonical = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical);
  if (!mapped) return canonical;
  const [high, low] = [mapped[1], mapped[2]].map((part) => Number.parseInt(part ?? '', 16));
  return [(high ?? 0) >> 8, (high ?? 0) & 255, (low ?? 0) >> 8, (low ?? 0) & 255].join('.');
}

/**
 * The same address behind another port or jump host can be another machine (NAT), unless the two
 * also share a host key.
 */
function sameHost(file: unknown): Fault[] {
  const address = { old: text(file, ['old', 'address']), new: text(file, ['new', 'address']) };
  if (!address.old || !address.new) return [];
  if (normalAddress(address.old) !== normalAddress(address.new)) return [];
  if (doorOf(file, 'old') !== doorOf(file, 'new') && !shareHostKey(file)) return [];
  return [
    { path: ['new', 'address'], message: 'OLD and NEW are the same host; NEW must be another' },
  ];
}

function doorOf(file: unknown, role: 'old' | 'new'): string {
  const jump = text(file, [role, 'jump', 'address']);
  return JSON.stringify([valueAt(file, [role, 'port']) ?? 22, jump && normalAddress(jump)]);
}

function shareHostKey(file: unknown): boolean {
  const keys = new Set(list(file, ['old', 'host-keys']));
  return list(file, ['new', 'host-keys']).some((key) => keys.has(key));
}

function cutoverNeeds(file: unknown): Fault[] {
  const cutover = valueAt(file, ['cutover']) ?? 'dns';
  const command = valueAt(file, ['address-command']);
  if (cutover === 'address' && command === undefined) {
    return [{ path: ['cutover'], message: '"address" needs address-command' }];
  }
  if (cutover === 'address' && list(file, ['dns']).length > 0) {
    return [
      { path: ['dns'], message: 'would never be changed: leave it out with "cutover: address"' },
    ];
  }
  const faults: Fault[] = [];
  if (cutover === 'dns') {
    if (list(file, ['dns']).length === 0) {
      faults.push({ path: ['cutover'], message: '"dns" needs at least one zone under dns' });
    }
    for (const key of ['address-command', 'address-undo-command']) {
      if (valueAt(file, [key]) === undefined) continue;
      faults.push({ path: [key], message: 'would never run: it needs "cutover: address"' });
    }
  }
  return faults;
}

function providerNeeds(file: unknown): Fault[] {
  return list(file, ['dns']).flatMap((_, index) => {
    const isRfc2136 = text(file, ['dns', index, 'provider']) === 'rfc2136';
    if (!isRfc2136 || valueAt(file, ['dns', index, 'server']) !== undefined) return [];
    return [{ path: ['dns', index, 'provider'], message: '"rfc2136" needs server' }];
  });
}

/** What only one mail system has, or has not. */
function relayOnly(file: unknown): Fault[] {
  const isRelay = valueAt(file, ['mail-system']) === 'chatmail';
  const provision = valueAt(file, ['provision']);
  const faults: Fault[] = [];
  if (isRelay && provision === 'copy') {
    const message = 'a relay is set up by its own tool: write "cmdeploy", or "prepared"';
    faults.push({ path: ['provision'], message });
  }
  if (!isRelay && provision === 'cmdeploy') {
    faults.push({ path: ['provision'], message: '"cmdeploy" needs "mail-system: chatmail"' });
  }
  if (!isRelay && valueAt(file, ['chatmail']) !== undefined) {
    faults.push({ path: ['chatmail'], message: 'has no effect without "mail-system: chatmail"' });
  }
  const freeze = valueAt(file, ['chatmail', 'freeze']);
  if (isRelay && freeze === 'cmdeploy' && valueAt(file, ['freeze', 'mode']) !== 'stop') {
    const message = '"cmdeploy" stops Postfix too: it needs "freeze: {mode: stop}"';
    faults.push({ path: ['chatmail', 'freeze'], message });
  }
  if (isRelay && list(file, ['domains']).length > 1) {
    faults.push({ path: ['domains'], message: 'a relay has one domain' });
  }
  return faults;
}

interface Spot {
  readonly zone: string;
  readonly path: Path;
}

function records(file: unknown): Spot[] {
  return list(file, ['dns']).flatMap((_, index) => {
    const zone = text(file, ['dns', index, 'zone']);
    if (zone === undefined) return [];
    const base: Path = ['dns', index, 'records'];
    return list(file, base).map((_, at) => ({ zone, path: [...base, at] }));
  });
}

function recordsInZone(file: unknown): Fault[] {
  return records(file).flatMap(({ zone, path }) => {
    const name = text(file, [...path, 'name']);
    if (name === undefined || name === zone || name.endsWith(`.${zone}`)) return [];
    return [{ path: [...path, 'name'], message: `"${name}" is not inside the zone "${zone}"` }];
  });
}

const valueFaults: Readonly<Record<string, (value: string) => string | undefined>> = {
  A: (value) => (isIPv4(value) ? undefined : 'is not an IPv4 address'),
  AAAA: (value) => (isIPv6(value) ? undefined : 'is not an IPv6 address'),
  MX: (value) => {
    const [, preference = '', host = ''] = /^(\d{1,5})\s+(\S+)$/.exec(value) ?? [];
    if (host === '' || Number(preference) > 65535) return 'is not "preference host"';
    return isIP(host) ? 'names an address; an MX names a host' : undefined;
  },
};

function recordValues(file: unknown): Fault[] {
  return records(file).flatMap(({ path }) => {
    const type = text(file, [...path, 'type']) ?? '';
    const values = list(file, [...path, 'values']);
    const faults: Fault[] = [];
    if (type === 'CNAME' && values.length > 1) {
      faults.push({ path: [...path, 'values'], message: 'a CNAME has one value' });
    }
    values.forEach((value, index) => {
      const message = typeof value === 'string' ? valueFaults[type]?.(value) : undefined;
      if (message === undefined) return;
      faults.push({
        path: [...path, 'values', index],
        message: `${JSON.stringify(value)} ${message}`,
      });
    });
    return faults;
  });
}

function probeInDomains(file: unknown): Fault[] {
  const mailbox = text(file, ['probe', 'mailbox']);
  const domains = list(file, ['domains']);
  const domain = mailbox?.split('@').at(-1)?.toLowerCase();
  if (domain === undefined || domains.length === 0 || domains.includes(domain)) return [];
  return [{ path: ['probe', 'mailbox'], message: `"${domain}" is not one of the domains` }];
}

function qmailNeeds(file: unknown): Fault[] {
  const system = text(file, ['mail-system']);
  const has = valueAt(file, ['qmail']) !== undefined;
  if (system !== 'qmail') {
    return has ? [{ path: ['qmail'], message: 'counts only with "mail-system: qmail"' }] : [];
  }
  const faults: Fault[] = [];
  if (!has) {
    faults.push({
      path: ['mail-system'],
      message: '"qmail" needs the section qmail with its strategy, "snapshot" or "redirect"',
    });
  }
  if (text(file, ['freeze', 'mode']) === 'stop') {
    faults.push({
      path: ['freeze', 'mode'],
      message: '"stop" is not for qmail, whose strategy says how it freezes: leave it out',
    });
  }
  if (text(file, ['provision']) === 'copy') {
    faults.push({
      path: ['provision'],
      message: '"copy" is not for qmail: install NEW yourself, accounts with it',
    });
  }
  return faults;
}

function carriesClients(file: unknown): Fault[] {
  const path: Path = ['late-clients', 'carry'];
  const system = text(file, ['mail-system']);
  const named = list(file, path);
  if (system === 'chatmail')
    return named.flatMap((name, index) =>
      name === 'pop3' || name === 'sieve'
        ? [{ path: [...path, index], message: 'a relay has no such clients; leave it out' }]
        : [],
    );
  if (named.length === 0 || system === undefined || system === 'postfix-dovecot') return [];
  return [{ path, message: `carries nothing with "${system}"; leave it out` }];
}

/** Each entry whose name another entry before it has. */
function repeats(names: readonly (string | undefined)[]): number[] {
  return names.flatMap((name, index) =>
    name !== undefined && names.indexOf(name) < index ? [index] : [],
  );
}

function duplicateDomains(file: unknown): Fault[] {
  const names = list(file, ['domains']).map((_, index) => text(file, ['domains', index]));
  return repeats(names).map((index) => ({
    path: ['domains', index],
    message: 'stands here twice',
  }));
}

function duplicateZones(file: unknown): Fault[] {
  const names = list(file, ['dns']).map((_, index) => text(file, ['dns', index, 'zone']));
  return repeats(names).map((index) => ({
    path: ['dns', index, 'zone'],
    message: 'stands here twice; put all records of a zone under one entry',
  }));
}

function duplicateRecords(file: unknown): Fault[] {
  const spots = records(file);
  const names = spots.map(({ path }) => {
    const [name, type] = [text(file, [...path, 'name']), text(file, [...path, 'type'])];
    return name && type && `${name} ${type}`;
  });
  return repeats(names).map((index) => ({
    path: spots[index]?.path ?? [],
    message: `"${names[index]}" stands here twice; one entry holds the whole RRset`,
  }));
}

function nestedStores(file: unknown): Fault[] {
  const clean = (path: string) => `${path.replaceAll(/\/+(\.?\/)*/g, '/').replace(/\/\.?$/, '')}/`;
  const stores = list(file, ['stores']).map((_, index) => text(file, ['stores', index]));
  return stores.flatMap((store, index) => {
    if (store === undefined) return [];
    const around = stores.find((other, at) => {
      if (other === undefined || at === index) return false;
      const same = clean(other) === clean(store);
      return same ? at < index : clean(store).startsWith(clean(other));
    });
    if (around === undefined) return [];
    const message = `lies inside the store "${around}", which already moves it; remove one`;
    return [{ path: ['stores', index], message }];
  });
}

/** A private key pasted anywhere. The value is never shown. */
function privateKeys(file: unknown, path: Path = []): Fault[] {
  const value = valueAt(file, path);
  if (typeof value === 'string' && /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(value)) {
    return [{ path, message: 'holds a private key; secrets are inputs, never in this file' }];
  }
  if (typeof value !== 'object' || value === null) return [];
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return keys.flatMap((key) => privateKeys(file, [...path, key]));
}
