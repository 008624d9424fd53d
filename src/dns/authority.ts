import { isIPv6 } from 'node:net';
import { describeRRset, rrsetAmong, sameRRset } from './canonical.ts';
import { type Network, publicNetwork } from './network.ts';
import type { RRset } from './provider.ts';
import { NoReply, query, type Reply, type ServerAddress } from './query.ts';
import { canonicalName, canonicalValue } from './rdata.ts';

/**
 * The proof that a zone is published: every address of every authoritative server is asked without
 * recursion and must answer with authority, with the whole RRset, its TTL and the same zone serial.
 *
 * - The primary that the migration file names always counts, also a hidden one.
 * - The others are the zone's NS records as the primary gives them. Their addresses come from the
 *   primary where it is authoritative for the name, else from this machine's resolver, else from the
 *   primary's glue.
 * - A name server without any address is reported: resolvers can't ask it either, so nothing is
 *   proved about it. Only where the file names the primary by that very name is it known to be asked.
 * - An address that this machine has no route to (mostly IPv6 on a machine without it) can't be judged
 *   from here. It is passed over if another address of the same name server gave the right answer,
 *   and is reported otherwise.
 */

/** One address of one name server. */
export interface NameServer extends ServerAddress {
  /** Every name that leads to this address; the primary's may be its address. */
  readonly names: readonly string[];
}

export interface Authorities {
  /** The primary first; each address once. */
  readonly servers: readonly NameServer[];
  /** A line for each name server that could not be found. */
  readonly faults: readonly string[];
}

/** Every address of every authoritative server of the zone, as its primary knows them. */
export async function authoritativeServers(
  zone: string,
  primary: NameServer,
  network: Network = publicNetwork,
): Promise<Authorities> {
  const reply = await tryQuery(primary, zone, 'NS');
  if (reply instanceof NoReply) {
    return {
      servers: [primary],
      faults: [fault(primary, `no list of name servers, ${reply.message}`)],
    };
  }
  const names = rrsetAmong(reply.answers, zone, 'NS').values;
  if (names.length === 0) {
    return { servers: [primary], faults: [fault(primary, `names no name servers of ${zone}`)] };
  }

  const found = await Promise.all(names.map((name) => locate(name, primary, reply, network)));
  const all = [primary, ...found.flatMap((one) => (typeof one === 'string' ? [] : one))];
  return { servers: eachAddressOnce(all), faults: found.filter((one) => typeof one === 'string') };
}

/**
 * A line for each authoritative server that does not answer as expected, or can't be judged; an
 * empty list is proof. `expected` without values means that the RRset must not exist.
 */
export async function lagging(
  zone: string,
  primary: NameServer,
  expected: RRset,
  network: Network = publicNetwork,
): Promise<readonly string[]> {
  const { servers, faults } = await authoritativeServers(zone, primary, network);
  const findings = await Promise.all(servers.map((server) => examine(server, zone, expected)));
  const serial = findings[0]?.serial;
  const lines = findings.flatMap((finding) => {
    if (finding.noRoute && judgedElsewhere(finding, findings)) return [];
    if (finding.fault !== undefined) return [fault(finding.server, finding.fault)];
    if (finding.serial === serial || serial === undefined) return [];
    return [fault(finding.server, `SOA serial ${finding.serial}, the primary has ${serial}`)];
  });
  return [...faults, ...lines];
}

/** What one server said: a fault, or the zone's serial. */
interface Finding {
  readonly server: NameServer;
  readonly fault?: string;
  readonly noRoute?: boolean;
  readonly serial?: number | undefined;
}

async function examine(server: NameServer, zone: string, expected: RRset): Promise<Finding> {
  const [soa, reply] = await Promise.all([
    tryQuery(server, zone, 'SOA'),
    tryQuery(server, expected.name, expected.type),
  ]);
  if (reply instanceof NoReply) return { server, ...unanswered(reply) };
  if (soa instanceof NoReply) return { server, ...unanswered(soa) };
  const lame = withoutAuthority(reply) ?? withoutAuthority(soa);
  if (lame) return { server, fault: lame };
  const found = rrsetAmong(reply.answers, expected.name, expected.type);
  if (!sameRRset(found, expected)) return { server, fault: `still ${describeRRset(found)}` };
  const serial = serialOf(soa, zone);
  return serial === undefined ? { server, fault: `no SOA of ${zone}` } : { server, serial };
}

function unanswered(reply: NoReply) {
  return { fault: `no answer, ${reply.message}`, noRoute: reply.noRoute };
}

function withoutAuthority(reply: Reply): string | undefined {
  if (!['NOERROR', 'NXDOMAIN'].includes(reply.rcode)) return `answers ${reply.rcode}`;
  return reply.aa ? undefined : 'answers without authority for the zone';
}

function judgedElsewhere({ server }: Finding, findings: readonly Finding[]): boolean {
  return server.names.every((name) =>
    findings.some((other) => other.server.names.includes(name) && other.serial !== undefined),
  );
}

function serialOf(reply: Reply, zone: string): number | undefined {
  const [soa] = reply.answers.filter((answer) => canonicalName(answer.name) === zone);
  return soa?.type === 'SOA' ? soa.data.serial : undefined;
}

/** The addresses of a name server, or a line that says why there are none. */
async function locate(
  name: string,
  primary: NameServer,
  delegation: Reply,
  network: Network,
): Promise<NameServer[] | string> {
  const own = await addressesByPrimary(name, primary);
  let reason = 'has no address';
  const addresses =
    own ??
    (await network.addresses(name).catch((error: Error) => {
      reason = `its address could not be looked up (${error.message})`;
      return [];
    }));
  const all = addresses.length > 0 || own ? addresses : glue(name, delegation);
  if (all.length === 0 && !primary.names.map(canonicalName).includes(name)) {
    return `${name}: name server of the zone, but ${reason}. Give it one, or take it out of the NS records`;
  }
  return all.map((address) => ({ names: [name], address, port: network.nameServerPort }));
}

/** What the primary says with authority; `undefined` if the name is not in a zone of its own. */
async function addressesByPrimary(name: string, primary: NameServer) {
  const types = ['A', 'AAAA'] as const;
  const replies = await Promise.all(types.map((type) => tryQuery(primary, name, type)));
  const own = replies.filter((reply) => !(reply instanceof NoReply) && !withoutAuthority(reply));
  if (own.length < types.length) return undefined;
  return types.flatMap((type, index) => glue(name, own[index] as Reply, type));
}

function glue(name: string, reply: Reply, ...types: string[]): readonly string[] {
  const records = [...reply.answers, ...reply.additionals];
  const wanted = types.length > 0 ? types : ['A', 'AAAA'];
  return wanted.flatMap((type) => rrsetAmong(records, name, type).values);
}

function eachAddressOnce(servers: readonly NameServer[]): NameServer[] {
  const spell = ({ address, port }: NameServer) =>
    `${isIPv6(address) ? canonicalValue('AAAA', address) : address} ${port}`;
  const byAddress = Map.groupBy(servers, spell);
  return [...byAddress.values()].flatMap(([first, ...others]) =>
    first ? [{ ...first, names: [first, ...others].flatMap(({ names }) => names) }] : [],
  );
}

function fault({ names, address }: NameServer, text: string): string {
  const name = names.find((one) => one !== address);
  return name === undefined ? `${address}: ${text}` : `${name} (${address}): ${text}`;
}

async function tryQuery(server: ServerAddress, name: string, type: string) {
  try {
    return await query(server, name, type as Parameters<typeof query>[2]);
  } catch (error) {
    if (error instanceof NoReply) return error;
    throw error;
  }
}
