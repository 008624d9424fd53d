import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import type { Finding } from '../mail-systems/mail-system.ts';
import type { StageContext } from './stage.ts';

const blocks = (text: string, cure: string): Finding => ({ severity: 'blocks', text, cure });

/** What is the same for every mail system. Reads only. */
export async function commonChecks(context: StageContext): Promise<readonly Finding[]> {
  return [
    ...(await sameHost(context)),
    ...(await addressesOfNew(context)),
    ...(await aliveName(context)),
    ...(await clocks(context)),
  ];
}

async function sameHost(context: StageContext): Promise<Finding[]> {
  const [one, other] = await Promise.all([identity(context.old), identity(context.new)]);
  return one === other
    ? [blocks('OLD and NEW are the same host', 'correct old.address or new.address in the migration file')]
    : [];
}

/** The machine id (machine-id(5)) and the boot id: clones share the first, never the second. */
async function identity(host: MailHost): Promise<string> {
  const result = await host.read(
    script('cat /etc/machine-id 2>/dev/null; cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null || :; hostname', [], {
      purpose: 'tell the hosts apart',
    }),
  );
  return result.stdout.toString('utf8');
}

/** Every A and AAAA of the migration file is an address that NEW has. */
async function addressesOfNew(context: StageContext): Promise<Finding[]> {
  const { migration, new: target } = context;
  const result = await target.read(
    script('ip -o addr show scope global', [], { purpose: 'read its own addresses' }),
  );
  const own = new Set([
    ...[...result.stdout.toString('utf8').matchAll(/inet6? ([0-9a-f.:]+)/g)].map((match) => match[1]),
    ...(migration.new['public-addresses'] ?? []),
  ]);
  return migration.dns.flatMap((zone) =>
    zone.records
      .filter((record) => record.type === 'A' || record.type === 'AAAA')
      .flatMap((record) =>
        record.values
          .filter((value) => !own.has(value.toLowerCase()))
          .map((value) =>
            blocks(
              `${record.name} ${record.type} ${value} is not an address of NEW, which has ${[...own].join(', ')}`,
              'correct the record, or name the address in new.public-addresses if NEW is behind NAT',
            ),
          ),
      ),
  );
}

/** The zone can be read at its primary, and says what it says now. */
async function aliveName(context: StageContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [index, zone] of context.migration.dns.entries()) {
    for (const record of zone.records) {
      const now = await context.dns[index]?.read(record.name, record.type);
      if (now?.values.length === 0 && record.values.length === 0)
        findings.push({
          severity: 'warns',
          text: `${record.name} ${record.type} does not exist, and the migration file removes it`,
          cure: 'take it out of the migration file if that is a mistake',
        });
    }
  }
  return findings;
}

/** Seconds by which clocks may differ before mail looks as if it came from the future. */
const clockSeconds = 30;

async function clocks(context: StageContext): Promise<Finding[]> {
  const read = async (host: MailHost) =>
    Number((await host.read(script('date +%s', [], { purpose: 'read the clock' }))).stdout.toString('utf8'));
  const [old, target] = await Promise.all([read(context.old), read(context.new)]);
  const apart = Math.abs(old - target);
  return apart <= clockSeconds
    ? []
    : [blocks(`the clocks of OLD and NEW are ${apart} s apart`, 'start a time service on both (chrony, systemd-timesyncd)')];
}
