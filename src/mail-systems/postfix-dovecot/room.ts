import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding } from '../mail-system.ts';

/** What a tree takes: KiB and inodes. */
export interface Usage {
  readonly kib: number;
  readonly inodes: number;
}

/** A tenth more than OLD has now, because mail keeps coming. */
const headroom = 1.1;

/** Whether NEW's file systems have room for what the stores on OLD take, in bytes and in inodes. */
export async function room(
  old: MailHost,
  target: MailHost,
  stores: readonly string[],
): Promise<Finding[]> {
  const [needed, present, disks] = await Promise.all([
    usage(old, stores),
    usage(target, stores),
    fileSystems(target, stores),
  ]);
  return disks.flatMap(({ mount, free, stores: on }) => {
    const sum = (all: readonly Usage[], what: keyof Usage) =>
      on.reduce((total, index) => total + (all[index]?.[what] ?? 0), 0);
    const lacks = (what: keyof Usage) =>
      free[what] !== undefined &&
      free[what] + sum(present, what) < Math.ceil(sum(needed, what) * headroom);
    const where = `${target.label}: ${printable(mount)} has`;
    const wanted = (what: keyof Usage) => Math.ceil(sum(needed, what) * headroom);
    return [
      ...(lacks('kib')
        ? [
            blocks(
              `${where} ${mebibytes(free.kib ?? 0)} MiB free, but OLD's mail takes ${mebibytes(wanted('kib'))} MiB`,
              'make room there',
            ),
          ]
        : []),
      ...(lacks('inodes')
        ? [
            blocks(
              `${where} ${free.inodes} free inodes, but OLD's mail takes ${wanted('inodes')}`,
              'use a file system made with more inodes',
            ),
          ]
        : []),
    ];
  });
}

function mebibytes(kib: number): string {
  return (kib / 1024).toFixed(1);
}

/** What each of the stores takes; nothing where it does not exist. */
export async function usage(host: MailHost, stores: readonly string[]): Promise<Usage[]> {
  const result = await host.read(
    script(
      `for store; do
         if [ -e "$store" ]; then
           for what in -k --inodes; do
             # Files of a store that is in use vanish meanwhile, which du tells by its exit code alone.
             used=$(du -s $what -- "$store" 2>/dev/null) || [ -n "$used" ] || exit 1
             printf '%s\\n' "\${used%%[!0-9]*}"
           done
         else printf '0\\n0\\n'; fi
       done`,
      stores,
      { timeout: 3600, purpose: 'measure the stores' },
    ),
  );
  const numbers = result.stdout.toString('utf8').split('\n').map(Number);
  return stores.map((_, index) => ({
    kib: numbers[2 * index] ?? 0,
    inodes: numbers[2 * index + 1] ?? 0,
  }));
}

interface FileSystem {
  readonly mount: string;
  /** A file system without a fixed number of inodes (btrfs) says 0 in all: no limit. */
  readonly free: { readonly kib: number; readonly inodes: number | undefined };
  /** Indexes of the stores that lie there, or will. */
  readonly stores: number[];
}

async function fileSystems(host: MailHost, stores: readonly string[]): Promise<FileSystem[]> {
  const result = await host.read(
    script(
      `for path; do
         while [ ! -e "$path" ]; do path=$(dirname -- "$path"); done
         kib=$(df -Pk -- "$path")
         inodes=$(df -Pi -- "$path")
         printf '%s\\n%s\\n' "$kib" "$inodes" | awk '
           NR == 2 { free = $4 }
           NR == 4 { total = $2; left = $4; for (i = 0; i < 5; i++) sub(/^[^ ]+ +/, ""); print free, total, left, $0 }'
       done`,
      stores,
      { purpose: 'look for free space' },
    ),
  );
  const found = new Map<string, FileSystem>();
  const lines = result.stdout.toString('utf8').trim().split('\n');
  for (const index of stores.keys()) {
    const [, avail, itotal, iavail, mount = ''] =
      /^\s*(\S+)\s+(\S+)\s+(\S+)\s+(.*)$/.exec(lines[index] ?? '') ?? [];
    const isLimited = Number(itotal) > 0;
    const entry = found.get(mount) ?? {
      mount,
      free: { kib: Number(avail), inodes: isLimited ? Number(iavail) : undefined },
      stores: [],
    };
    entry.stores.push(index);
    found.set(mount, entry);
  }
  return [...found.values()];
}
