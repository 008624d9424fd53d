import { Resolver } from 'node:dns/promises';
import { network } from '../lab/world.ts';

/** The name service said that there is no such name, or no address of any family: permanent. */
export class NoSuchName extends Error {
  override readonly name = 'NoSuchName';
}

/** What a mail program asks the name service. Failures that may pass are thrown as they come. */
export interface MailResolver {
  /** Hosts that take mail for a domain, best first (RFC 5321 section 5.1). */
  mailHosts(domain: string): Promise<readonly string[]>;
  /** Addresses of a host: IPv6 first, then IPv4, as a mail server with both tries them. */
  addresses(host: string): Promise<readonly string[]>;
}

/**
 * Asks one caching resolver each time. It keeps nothing itself, so that how long an old address
 * lives on is decided by the TTL in the zone and by the cache in front of it, as in the world.
 */
export class LabResolver implements MailResolver {
  readonly #dns: Resolver;

  /** @param server address, or address:port, of the resolver to ask */
  constructor(server: string = network.resolver.v4) {
    this.#dns = new Resolver({ timeout: 2000, tries: 2 });
    this.#dns.setServers([server]);
  }

  async mailHosts(domain: string): Promise<readonly string[]> {
    const records = await absentAsEmpty(this.#dns.resolveMx(domain));
    // Without MX the domain itself is its mail host (RFC 5321 section 5.1).
    if (records.length === 0) return [domain];
    return records.sort((a, b) => a.priority - b.priority).map((record) => record.exchange);
  }

  async addresses(host: string): Promise<readonly string[]> {
    const [v6, v4] = await Promise.all([
      absentAsEmpty(this.#dns.resolve6(host)),
      absentAsEmpty(this.#dns.resolve4(host)),
    ]);
    if (v6.length + v4.length === 0) throw new NoSuchName(`${host} has no address`);
    return [...v6, ...v4];
  }
}

async function absentAsEmpty<T>(answer: Promise<T[]>): Promise<T[]> {
  try {
    return await answer;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTFOUND' || code === 'ENODATA') return [];
    throw error;
  }
}
