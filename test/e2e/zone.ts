import { query } from '../../src/dns/query.ts';
import { zones } from '../lab/name-servers.ts';
import { domains, mailName, network } from '../lab/world.ts';

/** What the primary answers for the zones of the lab: serials, and the names that a cutover changes. */
export async function zoneText(): Promise<readonly string[]> {
  const server = { address: network.dns.v4, port: 53 };
  const asked = [
    ...zones.map((zone) => [zone, 'SOA'] as const),
    [mailName, 'A'] as const,
    [mailName, 'AAAA'] as const,
    [domains.virtual, 'MX'] as const,
  ];
  return Promise.all(
    asked.map(async ([name, type]) => {
      const { answers } = await query(server, name, type);
      return `zone: ${name} ${type} ${JSON.stringify(answers.map((answer) => ({ ...answer, flush: undefined })))}`;
    }),
  );
}
