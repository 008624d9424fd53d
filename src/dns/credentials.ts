import { UserError } from '../errors.ts';
import { canonicalName } from './rdata.ts';

/** The input `dns-credentials`. No message here ever repeats any part of a credential. */

/** A TSIG key (RFC 8945). */
export interface TsigKey {
  readonly algorithm: string;
  readonly name: string;
  /** Base64. */
  readonly secret: string;
}

const algorithms = [1, 224, 256, 384, 512].map((bits) => `hmac-sha${bits}`).concat('hmac-md5');

/** Reads `[hmac:]name:secret`, as `nsupdate -y` takes it; without `hmac`, hmac-sha256. */
export function parseTsigKey(zone: string, credential: string): TsigKey {
  const parts = credential.trim().split(':');
  const [secret = '', keyName = '', algorithm = 'hmac-sha256'] = [...parts].reverse();
  const fault = (what: string) =>
    new UserError(
      `The DNS credential for zone ${zone} ${what}. Write it as "[hmac:]name:secret", such as "hmac-sha256:mail-cutover:<base64>".`,
    );

  if (parts.length < 2 || parts.length > 3) throw fault(`has ${parts.length} parts, not 2 or 3`);
  if (!algorithms.includes(algorithm.toLowerCase())) {
    throw fault(`has an unknown algorithm (known: ${algorithms.join(', ')})`);
  }
  const name = canonicalName(keyName);
  if (!/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(name)) {
    throw fault('has a key name that is no domain name');
  }
  if (secret === '') throw fault('has an empty secret');
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(secret)) {
    throw fault('has a secret that is not whole base64');
  }
  return { algorithm: algorithm.toLowerCase(), name, secret };
}

/**
 * Which credential each zone gets: one for all zones, or lines `zone=credential`. Empty lines and
 * lines that begin with "#" are skipped. A zone may lack one: it can be read, not changed.
 */
export function parseDnsCredentials(input: string, zones: readonly string[]): Map<string, string> {
  const lines = input
    .split(/\r?\n/)
    .map((text, index) => ({ text: text.trim(), number: index + 1 }))
    .filter(({ text }) => text !== '' && !text.startsWith('#'));
  const [first] = lines;
  if (lines.length === 1 && first && !assignment(first.text)) {
    return new Map(zones.map((zone) => [zone, first.text]));
  }

  const credentials = new Map<string, string>();
  for (const { text, number } of lines) {
    const where = `Line ${number} of dns-credentials`;
    const [zone, credential] = assignment(text) ?? [];
    if (zone === undefined || credential === undefined) {
      throw new UserError(`${where} is not of the form "zone=credential".`);
    }
    if (!zones.includes(zone)) {
      throw new UserError(
        `${where} is for ${zone}, which is no zone of the migration file (${zones.join(', ')}).`,
      );
    }
    if (credentials.has(zone)) {
      throw new UserError(`${where} is a second credential for ${zone}: keep one of them.`);
    }
    credentials.set(zone, credential);
  }
  return credentials;
}

/**
 * Zone and credential of a line. Base64 ends in "=" too, so what stands before the first "=" must be
 * a name with a dot, and something must follow.
 */
function assignment(line: string): [zone: string, credential: string] | undefined {
  const match = /^([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+\.?)\s*=\s*([^=\s].*)$/.exec(line);
  return match?.[1] && match[2] ? [canonicalName(match[1]), match[2]] : undefined;
}
