import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding, type MailContext, warns } from '../mail-system.ts';
import type { RelayIni } from './ini.ts';
import { dkimFolder } from './relay.ts';

/**
 * Names of a relay in the DNS, asked by dig(1) on OLD, which `cmdeploy` installs there. Its own check
 * asks only whether names exist, and takes the addresses that it expects from the DNS itself.
 */
export async function dnsChecks(context: MailContext, ini: RelayIni): Promise<Finding[]> {
  const { old, migration } = context;
  if (migration.cutover !== 'dns') return [];
  const dig = await digger(old);
  if (!dig)
    return [
      warns(`${old.label}: dig is not there, so no names were looked up`, 'install bind9-dnsutils'),
    ];
  return [
    ...(await addresses(context, ini, dig)),
    ...(await dkim(old, ini, dig)),
    ...(ini.certificates === 'acme'
      ? [...(await caa(old, ini, dig)), ...(await policy(context, ini, dig))]
      : []),
    ...(await reverse(context, ini, dig)),
  ];
}

type Dig = (name: string, type: string) => Promise<readonly string[]>;

async function digger(host: MailHost): Promise<Dig | undefined> {
  const look = await host.read(
    script('command -v dig > /dev/null', [], { allow: [0, 1, 127], purpose: 'look for dig' }),
  );
  if (look.code !== 0) return undefined;
  return async (name, type) => {
    const result = await host.read(
      script('dig +short +time=3 +tries=2 "$1" "$2" || :', [name, type], {
        timeout: 60,
        purpose: `look up ${name} ${type}`,
      }),
    );
    return result.stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(';'));
  };
}

/** Records of the migration file against what there is: one that stays behind points at OLD for ever. */
async function addresses(context: MailContext, ini: RelayIni, dig: Dig): Promise<Finding[]> {
  const { migration } = context;
  const records = migration.dns.flatMap((zone) => zone.records);
  const changed = (name: string, type: string) =>
    records.some((record) => record.name === name && record.type === type);
  const found: Finding[] = [];
  for (const name of [ini.domain, `mta-sts.${ini.domain}`, `www.${ini.domain}`]) {
    for (const type of ['A', 'AAAA']) {
      const [alias] = await dig(name, 'CNAME');
      if (alias !== undefined || changed(name, type)) continue;
      const values = await dig(name, type);
      if (values.length === 0) continue;
      found.push(
        blocks(
          `${name} has an ${type} record (${values.map(printable).join(', ')}) that the migration file does not change`,
          `name it under dns, with NEW's address or an empty list`,
        ),
      );
    }
  }
  const v6 = records.find((record) => record.name === ini.domain && record.type === 'AAAA');
  if (!ini.hasIpv6 && (v6?.values.length ?? 0) > 0)
    found.push(
      blocks(
        `the relay does not use IPv6 (disable_ipv6), but ${ini.domain} gets an AAAA record`,
        'give it an empty list, or take disable_ipv6 out of chatmail.ini',
      ),
    );
  if (ini.hasIpv6 && (v6 === undefined || v6.values.length === 0))
    found.push(
      warns(
        `${ini.domain} will have no AAAA record, although the relay uses IPv6`,
        'give NEW an IPv6 address and name it, or set disable_ipv6 in chatmail.ini',
      ),
    );
  return found;
}

/** The key that OLD signs with is the one that is published; it moves as it is. */
async function dkim(old: MailHost, ini: RelayIni, dig: Dig): Promise<Finding[]> {
  const key = await old.read(
    script(
      '[ -e "$1" ] || exit 44; openssl rsa -in "$1" -pubout -outform DER 2>/dev/null | base64 -w 0',
      [`${dkimFolder}/opendkim.private`],
      { allow: [0, 44], purpose: 'read the public half of the DKIM key' },
    ),
  );
  if (key.code === 44)
    return [
      blocks(
        `${old.label}: it has no DKIM key (${dkimFolder}/opendkim.private)`,
        'run cmdeploy against OLD first, and publish the key that it makes',
      ),
    ];
  const name = `opendkim._domainkey.${ini.domain}`;
  const [record = ''] = await dig(name, 'TXT');
  const text = record.replaceAll(/"\s*"/g, '').replaceAll('"', '');
  const published = /(?:^|;)\s*p=([^;]*)/.exec(text)?.[1]?.replaceAll(/\s/g, '') ?? '';
  if (published === key.stdout.toString('utf8').trim()) return [];
  return [
    warns(
      `${name}: ${published === '' ? 'there is no DKIM key in the DNS' : 'the DKIM key in the DNS is not the one that OLD signs with'}`,
      'publish what `cmdeploy dns` prints for OLD: other servers refuse the mail of OLD, and will that of NEW',
    ),
  ];
}

/** The CAA record pins an ACME account (RFC 8657), which moves with its key in acmetool's state. */
async function caa(old: MailHost, ini: RelayIni, dig: Dig): Promise<Finding[]> {
  const [records, account] = await Promise.all([
    dig(ini.domain, 'CAA'),
    old.read(
      script('timeout 30 acmetool account-url 2>/dev/null || :', [], {
        timeout: 60,
        purpose: 'ask acmetool for its account',
      }),
    ),
  ]);
  const pinned = records
    .map((record) => /accounturi=([^"\s;]+)/.exec(record)?.[1])
    .filter((uri) => uri !== undefined);
  const own = account.stdout.toString('utf8').trim();
  if (pinned.length === 0 || pinned.includes(own)) return [];
  return [
    own === ''
      ? warns(
          `${old.label}: acmetool did not say which ACME account it has, and the CAA record of ${ini.domain} pins one`,
          'compare `acmetool account-url` with the record before the certificate is due',
        )
      : warns(
          `the CAA record of ${ini.domain} pins the ACME account ${pinned.map(printable).join(', ')}, OLD has ${printable(own)}`,
          'correct the record, or no certificate can be renewed, on NEW as on OLD',
        ),
  ];
}

/** MTA-STS (RFC 8461): other relays refuse to deliver where its names are broken. */
async function policy({ old }: MailContext, ini: RelayIni, dig: Dig): Promise<Finding[]> {
  const [text, alias] = await Promise.all([
    dig(`_mta-sts.${ini.domain}`, 'TXT'),
    dig(`mta-sts.${ini.domain}`, 'CNAME'),
  ]);
  const isThere = text.some((record) => record.includes('v=STSv1'));
  return isThere && alias.includes(`${ini.domain}.`)
    ? []
    : [
        warns(
          `${old.label}: the MTA-STS records of ${ini.domain} are not those that cmdeploy asks for (_mta-sts TXT, mta-sts CNAME)`,
          'set what `cmdeploy dns` prints',
        ),
      ];
}

/** Many servers refuse mail from an address without a name of its own. */
async function reverse({ migration }: MailContext, ini: RelayIni, dig: Dig): Promise<Finding[]> {
  const values = migration.dns
    .flatMap((zone) => zone.records)
    .filter((record) => record.name === ini.domain && ['A', 'AAAA'].includes(record.type))
    .flatMap((record) => record.values);
  const wrong: string[] = [];
  for (const address of values) {
    const names = await dig(reverseName(address), 'PTR');
    if (!names.includes(`${ini.domain}.`)) wrong.push(address);
  }
  return wrong.length === 0
    ? []
    : [
        warns(
          `the reverse DNS (PTR) of ${wrong.join(' and ')} is not ${ini.domain}`,
          "set it at the provider of NEW's addresses, before the cutover",
        ),
      ];
}

/** RFC 1035 section 3.5, RFC 3596 section 2.5. */
export function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const [head = '', tail] = address.toLowerCase().split('::');
  const groups = (text: string | undefined) => (text ? text.split(':') : []);
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(Math.max(0, missing)).fill('0'), ...groups(tail)];
  const nibbles = all.map((group) => group.padStart(4, '0')).join('');
  return `${[...nibbles].reverse().join('.')}.ip6.arpa`;
}
