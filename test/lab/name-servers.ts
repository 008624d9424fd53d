import { Resolver } from 'node:dns/promises';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { relay } from './chatmail/relay.ts';
import { dkimRecord, dkimSelector } from './identity.ts';
import { waitFor } from './process.ts';
import { domains, mailName, network, outside, tsig, ttl } from './world.ts';

/** The lab's two name servers: one that knows the zones, and a caching one in front of it. */

export type DnsServer = 'bind' | 'knot';

export const zones = [domains.virtual, domains.local, domains.attic, outside.domain] as const;

/** The zone that the TSIG key may update; it may not touch the others. */
export const updatableZone = domains.virtual;

function addressRecords(name: string, host: { v4: string; v6: string }): string[] {
  return [`${name} A ${host.v4}`, `${name} AAAA ${host.v6}`];
}

/** A TXT value of any length as character-strings of at most 255 bytes (RFC 1035 section 3.3). */
function txt(value: string): string {
  return (value.match(/.{1,255}/g) ?? []).map((piece) => `"${piece}"`).join(' ');
}

function mailRecords(zone: string): string[] {
  if (zone === outside.domain) {
    return [`@ MX 10 ${outside.mx}.`, ...addressRecords(`${outside.mx}.`, network.bridge)];
  }
  const records = [`@ MX 10 ${mailName}.`, `@ TXT ${txt('v=spf1 mx -all')}`];
  if (zone !== domains.virtual) return records;
  const dkim = `${dkimSelector}._domainkey TXT ${txt(dkimRecord())}`;
  return [
    ...records,
    ...addressRecords(`${mailName}.`, network.old),
    // Names of the hosts themselves, which do not move.
    ...addressRecords('old', network.old),
    ...addressRecords('new', network.new),
    dkim,
    ...relayRecords(),
  ];
}

/** What a chatmail relay of this name has besides, as the guide of relays lists it (docs/chatmail.md). */
function relayRecords(): string[] {
  const name = `${mailName}.`;
  return [
    `${relay.dkimSelector}._domainkey.${name} TXT ${txt(dkimRecord())}`,
    `mta-sts.${name} CNAME ${name}`,
    `www.${name} CNAME ${name}`,
    `_mta-sts.${name} TXT ${txt('v=STSv1; id=202601010000')}`,
    `${name} CAA 0 issue "letsencrypt.org;accounturi=${relay.acmeAccount}"`,
  ];
}

/** The zone as it stands before a migration. */
export function zoneText(zone: string, seconds: number = ttl.before): string {
  const lines = [
    `$ORIGIN ${zone}.`,
    `$TTL ${seconds}`,
    // The last number is how long a resolver remembers that a name does not exist (RFC 2308).
    `@ SOA ns.${zone}. hostmaster.${zone}. 1 60 30 3600 ${Math.min(seconds, ttl.lowered)}`,
    `@ NS ns.${zone}.`,
    ...addressRecords('ns', network.dns),
    ...mailRecords(zone),
  ];
  return `${lines.join('\n')}\n`;
}

function write(root: string, path: string, text: string): void {
  const file = join(root, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

function bindConfiguration(): string {
  const zoneStatements = zones.map((zone) => {
    const update = zone === updatableZone ? `key "${tsig.name}";` : 'none;';
    return `zone "${zone}" { type primary; file "/var/lib/bind/${zone}.zone"; allow-update { ${update} }; };`;
  });
  return `options {
  directory "/var/cache/bind";
  recursion no;
  notify no;
  listen-on { any; };
  listen-on-v6 { any; };
  allow-transfer { key "${tsig.name}"; };
};
key "${tsig.name}" { algorithm ${tsig.algorithm}; secret "${tsig.secret}"; };
${zoneStatements.join('\n')}
`;
}

function knotConfiguration(): string {
  const zoneEntries = zones.map((zone) => {
    const acl = zone === updatableZone ? 'update, read' : 'read';
    return `  - domain: ${zone}\n    acl: [${acl}]`;
  });
  return `server:
  user: knot:knot
  rundir: /run/knot
  listen: [ 0.0.0.0@53, "::@53" ]
  automatic-acl: off
log:
  - target: stderr
    any: info
key:
  - id: ${tsig.name}
    algorithm: ${tsig.algorithm}
    secret: ${tsig.secret}
acl:
  - id: update
    key: ${tsig.name}
    action: update
  - id: read
    key: ${tsig.name}
    action: transfer
template:
  - id: default
    storage: /var/lib/knot
    file: "%s.zone"
zone:
${zoneEntries.join('\n')}
`;
}

function unboundConfiguration(): string {
  const zoneEntries = zones.map(
    (zone) => `stub-zone:\n  name: "${zone}"\n  stub-addr: ${network.dns.v4}\n  stub-prime: no\n`,
  );
  return `server:
  chroot: ""
  username: unbound
  directory: /etc/unbound
  pidfile: ""
  use-syslog: no
  interface: 0.0.0.0
  interface: ::
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  num-threads: 1
  # No root, no keys: every zone there is comes from the lab's own name server.
  module-config: "iterator"
  # All that the lab does not know, reverse names too, does not exist: said at once, never asked for.
  local-zone: "." static
${zones.map((zone) => `  local-zone: "${zone}." transparent`).join('\n')}
  unblock-lan-zones: yes
  # TTLs exactly as the zone says.
  cache-min-ttl: 0
  prefetch: no
  serve-expired: no
  qname-minimisation: no
  # A name server that was away is asked again soon.
  infra-host-ttl: 2
  infra-keep-probing: yes
remote-control:
  control-enable: no
${zoneEntries.join('')}`;
}

/** What the host with the zones runs, and the files it needs. */
export function authoritative(
  server: DnsServer,
  seconds?: number,
): {
  program: readonly string[];
  furnish: (root: string) => void;
} {
  const isBind = server === 'bind';
  const user = server;
  const storage = `/var/lib/${server}`;
  const start = isBind
    ? 'exec named -f -u bind -c /etc/bind/lab.conf'
    : 'exec knotd -c /etc/knot/lab.conf';
  const run = isBind ? '/run/named' : '/run/knot';
  const prepare = `chown -R ${user}:${user} ${storage}; install -d -o ${user} -g ${user} ${run}`;
  return {
    program: ['/bin/sh', '-euc', `${prepare}; ${start}`],
    furnish(root) {
      write(root, `etc/${server}/lab.conf`, isBind ? bindConfiguration() : knotConfiguration());
      for (const zone of zones) write(root, `${storage}/${zone}.zone`, zoneText(zone, seconds));
    },
  };
}

/** What the caching host runs, and the files it needs. */
export function caching(): { program: readonly string[]; furnish: (root: string) => void } {
  return {
    program: ['/usr/sbin/unbound', '-d', '-c', '/etc/unbound/lab.conf'],
    furnish: (root) => write(root, 'etc/unbound/lab.conf', unboundConfiguration()),
  };
}

/** Waits until the server at `address` answers for the lab's zone, or says that it has nothing. */
export async function waitForNameServer(address: string, needsZone: boolean): Promise<void> {
  const resolver = new Resolver({ timeout: 200, tries: 1 });
  resolver.setServers([address]);
  const name = needsZone ? updatableZone : 'nothing.invalid';
  await waitFor(`name server ${address}`, 30, async () => {
    try {
      await resolver.resolveSoa(name);
      return true;
    } catch (error) {
      return !needsZone && (error as NodeJS.ErrnoException).code === 'ENOTFOUND';
    }
  });
}
