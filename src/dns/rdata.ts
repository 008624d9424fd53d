import { isIPv4, isIPv6 } from 'node:net';
import type {
  CaaData,
  MxData,
  SoaData,
  SrvData,
  StringAnswer,
  TlsaData,
  TxtData,
} from 'dns-packet';
import { UserError } from '../errors.ts';
import { parseCharacterStrings, quoteCharacterString } from './character-strings.ts';

/**
 * Record data between what people write (presentation format, RFC 1035 section 5.1) and what
 * `dns-packet` decodes from the wire. Both ways end in the one canonical text that the rest of the
 * suite compares.
 */

/** How a domain name inside record data is written: with or without the final dot. */
type NameStyle = (name: string) => string;

interface Codec {
  /** Canonical text of text that a person wrote. */
  readonly fromText: (text: string, names: NameStyle) => string;
  /** Canonical text of what `dns-packet` decoded. */
  readonly fromWire: (data: unknown, names: NameStyle) => string;
}

/** Lower case, without the final dot; the root is ".". DNS compares names without case (RFC 4343). */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase();
  return lower === '.' ? '.' : lower.replace(/\.$/, '');
}

/** The canonical name with its final dot, so that no program completes it with an origin. */
export function absoluteName(name: string): string {
  const canonical = canonicalName(name);
  return canonical === '.' ? '.' : `${canonical}.`;
}

/** Canonical text of one value; `UserError` where the text is no value of that type. */
export function canonicalValue(type: string, text: string): string {
  return read(type, text, canonicalName);
}

/** Like `canonicalValue`, with absolute names: for programs that read zone-file syntax. */
export function absoluteValue(type: string, text: string): string {
  return read(type, text, absoluteName);
}

/** Canonical text of one record's data as `dns-packet` decodes it. */
export function presentData(type: string, data: unknown): string {
  return codecOf(type).fromWire(data, canonicalName);
}

function read(type: string, text: string, names: NameStyle): string {
  try {
    return codecOf(type).fromText(text.trim(), names);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const shown = JSON.stringify(text);
    throw new UserError(`${shown} is no ${type} value: write ${error.message}.`, { cause: error });
  }
}

/** Text that is not of the form that the message names. */
class Malformed extends Error {}

function codecOf(type: string): Codec {
  const codec = codecs.get(type);
  if (!codec) throw new UserError(`Records of type ${type} are not supported.`);
  return codec;
}

function codec<D>(
  parse: (text: string) => D,
  present: (data: D, names: NameStyle) => string,
): Codec {
  return {
    fromText: (text, names) => present(parse(text), names),
    fromWire: (data, names) => present(data as D, names),
  };
}

type Text = StringAnswer['data'];

const hostCodec = codec<Text>(
  (text) => domainName(text, 'a domain name'),
  (name, names) => names(name),
);

const codecs: ReadonlyMap<string, Codec> = new Map([
  ['A', codec<Text>(ipv4, (address) => address)],
  ['AAAA', codec<Text>(ipv6, compressIpv6)],
  ['NS', hostCodec],
  ['CNAME', hostCodec],
  ['PTR', hostCodec],
  ['MX', codec<MxData>(parseMx, (mx, names) => `${mx.preference ?? 0} ${names(mx.exchange)}`)],
  ['SRV', codec<SrvData>(parseSrv, presentSrv)],
  ['TXT', codec<TxtData>(parseTxt, presentTxt)],
  ['TLSA', codec<TlsaData>(parseTlsa, presentTlsa)],
  ['CAA', codec<Caa>(parseCaa, presentCaa)],
  ['SOA', codec<SoaData>(parseSoa, presentSoa)],
]);

function ipv4(text: string): string {
  if (!isIPv4(text)) throw new Malformed('an IPv4 address such as 192.0.2.1');
  return text;
}

function ipv6(text: string): string {
  if (!isIPv6(text) || text.includes('%')) {
    throw new Malformed('an IPv6 address such as 2001:db8::1');
  }
  return text;
}

/** One spelling for each address: the URL parser writes the form of RFC 5952, in hexadecimal only. */
function compressIpv6(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

function domainName(text: string, wanted: string): string {
  const name = canonicalName(text);
  if (name === '.') return name;
  // Underscores (RFC 8552), a leading wildcard and the slashes of RFC 2317 occur in real zones.
  const labels = name.split('.').every((label) => /^(?:\*|[a-z0-9_/-]{1,63})$/.test(label));
  if (!labels || name.length > 253) throw new Malformed(wanted);
  return name;
}

function fields(text: string, count: number, wanted: string): string[] {
  const words = text.split(/\s+/);
  if (words.length !== count) throw new Malformed(wanted);
  return words;
}

function integer(text: string | undefined, max: number, wanted: string): number {
  const value = Number(text);
  if (!/^\d{1,10}$/.test(text ?? '') || value > max) throw new Malformed(wanted);
  return value;
}

function parseMx(text: string): MxData {
  const wanted = 'a preference and a name, such as "10 mail.example.org"';
  const [preference, exchange = ''] = fields(text, 2, wanted);
  return { preference: integer(preference, 65535, wanted), exchange: domainName(exchange, wanted) };
}

function parseSrv(text: string): SrvData {
  const wanted = 'priority, weight, port and name, such as "0 1 993 mail.example.org"';
  const [priority, weight, port, target = ''] = fields(text, 4, wanted);
  return {
    priority: integer(priority, 65535, wanted),
    weight: integer(weight, 65535, wanted),
    port: integer(port, 65535, wanted),
    target: domainName(target, wanted),
  };
}

function presentSrv(srv: SrvData, names: NameStyle): string {
  return `${srv.priority ?? 0} ${srv.weight ?? 0} ${srv.port} ${names(srv.target)}`;
}

function parseTxt(text: string): Buffer[] {
  const strings = parseCharacterStrings(text);
  if (!strings) {
    throw new Malformed('plain text, or one or more strings in double quotes with spaces between');
  }
  return strings;
}

function presentTxt(data: TxtData): string {
  const strings = Array.isArray(data) ? data : [data];
  return strings.map((string) => quoteCharacterString(Buffer.from(string))).join(' ');
}

function parseTlsa(text: string): TlsaData {
  const wanted = 'usage, selector, matching type and hexadecimal data, such as "3 1 1 0a1b…"';
  const [usage, selector, matchingType, ...hex] = text.split(/\s+/);
  const digits = hex.join('');
  if (!/^(?:[0-9a-f]{2})+$/i.test(digits)) throw new Malformed(wanted);
  return {
    usage: integer(usage, 255, wanted),
    selector: integer(selector, 255, wanted),
    matchingType: integer(matchingType, 255, wanted),
    certificate: Buffer.from(digits, 'hex'),
  };
}

function presentTlsa(tlsa: TlsaData): string {
  const hex = tlsa.certificate.toString('hex');
  return `${tlsa.usage} ${tlsa.selector} ${tlsa.matchingType} ${hex}`;
}

/** `dns-packet`'s own type allows only three tags; RFC 8659 section 4.1 leaves them open. */
type Caa = Omit<CaaData, 'tag'> & { tag: string };

function parseCaa(text: string): Caa {
  const wanted = 'flags, tag and value, such as \'0 issue "ca.example.org"\'';
  const match = /^(\d{1,3})\s+([A-Za-z0-9]{1,255})\s+(\S.*)$/s.exec(text);
  const [value, ...more] = parseCharacterStrings(match?.[3] ?? '') ?? [];
  if (!match || value === undefined || more.length > 0) throw new Malformed(wanted);
  return {
    flags: integer(match[1], 255, wanted),
    tag: match[2]?.toLowerCase() ?? '',
    value: value.toString(),
  };
}

function presentCaa(caa: Caa): string {
  return `${caa.flags ?? 0} ${caa.tag.toLowerCase()} ${quoteCharacterString(Buffer.from(caa.value))}`;
}

function parseSoa(text: string): SoaData {
  const wanted = 'primary, mailbox, serial, refresh, retry, expire and minimum';
  const [mname = '', rname = '', ...numbers] = fields(text, 7, wanted);
  const [serial, refresh, retry, expire, minimum] = numbers.map((number) =>
    integer(number, 0xffffffff, wanted),
  );
  return {
    mname: domainName(mname, wanted),
    rname: domainName(rname, wanted),
    serial,
    refresh,
    retry,
    expire,
    minimum,
  };
}

function presentSoa(soa: SoaData, names: NameStyle): string {
  const numbers = [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum];
  return [names(soa.mname), names(soa.rname), ...numbers.map((n) => n ?? 0)].join(' ');
}
