import { createHash } from 'node:crypto';
import type { Step } from '../../engine/step.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import type { Contents, MailContext } from '../mail-system.ts';
import { accountsStep, ownerNumbers } from './copy-accounts.ts';
import { plainAddress, type Rewriting } from './copy-rewrite.ts';
import { type Sources, sourcesOf, tablesOf } from './copy-sources.ts';
import {
  bring,
  checkStaged,
  keepOldName,
  rebuild,
  rewriteStaged,
  stagedDifference,
  stagingOf,
} from './copy-staging.ts';
import { configurationGroup as group, keepFingerprint } from './fingerprint.ts';
import { ownersOf } from './owners.ts';
import { demandPostfix, type Postfix, parseParameters, words } from './postfix.ts';

/** On NEW: the digest of OLD's configuration that was put in place last. */
const marker = 'configuration-copied';

/** Lines of the difference that a log shows. */
const mostLines = 400;

/** `provision: copy`: OLD's accounts and configuration come to NEW, which must be fenced. */
export function copySteps(
  context: MailContext,
  contents: () => Promise<Contents>,
): readonly Step[] {
  const sources = once(() => sourcesOf(context.old));
  const owners = once(async () => {
    const [{ stores, carried }, { trees, files }] = await Promise.all([contents(), sources()]);
    return ownersOf(context, [...new Set([...stores, ...carried, ...trees, ...files])]);
  });
  return [
    accountsStep(context, owners, async () => (await contents()).stores),
    {
      id: 'configuration',
      title: "Bring OLD's configuration to NEW, with addresses, names and numbers rewritten",
      done: async () =>
        (await copiedDigest(context.new)) ===
        (await sourceDigest(context.old, await sources(), (await contents()).carried)),
      do: async () =>
        copyConfiguration(context, await sources(), await owners(), (await contents()).carried),
      undo: async () => {
        await context.new.edit('undo', [group]);
      },
    },
  ];
}

function once<T>(look: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= look();
    return result;
  };
}

async function copyConfiguration(
  context: MailContext,
  sources: Sources,
  owners: readonly string[],
  carried: readonly string[],
): Promise<string> {
  const { old, new: target, log } = context;
  const digest = await sourceDigest(old, sources, carried);
  const postfix = await demandPostfix(old);
  await bring(context, sources);
  const rewriting = await rewritingOf(context, postfix, owners);
  const changed = await rewriteStaged(target, rewriting, carried);
  const oldName = postfix.parameters.get('myhostname') ?? '';
  await keepOldName(
    target,
    oldName,
    words(postfix.parameters.get('mydestination')).includes(oldName),
  );
  const tables = await rebuild(target, await stagedTables(target));
  for (const line of await stagedDifference(target).then(shortened)) log.info(printable(line));
  for (const line of await checkStaged(target, sources))
    log.warning(`${target.label}: ${printable(line)}`);
  // A table is made beside its source, which may lie outside the trees.
  const beside = tables.filter(
    (path) => !sources.trees.some((tree) => path.startsWith(`${tree}/`)),
  );
  await putInPlace(target, [...new Set([...sources.trees, ...sources.files, ...beside])]);
  await target.edit('put', [marker], { stdin: digest, purpose: 'note what was copied' });
  await target.change(
    command(['rm', '-rf', '--', stagingOf(target).folder], { purpose: 'empty the staging folder' }),
  );
  return `${sources.trees.length} folders and ${sources.files.length} files; rewritten: ${changed.join(', ') || 'nothing'}; ${tables.length} tables built`;
}

function shortened(lines: readonly string[]): readonly string[] {
  return lines.length <= mostLines
    ? lines
    : [...lines.slice(0, mostLines), `… ${lines.length - mostLines} more lines`];
}

async function putInPlace(target: MailHost, paths: readonly string[]): Promise<void> {
  // The door stands in what is replaced; its own step sets it up again.
  await target.edit('undo', ['door'], { purpose: 'take the door down' });
  await keepFingerprint(target);
  await target.edit('tree', [group, stagingOf(target).after, ...paths], {
    purpose: 'put the configuration in place',
  });
}

async function rewritingOf(
  context: MailContext,
  postfix: Postfix,
  owners: readonly string[],
): Promise<Rewriting> {
  const [addresses, hostName, numbers] = await Promise.all([
    addressPairs(context),
    hostNames(context),
    ownerNumbers(context, owners),
  ]);
  const tables = tablesOf(postfix);
  const naming = (setting: string) =>
    tables.filter(({ settings }) => settings.includes(setting)).map(({ path }) => path);
  return {
    addresses,
    ...(hostName ? { hostName } : {}),
    ...numbers,
    uidTables: naming('virtual_uid_maps'),
    gidTables: naming('virtual_gid_maps'),
  };
}

/** OLD's addresses, each with NEW's at the same place of its list; where NEW has fewer, with its first. */
async function addressPairs({
  old,
  new: target,
  migration,
}: MailContext): Promise<ReadonlyMap<string, string>> {
  const [there, here] = await Promise.all([
    addressesOf(old, migration.old['public-addresses']),
    addressesOf(target, migration.new['public-addresses']),
  ]);
  const pairs = new Map<string, string>();
  for (const isSix of [false, true]) {
    const ofKind = (list: readonly string[]) =>
      list.filter((address) => address.includes(':') === isSix);
    const targets = ofKind(here);
    for (const [index, address] of ofKind(there).entries()) {
      const other = targets[index] ?? targets[0];
      if (other !== undefined) pairs.set(address, other);
    }
  }
  return pairs;
}

/** Public ones first. Link-local ones name no host. */
async function addressesOf(
  host: MailHost,
  publicOnes: readonly string[] | undefined,
): Promise<readonly string[]> {
  const result = await host.read(
    script('ip -o addr show scope global', [], { purpose: 'read its own addresses' }),
  );
  const own = [...result.stdout.toString('utf8').matchAll(/inet6? ([0-9a-f.:]+)/g)].map(
    (match) => match[1] ?? '',
  );
  return [
    ...new Set([...(publicOnes ?? []), ...own].map((address) => plainAddress(address) ?? address)),
  ];
}

/** The machines' own names; none where OLD's is one by which mail or clients find it. */
async function hostNames({
  old,
  new: target,
  migration,
}: MailContext): Promise<Rewriting['hostName']> {
  const nameOf = async (host: MailHost) =>
    (
      await host.read(
        script('hostname -f 2>/dev/null || hostname', [], { purpose: 'read its name' }),
      )
    ).stdout
      .toString('utf8')
      .trim()
      .toLowerCase();
  const [there, here] = await Promise.all([nameOf(old), nameOf(target)]);
  const mailNames = [
    ...migration.domains,
    ...migration.dns.flatMap((zone) => zone.records.map((record) => record.name)),
  ];
  return there === here || mailNames.includes(there) ? undefined : { old: there, new: here };
}

/** Tables of the staged configuration, with the paths that they will have. */
async function stagedTables(target: MailHost) {
  const { after } = stagingOf(target);
  const result = await target.read(
    script('postconf -c "$1" -x; postconf -c "$1" -P', [`${after}/etc/postfix`], {
      purpose: 'list the tables',
    }),
  );
  return tablesOf({ parameters: parseParameters(result.stdout.toString('utf8')) }, after);
}

async function copiedDigest(target: MailHost): Promise<string | undefined> {
  const result = await target.read(
    script(
      'if [ -d "$1/undo/$2" ] && [ -e "$1/$3" ]; then cat "$1/$3"; fi',
      [target.folder, group, marker],
      {
        purpose: 'look at what was copied',
      },
    ),
  );
  return result.stdout.toString('utf8').trim() || undefined;
}

/** Of names, modes, links and contents on OLD; not of what every pass brings, nor of our own files. */
async function sourceDigest(
  old: MailHost,
  { trees, files }: Sources,
  carried: readonly string[],
): Promise<string> {
  const result = await old.read(
    script(
      `out=$(mktemp -d /run/mail-cutover.XXXXXX)
       trap 'rm -rf -- "$out"' EXIT
       find "$@" -name 'mail-cutover-*' -prune -o -name '*.db' -o -printf '%y %m %u:%g %l %p\\n' > "$out/list"
       find "$@" -name 'mail-cutover-*' -prune -o -name '*.db' -o -type f -exec sha256sum -- {} + >> "$out/list"
       cat "$out/list"`,
      [...trees, ...files],
      { purpose: 'read the configuration' },
    ),
  );
  const lines = result.stdout
    .toString('utf8')
    .split('\n')
    .filter(
      (line) => !carried.some((path) => line.endsWith(` ${path}`) || line.includes(` ${path}/`)),
    );
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex');
}
