import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';

/** How the source connects to the target's sshd. */
export interface Way {
  /** What the source connects to. */
  readonly address: string;
  readonly port: number;
  /** Addresses that the target sees; undefined: the source's own. */
  readonly from: readonly string[] | undefined;
  /** Whether it leads over the runner, and so lasts no longer than this job. */
  readonly throughRunner: boolean;
  close(): Promise<void>;
}

/** A plain connection, several times as fast as a key exchange: it falls into the downtime. */
const knock = String.raw`
if command -v perl > /dev/null; then
  if perl -e '
    use Socket qw(:DEFAULT :addrinfo);
    my (undef, @found) = getaddrinfo($ARGV[0], $ARGV[1], { socktype => SOCK_STREAM });
    alarm 10;
    for (@found) {
      socket(my $socket, $_->{family}, SOCK_STREAM, 0) or next;
      exit 0 if connect($socket, $_->{addr});
    }
    exit 1' "$1" "$2" 2>/dev/null; then echo reached; fi
else ssh-keyscan -T 10 -p "$2" -- "$1" 2>/dev/null || :; fi`;

/** Whether the target's port of sshd answers the source. */
export async function reaches(source: Host, target: Host, port: number): Promise<boolean> {
  const result = await source.read(
    script(knock, [target.address, String(port)], {
      timeout: 60,
      purpose: 'see whether it reaches the other host',
    }),
  );
  return result.stdout.length > 0;
}

/**
 * The straight way where there is one. Else a port on the source leads over the runner's own two
 * connections to the target's sshd, which then sees itself.
 */
export async function openWay(source: Host, target: Host, port: number): Promise<Way> {
  if (await reaches(source, target, port))
    return {
      address: target.address,
      port,
      from: undefined,
      throughRunner: false,
      close: async () => {},
    };
  const there = await target.tunnel('127.0.0.1', port);
  const back = await source.tunnelBack(there.port);
  return {
    address: '127.0.0.1',
    port: back.port,
    from: ['127.0.0.1', '::1'],
    throughRunner: true,
    close: async () => {
      await Promise.allSettled([back.close(), there.close()]);
    },
  };
}
