import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { printable } from '../hosts/printable.ts';
import { blocks, type Finding, tells } from './mail-system.ts';

/** A file system that is mounted below a tree. */
export interface Mount {
  /** Where, in the words of the tree, which may be a link; each byte of a name is a character. */
  readonly path: string;
  /** Its type, as the kernel calls it. */
  readonly kind: string;
}

/** What is mounted below each of the trees, by /proc/self/mountinfo (proc(5)). */
export async function mountsBelow(
  host: Host,
  trees: readonly string[],
): Promise<readonly (readonly Mount[])[]> {
  const result = await host.read(
    script(
      String.raw`for tree; do printf '%s\0' "$(readlink -f -- "$tree" || :)"; done
cat /proc/self/mountinfo`,
      trees,
      { purpose: 'look for file systems in the stores' },
    ),
  );
  const parts = result.stdout.toString('latin1').split('\0');
  const all = readMounts(parts[trees.length] ?? '');
  return trees.map((tree, index) => {
    const real = `${parts[index]}/`;
    const named = Buffer.from(tree).toString('latin1');
    const below = all.filter(({ path }) => real !== '/' && path.startsWith(real));
    return below.map(({ path, kind }) => ({ path: `${named}/${path.slice(real.length)}`, kind }));
  });
}

/** Of several mounts on one path the last is the one that is seen. */
function readMounts(mountinfo: string): readonly Mount[] {
  const found = new Map<string, Mount>();
  for (const line of mountinfo.split('\n')) {
    const [fields = '', kind = ''] = line.split(' - ');
    const path = decoded(fields.split(' ')[4] ?? '');
    if (path !== '') found.set(path, { path, kind: kind.split(' ')[0] ?? '' });
  }
  return [...found.values()];
}

/** The kernel writes a space, a tab, a newline and a backslash as three octal digits. */
function decoded(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/**
 * File systems within the stores: they are copied like all else, but no seal may lie over them. In a network
 * file system others may write, as in a store that is one.
 */
export async function mountsInStores(
  source: MailHost,
  target: MailHost,
  stores: readonly string[],
): Promise<Finding[]> {
  if (stores.length === 0) return [];
  const [there, here] = await Promise.all([
    mountsBelow(source, stores),
    mountsBelow(target, stores),
  ]);
  return stores.flatMap((store, index) => [
    ...told(
      source,
      store,
      there[index],
      'they are copied too, but freeze does not make that store read-only',
    ),
    ...told(target, store, here[index], 'what belongs there is written to them'),
  ]);
}

function told(
  host: MailHost,
  store: string,
  mounts: readonly Mount[] = [],
  what: string,
): Finding[] {
  if (mounts.length === 0) return [];
  const named = mounts.map(
    ({ path, kind }) => `${printable(Buffer.from(path, 'latin1'))} (${kind})`,
  );
  const remote = named.filter((_, index) => networked.test(mounts[index]?.kind ?? ''));
  if (remote.length > 0)
    return [
      blocks(
        `${host.label}: in the store ${printable(store)} lies ${few(remote)}, where this suite can't tell who else writes`,
        'bring it to a local disk first',
      ),
    ];
  return [
    tells(
      `${host.label}: file systems of their own in the store ${printable(store)}: ${few(named)}; ${what}`,
    ),
  ];
}

/** As the check of the store itself has it (`remoteStores`); those in user space are fuse.NAME. */
const networked = /^(?:fuse\.)?(?:nfs|ceph|gluster|smb|cifs|afs|lustre|gpfs|ocfs2|9p|sshfs)/;

function few(names: readonly string[]): string {
  const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
  return `${names.slice(0, 5).join(', ')}${more}`;
}
