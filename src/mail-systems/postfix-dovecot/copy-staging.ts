import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { rsyncAside } from '../../transfer/rsync-pass.ts';
import type { MailContext } from '../mail-system.ts';
import { withoutSecrets } from './copy-diff.ts';
import { type Rewriting, rewrite } from './copy-rewrite.ts';
import { builder, built, type Sources, type Table } from './copy-sources.ts';

/** OLD's configuration in the folder of the migration on NEW, where only root may look. */
export interface Staging {
  readonly folder: string;
  /** As it is on OLD. */
  readonly before: string;
  /** As it is to be on NEW. */
  readonly after: string;
}

/** Where the configuration lies on NEW while it is copied. */
export function stagingOf(target: MailHost): Staging {
  const folder = `${target.folder}/staging`;
  return { folder, before: `${folder}/before`, after: `${folder}/after` };
}

/**
 * Parts of /etc/postfix that come with the package, not from an administrator. NEW keeps its own:
 * which map types are installed, and scripts of its own version. Our files stay where they are, too.
 */
const packaged = [
  ...['dynamicmaps.cf', 'dynamicmaps.cf.d', 'postfix-files', 'postfix-files.d', 'post-install'],
  ...['postfix-script', 'makedefs.out', 'main.cf.proto', 'master.cf.proto'],
];

/** Brings the sources over. Nothing that serves is touched. */
export async function bring(context: MailContext, sources: Sources): Promise<void> {
  const { old, new: target, migration } = context;
  const { folder, before, after } = stagingOf(target);
  await target.change(
    command(['rm', '-rf', '--', folder], { purpose: 'empty the staging folder' }),
  );
  await rsyncAside({
    source: old,
    target,
    migration: migration.name,
    paths: [...sources.trees, ...sources.files],
    into: before,
    exclude: ['mail-cutover-*', '*.mail-cutover.*'],
  });
  await target.change(
    script(
      `before=$1; after=$2; shift 2
       if [ -d "$before/etc/postfix" ]; then
         for name; do rm -rf -- "$before/etc/postfix/$name"; done
         cd /etc/postfix
         for name in "$@" mail-cutover-*; do
           if [ -e "$name" ] || [ -L "$name" ]; then cp -a -- "$name" "$before/etc/postfix/"; fi
         done
       fi
       cp -a -- "$before" "$after"`,
      [before, after, ...packaged],
      { purpose: 'stage the configuration' },
    ),
  );
}

/** Files larger than this are no hand-written configuration; in bytes. */
const largest = 4 * 1024 * 1024;

/** Rewrites every text file that is not in `spared`. Returns the paths of those that changed. */
export async function rewriteStaged(
  target: MailHost,
  rewriting: Rewriting,
  spared: readonly string[],
): Promise<readonly string[]> {
  const { after } = stagingOf(target);
  const changed: string[] = [];
  for (const { path, content } of await stagedFiles(target, after)) {
    const isSpared = spared.some((each) => path === each || path.startsWith(`${each}/`));
    const isPackaged = packaged.some(
      (name) => path === `/etc/postfix/${name}` || path.startsWith(`/etc/postfix/${name}/`),
    );
    if (isSpared || isPackaged || content.includes(0)) continue;
    // One byte a character, so that whatever the encoding is, it stays.
    const text = content.toString('latin1');
    const other = rewrite(path, text, rewriting);
    if (other === text) continue;
    await target.change(
      script('cat > "$1"', [`${after}${path}`], {
        stdin: Buffer.from(other, 'latin1'),
        purpose: `rewrite ${path}`,
      }),
    );
    changed.push(path);
  }
  return changed;
}

async function stagedFiles(
  target: MailHost,
  root: string,
): Promise<readonly { path: string; content: Buffer }[]> {
  const result = await target.read(
    script(
      `cd "$1"
       find . -type f -size "-$2c" ! -name '*.db' -printf '%s %P\\0' > "$1.list"
       xargs -0 -r -n 1 sh -c 'printf "%s\\0" "$1"; cat -- "\${1#* }"' sh < "$1.list"
       rm -f -- "$1.list"`,
      [root, String(largest)],
      { purpose: 'read the staged files' },
    ),
  );
  const files: { path: string; content: Buffer }[] = [];
  for (let at = 0; at < result.stdout.length; ) {
    const end = result.stdout.indexOf(0, at);
    const [, size = '0', path = ''] =
      /^(\d+) (.*)$/s.exec(result.stdout.toString('utf8', at, end)) ?? [];
    at = end + 1 + Number(size);
    files.push({ path: `/${path}`, content: result.stdout.subarray(end + 1, at) });
  }
  return files;
}

/**
 * OLD's own name stays a mail domain: mail for it that still reaches OLD comes to NEW by the door,
 * and would be sent back were it not NEW's own.
 */
export async function keepOldName(
  target: MailHost,
  oldName: string,
  wasDestination: boolean,
): Promise<void> {
  if (!wasDestination) return;
  await target.change(
    script(
      `if [ "$(postconf -c "$1" -xh myhostname)" = "$2" ]; then exit 0; fi
       postconf -c "$1" -e "mydestination=$(postconf -c "$1" -h mydestination), $2"`,
      [`${stagingOf(target).after}/etc/postfix`, oldName],
      { purpose: "keep OLD's own name as a destination" },
    ),
  );
}

/** Makes every table anew: Berkeley DB files of another version can't be read. Returns their paths. */
export async function rebuild(
  target: MailHost,
  tables: readonly Table[],
): Promise<readonly string[]> {
  const { after } = stagingOf(target);
  const made: string[] = [];
  for (const table of tables.filter(({ type }) => type in built)) {
    // postmap(1) works as the owner of the source, who may not come into the staging folder.
    const result = await target.change(
      script(
        `if [ ! -f "$1" ]; then exit 44; fi
         owner=$(stat -c %u:%g -- "$1")
         mode=$(stat -c %a -- "$1")
         chown 0:0 -- "$1"
         rm -f -- "$1$4"
         "$3" "$2:$1"
         chown "$owner" -- "$1" "$1$4"
         chmod "$mode" -- "$1" "$1$4"`,
        [`${after}${table.path}`, table.type, builder(table), built[table.type] ?? ''],
        { allow: [0, 44], timeout: 1800, purpose: `build ${table.type}:${table.path}` },
      ),
    );
    if (result.code === 0) made.push(`${table.path}${built[table.type] ?? ''}`);
  }
  return made;
}

/**
 * Whether the programs on NEW take it, at the paths where it will be: in a mount namespace of its own
 * (unshare(1)), so that nothing else sees it. Returns what they warn of; throws on an error.
 */
export async function checkStaged(target: MailHost, sources: Sources): Promise<readonly string[]> {
  const result = await target.change(
    script(
      `export after=$1; shift
       unshare -m --propagation private sh -eu -c '
         for path; do if [ -e "$path" ] && [ -e "$after$path" ] && [ ! -L "$path" ]; then mount --bind "$after$path" "$path"; fi; done
         postconf -n > /dev/null
         postconf -M > /dev/null
         doveconf -n > /dev/null
         if [ -e /etc/opendkim.conf ] && command -v opendkim > /dev/null; then opendkim -n; fi' sh "$@"`,
      [stagingOf(target).after, ...sources.trees, ...sources.files],
      { purpose: 'check the staged configuration' },
    ),
  );
  return result.stderr.split('\n').filter((line) => line.trim() !== '');
}

/** What NEW gets otherwise than OLD has it, as a unified diff with secrets hidden. */
export async function stagedDifference(target: MailHost): Promise<readonly string[]> {
  const { folder } = stagingOf(target);
  const result = await target.read(
    script(
      'cd "$1"; diff -rN --no-dereference -U1 -x "*.db" -x "*.lmdb" -x "*.cdb" before after',
      [folder],
      {
        allow: [0, 1],
        purpose: 'show the difference',
      },
    ),
  );
  return withoutSecrets(result.stdout.toString('utf8'));
}
