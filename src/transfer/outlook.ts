import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { mirrorProgram } from './mirror-program.ts';

/** What a pass between two hosts will be like, as far as it can be told before. */
export interface Outlook {
  /** For people: by which program, which way, with which cipher, and why. */
  readonly lines: readonly string[];
  /** Whether the source can open a connection to the target, which every pass does. */
  readonly connects: boolean;
  /** What the stores take on the source. */
  readonly bytes: number;
}

type NamedHost = Host & { readonly label: string };

export interface OutlookOptions {
  readonly source: NamedHost;
  readonly target: NamedHost;
  readonly targetPort: number;
  readonly stores: readonly string[];
}

/** Reads both hosts. The source asks the target for its host keys, so their logs show a connection. */
export async function outlook(options: OutlookOptions): Promise<Outlook> {
  const { source, target, targetPort, stores } = options;
  const [there, here, connects, bytes] = await Promise.all([
    abilities(source),
    abilities(target),
    reaches(source, target, targetPort),
    usage(source, stores),
  ]);
  const lacking = [there, here].find(({ mirrors }) => !mirrors);
  const aes = there.aes && here.aes;
  return {
    lines: [
      lacking === undefined
        ? 'Program: our own, which knows Maildirs (both hosts have perl); a store without a `cur` and with large files goes by rsync.'
        : `Program: rsync, because ${lacking.label} can't run ours (perl is missing, or its machine is not known to it). The final pass then looks at every message.`,
      `Way: ${source.label} connects to ${target.address}, port ${targetPort}, with a key made for each pass.`,
      aes
        ? 'Cipher: AES-GCM, because both processors have instructions for it; no compression, as on a network faster than 30 MB/s that costs more time than it gains.'
        : 'Cipher: ChaCha20, because not both processors have instructions for AES.',
    ],
    connects,
    bytes,
  };
}

interface Abilities {
  readonly label: string;
  readonly mirrors: boolean;
  readonly aes: boolean;
}

async function abilities(host: NamedHost): Promise<Abilities> {
  const result = await host.read(
    script(
      'if perl - probe 2>/dev/null; then echo mirrors; fi; if grep -qwm1 aes /proc/cpuinfo; then echo aes; fi',
      [],
      { stdin: mirrorProgram, purpose: 'see how mail can be copied' },
    ),
  );
  const words = result.stdout.toString('utf8').split('\n');
  return {
    label: host.label,
    mirrors: words.includes('mirrors'),
    aes: words.includes('aes'),
  };
}

async function reaches(source: Host, target: Host, port: number): Promise<boolean> {
  const result = await source.read(
    script('ssh-keyscan -T 10 -p "$1" -- "$2" 2>/dev/null || :', [String(port), target.address], {
      timeout: 60,
      purpose: 'see whether it reaches the other host',
    }),
  );
  return result.stdout.length > 0;
}

async function usage(host: Host, stores: readonly string[]): Promise<number> {
  const result = await host.read(
    script(
      // Files of a store that is in use vanish meanwhile, which du tells by its exit code alone.
      `for store; do used=$(du -sk -- "$store" 2>/dev/null) || [ -n "$used" ] || used=0; echo "\${used%%[!0-9]*}"; done`,
      stores,
      { timeout: 3600, purpose: 'measure the stores' },
    ),
  );
  const kib = result.stdout.toString('utf8').trim().split('\n').map(Number);
  return kib.reduce((sum, one) => sum + one, 0) * 1024;
}

/** A job of GitHub ends after six hours; at 25 MB/s this takes less than three. */
const bytesOfAPart = 250e9;
const mostParts = 16;

/** `["1/3","2/3","3/3"]`: the parts in which a store is best brought, or as many as are wanted. */
export function partsOf(bytes: number, wanted?: number): readonly string[] {
  const count = wanted ?? Math.min(mostParts, Math.max(1, Math.ceil(bytes / bytesOfAPart)));
  return Array.from({ length: count }, (_, index) => `${index + 1}/${count}`);
}
