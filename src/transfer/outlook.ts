import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { mirrorProgram } from './mirror-program.ts';
import { findWay, type Way } from './way.ts';

/** What a pass between two hosts will be like, as far as it can be told before. */
export interface Outlook {
  /** For people: by which program, which way, with which cipher, and why. */
  readonly lines: readonly string[];
  /** Whether one of the hosts can open a connection to the other; else mail goes through the runner. */
  readonly connects: boolean;
  /** What the stores take on the source. */
  readonly bytes: number;
}

type NamedHost = Host & { readonly label: string };

/** The pass that is looked ahead to. */
export interface OutlookOptions {
  readonly source: NamedHost;
  readonly target: NamedHost;
  readonly stores: readonly string[];
}

/** Reads both hosts. One knocks at the other's sshd, so its log shows a connection. */
export async function outlook(options: OutlookOptions): Promise<Outlook> {
  const { source, target, stores } = options;
  const [there, here, found, bytes] = await Promise.all([
    abilities(source),
    abilities(target),
    findWay(source, target),
    usage(source, stores),
  ]);
  const lacking = [there, here].find(({ mirrors }) => !mirrors);
  const aes = there.aes && here.aes;
  // Where the target connects, a program of ours in Perl joins it to the source.
  const way: Way = found.by === 'target' && !(there.perl && here.perl) ? { by: 'runner' } : found;
  return {
    lines: [
      lacking === undefined
        ? 'Program: our own, which knows Maildirs (both hosts have perl); a store without a `cur` and with large files goes by rsync, of which only folders that changed are looked at.'
        : `Program: rsync, because ${lacking.label} can't run ours (perl is missing, or its machine is not known to it). After the first pass it looks only at folders that changed since; where that can't be told, at every message.`,
      wayLine(options, way),
      aes
        ? 'Cipher: AES-GCM, because both processors have instructions for it.'
        : 'Cipher: ChaCha20, because not both processors have instructions for AES.',
      'Compression: none at first. Should the first 32 MB come at less than 60 MB/s, it is tried, and kept if mail comes faster with it.',
    ],
    connects: way.by !== 'runner',
    bytes,
  };
}

function wayLine({ source, target }: OutlookOptions, way: Way): string {
  const unanswered = `${source.label} gets no answer from sshd at ${target.address}, port ${target.port}`;
  switch (way.by) {
    case 'source':
      return `Way: ${source.label} connects to ${way.address}, port ${way.port}, with a key made for each pass.`;
    case 'target':
      return `Way: ${target.label} connects to ${way.address}, port ${way.port}, with a key made for each pass, because ${unanswered}.`;
    case 'runner':
      return `Way: through the runner, because ${unanswered}, nor can that one connect to it. All mail crosses the runner's two connections, and a pass ends with its job.`;
  }
}

interface Abilities {
  readonly label: string;
  readonly perl: boolean;
  readonly mirrors: boolean;
  readonly aes: boolean;
}

async function abilities(host: NamedHost): Promise<Abilities> {
  const result = await host.read(
    script(
      'if perl -e 1 2>/dev/null; then echo perl; fi; if perl - probe 2>/dev/null; then echo mirrors; fi; if grep -qwm1 aes /proc/cpuinfo; then echo aes; fi',
      [],
      { stdin: mirrorProgram, purpose: 'see how mail can be copied' },
    ),
  );
  const words = result.stdout.toString('utf8').split('\n');
  return {
    label: host.label,
    perl: words.includes('perl'),
    mirrors: words.includes('mirrors'),
    aes: words.includes('aes'),
  };
}

async function usage(host: Host, stores: readonly string[]): Promise<number> {
  const result = await host.read(
    script(
      // Files of a store that is in use vanish meanwhile, which du tells by its exit code alone.
      `for store; do used=$(du -skD -- "$store" 2>/dev/null) || [ -n "$used" ] || used=0; echo "\${used%%[!0-9]*}"; done`,
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
