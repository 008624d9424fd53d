import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { CommandFailed } from '../hosts/mail-host.ts';
import { listedAddresses } from './admission.ts';

/**
 * Who opens the connection over which mail goes, and to where: the source, the target, or neither, and then
 * mail goes over the runner's own two.
 */
export type Way =
  | { readonly by: 'source' | 'target'; readonly address: string; readonly port: number }
  | { readonly by: 'runner' };

/** A plain connection, several times as fast as a key exchange: it falls into the downtime. */
const knock = String.raw`
if command -v perl > /dev/null; then
  if perl -e '
    use Socket qw(:DEFAULT :addrinfo);
    my (undef, @found) = getaddrinfo($ARGV[0], $ARGV[1], { socktype => SOCK_STREAM });
    alarm 5;
    for (@found) {
      socket(my $socket, $_->{family}, SOCK_STREAM, 0) or next;
      exit 0 if connect($socket, $_->{addr});
    }
    exit 1' "$1" "$2" 2>/dev/null; then echo reached; fi
else ssh-keyscan -T 5 -p "$2" -- "$1" 2>/dev/null || :; fi`;

/** Whether a port of sshd at that address answers the host. */
async function reaches(from: Host, address: string, port: number): Promise<boolean> {
  const result = await from.read(
    script(knock, [address, String(port)], {
      timeout: 60,
      purpose: 'see whether it reaches the other host',
    }),
  );
  return result.stdout.length > 0;
}

/**
 * Ways in the order in which they are tried: the source's connection, by the address that the migration file
 * gives and by another that the target has, then the target's in the same way; at last through the runner.
 * What answers at an address that nobody wrote down must be that host. None of them is looked for before it is
 * asked for, and that a port answers does not say that the key is let in there.
 */
export async function* waysBetween(source: Host, target: Host): AsyncGenerator<Way, void> {
  if (await reaches(source, target.address, target.port)) yield to(target, 'source');
  const [isReached, straight, back] = await Promise.all([
    reaches(target, source.address, source.port),
    otherAddress(source, target),
    otherAddress(target, source),
  ]);
  if (straight !== undefined) yield { ...to(target, 'source'), address: straight };
  if (isReached) yield to(source, 'target');
  if (back !== undefined) yield { ...to(source, 'target'), address: back };
  yield { by: 'runner' };
}

/** The first of them. */
export async function findWay(source: Host, target: Host): Promise<Way> {
  const { value } = await waysBetween(source, target).next();
  return value ?? { by: 'runner' };
}

function to({ address, port }: Host, by: 'source' | 'target') {
  return { by, address, port } as const;
}

/** Another address by which `from` reaches `to`, whose host keys prove that it is that host. */
async function otherAddress(from: Host, to: Host): Promise<string | undefined> {
  const [listed, keys] = await Promise.all([
    to.read(script('ip -o addr show scope global', [], { purpose: 'list its addresses' })),
    // Where it keeps its keys elsewhere, nothing proves that it is that host.
    hostKeys(to).catch((error: unknown) => {
      if (error instanceof CommandFailed) return [] as readonly string[];
      throw error;
    }),
  ]);
  const addresses = listedAddresses(listed.stdout.toString('utf8').split('\n'));
  const others = addresses.filter((address) => address !== to.address);
  const result = await from.read(
    script(
      'port=$1; shift; for address; do { ssh-keyscan -T 5 -p "$port" -- "$address" 2>/dev/null || :; } & done; wait',
      [String(to.port), ...others],
      { timeout: 300, purpose: 'see by which address it reaches the other host' },
    ),
  );
  const answers = result.stdout.toString('utf8').split('\n').filter(Boolean);
  return others.find((address) =>
    answers.some((answer) => {
      const [name = '', ...key] = answer.split(' ');
      return (name === address || name.startsWith(`[${address}]`)) && keys.includes(key.join(' '));
    }),
  );
}

/** Type and key of each of the host's own keys. */
export async function hostKeys(host: Host): Promise<readonly string[]> {
  const result = await host.read(
    script('cat /etc/ssh/ssh_host_*_key.pub', [], { purpose: "read the host's public keys" }),
  );
  const lines = result.stdout.toString('utf8').split('\n').filter(Boolean);
  return lines.map((line) => line.split(' ').slice(0, 2).join(' '));
}

/** Lines of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). */
export function knownHosts(address: string, port: number, keys: readonly string[]): string {
  const name = port === 22 ? address : `[${address}]:${port}`;
  return keys.map((key) => `${name} ${key}\n`).join('');
}
