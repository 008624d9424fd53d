import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { UserError } from '../errors.ts';

/** How names become addresses, and where name servers listen: what a private network may have otherwise. */
export interface Network {
  /** Every IPv4 and IPv6 address of a host name by the resolver of this machine; empty if none. */
  addresses(name: string): Promise<readonly string[]>;
  /** The port at which the world asks name servers. */
  readonly nameServerPort: number;
}

/** The network that this machine is on. */
export const publicNetwork: Network = {
  nameServerPort: 53,
  async addresses(name) {
    // Not getaddrinfo: a line in the hosts file is not what the world sees.
    const resolver = new Resolver({ timeout: 3000, tries: 2 });
    const families = [resolver.resolve4(name), resolver.resolve6(name)];
    return (await Promise.all(families.map((family) => family.catch(noneOrThrow)))).flat();
  },
};

function noneOrThrow(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOTFOUND' || error.code === 'ENODATA') return [];
  throw error;
}

/** The address of a server that the user named; here the hosts file counts, as for any program. */
export async function addressOf(server: string): Promise<string> {
  if (isIP(server)) return server;
  try {
    return (await lookup(server)).address;
  } catch (error) {
    throw new UserError(
      `The name server ${server} has no address: correct \`server\` of the zone in the migration file.`,
      { cause: error },
    );
  }
}
