import type { ZoneConfig } from '../config/schema.ts';
import type { DnsProvider } from './provider.ts';

type Create = (zone: ZoneConfig, credential: string | undefined) => DnsProvider;

/** Each provider is a chunk of its own, loaded when a zone needs it. A new one is one line here. */
const providers: Readonly<Record<ZoneConfig['provider'], () => Promise<Create>>> = {
  rfc2136: async () => (await import('./rfc2136.ts')).createRfc2136,
};

/** The provider of a zone of the migration file. */
export async function dnsProvider(
  zone: ZoneConfig,
  credential: string | undefined,
): Promise<DnsProvider> {
  const create = await providers[zone.provider]();
  return create(zone, credential);
}
