import { script } from './command.ts';
import type { Host } from './host.ts';

/** Addresses by which another host may see this one: those of its interfaces, and the one that we reach it by. */
export async function addressesOf(host: Host): Promise<readonly string[]> {
  const result = await host.read(
    script('ip -o addr show scope global', [], { purpose: 'read its own addresses' }),
  );
  const own = [...result.stdout.toString('utf8').matchAll(/inet6? ([0-9a-f.:]+)/g)].map(
    ([, address = '']) => address,
  );
  return [...new Set([...own, ...(/^[0-9a-f.:]+$/.test(host.address) ? [host.address] : [])])];
}
