import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { blocks, type Finding, warns } from '../mail-systems/mail-system.ts';
import type { StageContext } from './stage.ts';

/** What is the same for every mail system. Reads only. */
export async function commonChecks(
  context: StageContext,
  action: 'plan' | 'prepare',
): Promise<readonly Finding[]> {
  return [
    ...(await addressesOfNew(context)),
    ...(await zones(context, action)),
    ...(await rootLogin(context)),
    ...(await clocks(context)),
  ];
}

/** One machine by two addresses, names or ports. */
export async function sameHost(context: StageContext): Promise<Finding[]> {
  const [one, other] = await Promise.all([identity(context.old), identity(context.new)]);
  return one === other
    ? [
        blocks(
          'OLD and NEW are the same host',
          'correct old.address or new.address in the migration file',
        ),
      ]
    : [];
}

/**
 * The boot id tells machines apart, clones too (random(4)); containers of one kernel may share it, so
 * machine id (machine-id(5)), host keys and name count as well. A system without it has only these.
 */
async function identity(host: MailHost): Promise<string> {
  const result = await host.read(
    script(
      `for file in /proc/sys/kernel/random/boot_id /etc/machine-id /etc/ssh/ssh_host_*_key.pub; do
         cat "$file" 2>/dev/null || :
       done
       hostname`,
      [],
      { purpose: 'tell the hosts apart' },
    ),
  );
  return result.stdout.toString('utf8');
}

/** A pass logs in as root, by a key that can do one thing (sshd_config(5), PermitRootLogin). */
export async function rootLogin(context: Pick<StageContext, 'old' | 'new'>): Promise<Finding[]> {
  const [old, target] = await Promise.all([keepsRootOut(context.old), keepsRootOut(context.new)]);
  const setting = 'set PermitRootLogin to forced-commands-only or prohibit-password';
  const found: Finding[] = [];
  if (target)
    found.push(
      blocks(
        `${context.new.label}: sshd lets root in by no key (PermitRootLogin no), and a pass of the transfer comes in as root`,
        `${setting} until the migration is finished`,
      ),
    );
  if (old)
    found.push(
      warns(
        `${context.old.label}: sshd lets root in by no key (PermitRootLogin no): every pass, of a rollback too, needs a connection from OLD to NEW; where there is none, mail goes through the runner`,
        `${setting} there too, or let OLD through to NEW in the firewalls`,
      ),
    );
  return found;
}

async function keepsRootOut(host: MailHost): Promise<boolean> {
  const result = await host.read(
    script(
      'sshd=$(command -v sshd || echo /usr/sbin/sshd); "$sshd" -T 2>/dev/null || exit 44',
      [],
      {
        allow: [0, 44],
        purpose: 'read the configuration of sshd',
      },
    ),
  );
  return /^permitrootlogin no$/m.test(result.stdout.toString('utf8'));
}

/** Every A and AAAA of the migration file is an address that NEW has. */
async function addressesOfNew(context: StageContext): Promise<Finding[]> {
  const { migration, new: target } = context;
  const result = await target.read(
    script('ip -o addr show scope global', [], { purpose: 'read its own addresses' }),
  );
  const own = new Set([
    ...[...result.stdout.toString('utf8').matchAll(/inet6? ([0-9a-f.:]+)/g)].map(
      (match) => match[1],
    ),
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

/** Each zone can be read at its primary, and its credential may change it. */
async function zones(context: StageContext, action: 'plan' | 'prepare'): Promise<Finding[]> {
  const found = await Promise.all(
    context.migration.dns.map((_, index) => zone(context, index, action)),
  );
  return found.flat();
}

async function zone(
  context: StageContext,
  index: number,
  action: 'plan' | 'prepare',
): Promise<Finding[]> {
  const provider = context.dns[index];
  const config = context.migration.dns[index];
  if (!provider || !config) return [];
  try {
    const pointless: Finding[] = [];
    for (const record of config.records) {
      const now = await provider.read(record.name, record.type);
      if (now.values.length === 0 && record.values.length === 0)
        pointless.push(
          warns(
            `${record.name} ${record.type} does not exist, and the migration file removes it`,
            'take it out of the migration file if that is a mistake',
          ),
        );
    }
    // A plan may be made without the right to change the zone; what changes it may not.
    if (action === 'plan' && context.inputs.dnsCredentials === undefined) {
      const text = `zone ${config.zone}: whether it can be changed was not tried`;
      return [...pointless, warns(text, 'give dns-credentials to plan, or see prepare refuse it')];
    }
    await provider.verifyAccess?.();
    return pointless;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [fault(error)];
  }
}

/** A message of the DNS says what to do in its last sentence, or after its last colon. */
function fault(error: UserError): Finding {
  const message = error.message.replace(/\.$/, '');
  const [, text = message, cure = 'correct the zone in the migration file'] =
    /^(.*)\. ([A-Z].*)$/.exec(message) ?? /^(.*): (.*)$/.exec(message) ?? [];
  return blocks(text, cure.charAt(0).toLowerCase() + cure.slice(1));
}

/** Seconds by which clocks may differ before mail looks as if it came from the future. */
const clockSeconds = 30;

async function clocks(context: StageContext): Promise<Finding[]> {
  const read = async (host: MailHost) =>
    Number(
      (await host.read(script('date +%s', [], { purpose: 'read the clock' }))).stdout.toString(
        'utf8',
      ),
    );
  const [old, target] = await Promise.all([read(context.old), read(context.new)]);
  const apart = Math.abs(old - target);
  return apart <= clockSeconds
    ? []
    : [
        blocks(
          `the clocks of OLD and NEW are ${apart} s apart`,
          'start a time service on both (chrony, systemd-timesyncd)',
        ),
      ];
}
