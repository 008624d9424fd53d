import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { printable } from '../hosts/printable.ts';
import { blocks, called, type Finding } from './mail-system.ts';
import { mountsBelow } from './mounts.ts';

/** What a tree takes: KiB and inodes. */
export interface Usage {
  readonly kib: number;
  readonly inodes: number;
}

/** What the target must have free beyond the mail of the source that it lacks. */
export interface Spare {
  /** Share of the source's mail: it grows while it is copied. */
  readonly share: number;
  readonly kib: number;
}

/** A first copy: mail keeps coming. */
export const spareForMove: Spare = { share: 0.1, kib: 0 };
/** The way back: the host must not only hold the mail, but serve it. */
export const spareForReturn: Spare = { share: 0, kib: 16 * 1024 };

/** Whether the target's file systems have room for what the stores on the source take, in bytes and in inodes. */
export async function room(
  source: MailHost,
  target: MailHost,
  stores: readonly string[],
  spare: Spare = spareForMove,
): Promise<Finding[]> {
  if (stores.length === 0) return [];
  const places = await placesOf(target, stores);
  const [needed, present, disks] = await Promise.all([
    usageApart(source, places),
    usageApart(target, places),
    fileSystems(target, places),
  ]);
  return disks.flatMap(({ mount, free, places: on }) => {
    const sum = (all: readonly Usage[], what: keyof Usage) =>
      on.reduce((total, index) => total + (all[index]?.[what] ?? 0), 0);
    const wanted = (what: keyof Usage) =>
      Math.ceil(sum(needed, what) * (1 + spare.share)) + (what === 'kib' ? spare.kib : 0);
    const lacks = (what: keyof Usage) =>
      free[what] !== undefined && free[what] + sum(present, what) < wanted(what);
    const where = `${target.label}: ${printable(mount)} has`;
    const already = (what: keyof Usage, number: (count: number) => string | number) =>
      sum(present, what) > 0 ? `, of which ${number(sum(present, what))} are there` : '';
    return [
      ...(lacks('kib')
        ? [
            blocks(
              `${where} ${mebibytes(free.kib ?? 0)} MiB free, but ${called(source)}'s mail takes ${mebibytes(wanted('kib'))} MiB${already('kib', mebibytes)}`,
              'make room there',
            ),
          ]
        : []),
      ...(lacks('inodes')
        ? [
            blocks(
              `${where} ${free.inodes} free inodes, but ${called(source)}'s mail takes ${wanted('inodes')}${already('inodes', Number)}`,
              'use a file system made with more inodes',
            ),
          ]
        : []),
    ];
  });
}

/** The stores, and what is mounted in them on the target: each has room of its own. */
async function placesOf(target: MailHost, stores: readonly string[]): Promise<readonly string[]> {
  const mounted = (await mountsBelow(target, stores)).flat().map(({ path }) => {
    const bytes = Buffer.from(path, 'latin1');
    const text = bytes.toString('utf8');
    // One whose name is no text can't be asked for, and counts as a part of its store.
    return Buffer.from(text).equals(bytes) ? text : undefined;
  });
  return [...new Set([...stores, ...mounted.filter((path) => path !== undefined)])];
}

/** As `usage`, each without the places that lie in it. */
async function usageApart(host: MailHost, places: readonly string[]): Promise<readonly Usage[]> {
  const all = await usage(host, places);
  const around = places.map((path) => nearest(path, places));
  return all.map((whole, index) => {
    const within = all.filter((_, other) => around[other] === index);
    const apart = (what: keyof Usage) =>
      Math.max(
        0,
        within.reduce((left, usage) => left - usage[what], whole[what]),
      );
    return { kib: apart('kib'), inodes: apart('inodes') };
  });
}

/** Index of the innermost of the other places that a path lies in. */
function nearest(path: string, places: readonly string[]): number | undefined {
  return [...places.keys()]
    .filter((index) => path.startsWith(`${places[index]}/`))
    .sort((a, b) => (places[b]?.length ?? 0) - (places[a]?.length ?? 0))[0];
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
             # -D: a store that is a link is what it leads to.
             used=$(du -s -D $what -- "$store" 2>/dev/null) || [ -n "$used" ] || exit 1
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
  /** Indexes of the places that lie there, or will. */
  readonly places: number[];
}

async function fileSystems(host: MailHost, places: readonly string[]): Promise<FileSystem[]> {
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
      places,
      { purpose: 'look for free space' },
    ),
  );
  const found = new Map<string, FileSystem>();
  const lines = result.stdout.toString('utf8').trim().split('\n');
  for (const index of places.keys()) {
    const [, avail, itotal, iavail, mount = ''] =
      /^\s*(\S+)\s+(\S+)\s+(\S+)\s+(.*)$/.exec(lines[index] ?? '') ?? [];
    const isLimited = Number(itotal) > 0;
    const entry = found.get(mount) ?? {
      mount,
      free: { kib: Number(avail), inodes: isLimited ? Number(iavail) : undefined },
      places: [],
    };
    entry.places.push(index);
    found.set(mount, entry);
  }
  return [...found.values()];
}
