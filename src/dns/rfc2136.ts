import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordType } from 'dns-packet';
import type { ZoneConfig } from '../config/schema.ts';
import { UserError } from '../errors.ts';
import { lagging, type NameServer } from './authority.ts';
import {
  canonicalRRset,
  describeRRset,
  describeValues,
  rrsetAmong,
  sameRRset,
  sameValues,
} from './canonical.ts';
import { parseTsigKey, type TsigKey } from './credentials.ts';
import { addressOf, type Network, publicNetwork } from './network.ts';
import { nsupdate, unknownOutcome } from './nsupdate.ts';
import { DnsDrift, type DnsProvider, type RRset, type RRsetChange } from './provider.ts';
import { NoReply, query, type Reply } from './query.ts';
import { absoluteName, absoluteValue, canonicalName } from './rdata.ts';
import { refusal } from './refusal.ts';
import { soaData } from './soa.ts';

/**
 * Seconds for one update, and for the primary to show what it has accepted; and how often an update is
 * sent anew because something else in the zone changed meanwhile.
 */
const limits = { update: 15, readBack: 5, tries: 5 };

/**
 * A zone whose primary takes dynamic updates (RFC 2136) signed with TSIG: BIND, Knot and others.
 * Without a credential (`[hmac:]name:secret`) the zone can be read, not changed.
 */
export function createRfc2136(
  config: ZoneConfig,
  credential: string | undefined,
  network: Network = publicNetwork,
): DnsProvider {
  return new Rfc2136(config, credential, network);
}

class Rfc2136 implements DnsProvider {
  readonly zone: string;
  readonly #server: string;
  readonly #port: number;
  readonly #key: TsigKey | undefined;
  readonly #records: ZoneConfig['records'];
  readonly #network: Network;

  constructor(config: ZoneConfig, credential: string | undefined, network: Network) {
    if (!config.server) {
      throw new UserError(`Zone ${config.zone} needs \`server\`: the address of its primary.`);
    }
    this.zone = canonicalName(config.zone);
    this.#server = config.server;
    this.#port = config.port;
    this.#key = credential === undefined ? undefined : parseTsigKey(this.zone, credential);
    this.#records = config.records;
    this.#network = network;
  }

  async read(name: string, type: string): Promise<RRset> {
    this.#demandWithin(name);
    return this.#readAt(await this.#primary(), name, type);
  }

  async change(changes: readonly RRsetChange[], confirm: () => Promise<void>): Promise<void> {
    const wanted = changes.map((change) => this.#checked(change));
    const key = this.#demandKey();
    const primary = await this.#primary();
    let version: string | undefined = await this.#version(primary);
    for (let left = limits.tries; ; left -= 1) {
      const found = await this.#readAll(primary, wanted);
      const pending = wanted.filter(({ after }, i) => !sameRRset(found[i] ?? after, after));
      if (pending.length === 0) return;
      const drift = driftOf(wanted, found, pending);
      if (drift) throw new DnsDrift(drift);

      await confirm();
      const message = this.#message(primary, wanted, pending, version);
      const outcome = await nsupdate(key, message, limits.update);
      if (outcome.code === 'NXRRSET' || outcome.code === 'YXRRSET') {
        const now = await this.#readAll(primary, wanted);
        const meanwhile = driftOf(wanted, now, pending);
        if (meanwhile) throw new DnsDrift(meanwhile);
        const next = await this.#version(primary);
        if (version === undefined) throw new DnsDrift(unseenDrift(pending));
        if (left === 0) throw this.#restless();
        // Not the zone changed: the server holds another SOA than it shows.
        version = next === version ? undefined : next;
        continue;
      }
      if (outcome.code === unknownOutcome) {
        // A runner that slept longer than nsupdate(1) waits for a reply, and was overtaken meanwhile.
        await confirm();
        if (await this.#shows(primary, wanted)) return;
      }
      if ('output' in outcome) throw refusal(outcome.code, outcome.output, this.#context(key));
      return this.#confirm(primary, wanted);
    }
  }

  /**
   * A signed update that asks for what is there already, under a prerequisite that never holds: that
   * the zone's own name is not in use (RFC 2136 section 2.4.5). A server that lets the key in answers
   * YXDOMAIN and does nothing.
   */
  async verifyAccess(): Promise<void> {
    const key = this.#demandKey();
    const primary = await this.#primary();
    const present = await Promise.all(
      this.#records.map((record) => this.#readAt(primary, record.name, record.type)),
    );
    const message = [
      `server ${primary.address} ${primary.port}`,
      `zone ${absoluteName(this.zone)}`,
      `prereq nxdomain ${absoluteName(this.zone)}`,
      ...present.flatMap(additions),
    ];
    const outcome = await nsupdate(key, message, limits.update);
    if (outcome.code === 'YXDOMAIN') return;
    const output = 'output' in outcome ? outcome.output : 'it passed over a prerequisite';
    throw refusal(outcome.code, output, this.#context(key));
  }

  async lagging(expected: RRset): Promise<readonly string[]> {
    this.#demandWithin(expected.name);
    const primary = await this.#primary();
    return lagging(this.zone, primary, canonicalRRset(expected), this.#network);
  }

  async #primary(): Promise<NameServer> {
    return { names: [this.#server], address: await addressOf(this.#server), port: this.#port };
  }

  #context({ name }: TsigKey) {
    return { zone: this.zone, server: `${this.#server} port ${this.#port}`, keyName: name };
  }

  #demandKey(): TsigKey {
    if (this.#key) return this.#key;
    throw new UserError(
      `Zone ${this.zone} can't be changed without its TSIG key: give it as the input dns-credentials.`,
    );
  }

  #demandWithin(name: string): void {
    const canonical = canonicalName(name);
    if (canonical === this.zone || canonical.endsWith(`.${this.zone}`)) return;
    throw new UserError(`${canonical} is not within zone ${this.zone}: put it under its own zone.`);
  }

  #checked(change: RRsetChange): RRsetChange {
    const before = canonicalRRset(change.before);
    const after = canonicalRRset(change.after);
    if (before.name !== after.name || before.type !== after.type) {
      throw new TypeError('before and after of a change must be of one name and type');
    }
    this.#demandWithin(after.name);
    return { before, after };
  }

  /**
   * One update message: prerequisites on the version of the zone and on all RRsets, then each new RRset
   * in place of the old one.
   */
  #message(
    primary: NameServer,
    wanted: readonly RRsetChange[],
    pending: readonly RRsetChange[],
    version: string | undefined,
  ): string[] {
    const zone = absoluteName(this.zone);
    return [
      `server ${primary.address} ${primary.port}`,
      `zone ${zone}`,
      ...(version === undefined ? [] : [`prereq yxrrset ${zone} IN SOA ${version}`]),
      ...wanted.flatMap((change) =>
        prerequisites(pending.includes(change) ? change.before : change.after),
      ),
      ...pending.flatMap(({ after }) => replacement(after)),
    ];
  }

  async #confirm(primary: NameServer, wanted: readonly RRsetChange[]): Promise<void> {
    const deadline = Date.now() + limits.readBack * 1000;
    while (!(await this.#shows(primary, wanted))) {
      if (Date.now() > deadline) throw await this.#unconfirmed(primary, wanted);
      await sleep(200);
    }
  }

  async #shows(primary: NameServer, wanted: readonly RRsetChange[]): Promise<boolean> {
    const found = await this.#readAll(primary, wanted);
    return wanted.every(({ after }, i) => sameRRset(found[i] ?? after, after));
  }

  async #unconfirmed(primary: NameServer, wanted: readonly RRsetChange[]): Promise<UserError> {
    const found = await this.#readAll(primary, wanted);
    const differences = wanted.flatMap(({ after }, i) => {
      const now = found[i] ?? after;
      const difference = `${after.name}: ${describeRRset(now)} instead of ${describeRRset(after)}`;
      return sameRRset(now, after) ? [] : [difference];
    });
    return new UserError(
      `${this.#server} accepted the update of ${this.zone} but does not show it (${differences.join('; ')}): see the server's log.`,
    );
  }

  #readAll(primary: NameServer, changes: readonly RRsetChange[]): Promise<RRset[]> {
    return Promise.all(changes.map(({ after }) => this.#readAt(primary, after.name, after.type)));
  }

  /**
   * The zone's SOA record, of which every change raises the serial (RFC 2136 section 3.6). A change that
   * demands it (section 2.4.2) is refused once the zone has changed.
   */
  async #version(primary: NameServer): Promise<string> {
    const reply = await this.#ask(primary, this.zone, 'SOA');
    const soa = reply.aa ? soaData(reply.bytes) : undefined;
    if (soa) return soa;
    throw new UserError(
      `${this.#server} shows no SOA record of ${this.zone}: it is not the primary of the zone. Correct \`server\`.`,
    );
  }

  #restless(): UserError {
    return new UserError(
      `Zone ${this.zone} changes so often that no update got in between (${limits.tries + 1} tries). Nothing was changed: run the stage again.`,
    );
  }

  async #readAt(primary: NameServer, name: string, type: string): Promise<RRset> {
    const reply = await this.#ask(primary, name, type);
    if (!['NOERROR', 'NXDOMAIN'].includes(reply.rcode) || !reply.aa) {
      const answer = reply.aa || reply.rcode !== 'NOERROR' ? reply.rcode : 'no authority';
      throw new UserError(
        `${this.#server} answers ${answer} for ${name}: it is not the primary of zone ${this.zone}, or keeps questions from this machine. Correct \`server\`, or allow queries.`,
      );
    }
    const [alias] = type === 'CNAME' ? [] : rrsetAmong(reply.answers, name, 'CNAME').values;
    if (alias) {
      throw new UserError(
        `${canonicalName(name)} is an alias (CNAME) of ${alias}: name that one, or the CNAME itself, in the migration file.`,
      );
    }
    return rrsetAmong(reply.answers, name, type);
  }

  /** TCP, which nobody can answer in the server's name from off the path. */
  async #ask(primary: NameServer, name: string, type: string): Promise<Reply> {
    try {
      return await query(primary, name, type as RecordType, { transport: 'tcp' });
    } catch (error) {
      if (!(error instanceof NoReply)) throw error;
      throw new UserError(
        `The name server ${this.#server} port ${this.#port} of zone ${this.zone} does not answer (${error.message}): check \`server\` and \`port\`, and that TCP gets through from this machine.`,
        { cause: error },
      );
    }
  }
}

/** RFC 2136 section 2.4.2 where the RRset exists, value for value; section 2.4.3 where it must not. */
function prerequisites({ name, type, values }: RRset): string[] {
  const owner = absoluteName(name);
  if (values.length === 0) return [`prereq nxrrset ${owner} IN ${type}`];
  return values.map((value) => `prereq yxrrset ${owner} IN ${type} ${absoluteValue(type, value)}`);
}

/** Deleted and added in one message: Knot passes over an update that only changes a TTL. */
function replacement(rrset: RRset): string[] {
  return [`update delete ${absoluteName(rrset.name)} IN ${rrset.type}`, ...additions(rrset)];
}

function additions({ name, type, ttl, values }: RRset): string[] {
  const owner = absoluteName(name);
  return values.map(
    (value) => `update add ${owner} ${ttl} IN ${type} ${absoluteValue(type, value)}`,
  );
}

/** What the zone holds other than planned, in one line; `undefined` if nothing. */
function driftOf(
  wanted: readonly RRsetChange[],
  found: readonly RRset[],
  pending: readonly RRsetChange[],
): string | undefined {
  const differences = wanted.flatMap((change, i) => {
    const expected = pending.includes(change) ? change.before : change.after;
    const now = found[i] ?? expected;
    const difference = `${expected.name}: expected ${describeValues(expected)}, found ${describeValues(now)}`;
    return sameValues(now, expected) ? [] : [difference];
  });
  if (differences.length === 0) return undefined;
  return `The zone has changed since the plan (${differences.join('; ')}). Nothing was changed: put it back, or make a new plan.`;
}

/** The server refused the prerequisites, yet answers as expected. */
function unseenDrift(pending: readonly RRsetChange[]): string {
  const names = pending.map(({ before }) => `${before.name} ${before.type}`).join(', ');
  return `The server does not hold ${names} as it answers: either it changed just now, or the answer comes from a wildcard record. Nothing was changed: run the stage again, or name the wildcard.`;
}
