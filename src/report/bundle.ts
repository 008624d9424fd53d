import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Entry, verified } from '../engine/journal.ts';
import { type State, stateOf } from '../engine/states.ts';
import { UserError } from '../errors.ts';
import { auditPage } from './audit.ts';
import { digestOf, recordedPlans } from './plan-difference.ts';
import { undoneOtherwise, undoRecords } from './undo-records.ts';

/** What goes into an audit bundle besides the journal and its page. */
export interface BundleParts {
  readonly migration: string;
  /** Lines of the journal, as they are on the hosts. */
  readonly lines: readonly string[];
  /** Report of the stage that made the bundle, as JSON. */
  readonly report: string;
  /** Its job summary. */
  readonly summary: string;
  /** Versions of the suite and what it ran on. */
  readonly versions: Readonly<Record<string, string>>;
}

const sums = 'SHA256SUMS';

/** Writes a bundle into `folder`, which is made. `sha256sum -c SHA256SUMS` checks it too. */
export async function writeBundle(folder: string, parts: BundleParts): Promise<void> {
  const versions = { migration: parts.migration, ...parts.versions };
  const files: Record<string, string> = {
    'journal.jsonl': parts.lines.map((line) => `${line}\n`).join(''),
    'audit.html': auditPage(parts.migration, parts.lines),
    'plans.json': plansFile(parts.lines.map((line) => JSON.parse(line) as Entry)),
    'report.json': parts.report,
    'summary.md': parts.summary,
    'versions.json': `${JSON.stringify(versions, undefined, 2)}\n`,
  };
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  const list = Object.entries(files).map(([name, content]) => `${sha256(content)}  ${name}\n`);
  await writeFile(join(folder, sums), list.join(''));
}

/** Every plan that a stage ran with, under its digest. */
function plansFile(entries: readonly Entry[]): string {
  return `${JSON.stringify(Object.fromEntries(recordedPlans(entries)), undefined, 2)}\n`;
}

/** What a whole bundle tells. */
export interface CheckedBundle {
  readonly migration: string;
  readonly entries: readonly Entry[];
  readonly state: State;
  /** SHA-256 of the last line: compare it with that of another copy. */
  readonly head: string;
  /** What was looked at, in words. */
  readonly evidence: readonly string[];
}

/** Checks a bundle, its folder or its journal alone. Throws `UserError` for what does not fit. */
export async function checkBundle(path: string): Promise<CheckedBundle> {
  const folder = (await isFolder(path)) ? path : undefined;
  const file = folder === undefined ? path : join(folder, 'journal.jsonl');
  const raw = await contentOf(file);
  const lines = verified(raw, basename(file));
  if (lines.length === 0 || !raw.endsWith('\n'))
    throw new UserError(`${file}: the last line is cut off; take the bundle from the run again`);
  const entries = lines.map((line) => JSON.parse(line) as Entry);
  const head = sha256(lines.at(-1) ?? '');
  const evidence = [
    `journal: ${lines.length} lines, each holds its own hash and that of the one before; last ${head}`,
  ];
  const undone = undoRecords(entries).filter(({ gone }) => gone !== undefined).length;
  evidence.push(
    `undo records: ${undoRecords(entries).length} were made, ${undone} of them undone or dropped`,
    ...undoneOtherwise(entries),
  );
  let migration = basename(dirname(file));
  if (folder !== undefined) {
    evidence.push(...(await checkSums(folder)));
    migration = JSON.parse(await contentOf(join(folder, 'versions.json'))).migration;
    if ((await contentOf(join(folder, 'audit.html'))) === auditPage(migration, lines))
      evidence.push('audit.html: is the page that this journal makes');
    else
      throw new UserError(
        `${join(folder, 'audit.html')}: is not the page that the journal makes. It was edited, or made by another version of the suite (versions.json names it)`,
      );
    evidence.push(await checkPlans(folder, entries));
  }
  return { migration, entries, state: stateOf(entries), head, evidence };
}

async function checkPlans(folder: string, entries: readonly Entry[]): Promise<string> {
  const file = join(folder, 'plans.json');
  const plans = recordedPlans(entries);
  const wrong = [...plans].find(([digest, plan]) => digestOf(plan) !== digest);
  if (wrong !== undefined)
    throw new UserError(`${file}: the plan under ${wrong[0]} does not have that digest`);
  if ((await contentOf(file)) !== plansFile(entries))
    throw new UserError(`${file}: does not hold the plans of the journal. It was edited`);
  return `plans.json: ${plans.size} of the journal, each with the digest that was approved`;
}

async function checkSums(folder: string): Promise<readonly string[]> {
  const listed = (await contentOf(join(folder, sums))).split('\n').filter(Boolean);
  const named = new Map(listed.map((line) => [line.slice(66), line.slice(0, 64)]));
  const present = (await readdir(folder)).filter((name) => name !== sums);
  const wrong: string[] = [...present].filter((name) => !named.has(name));
  for (const [name, sum] of named) {
    const content = present.includes(name) ? await contentOf(join(folder, name)) : undefined;
    if (content === undefined || sha256(content) !== sum) wrong.push(name);
  }
  if (wrong.length > 0)
    throw new UserError(
      `${folder}: not as ${sums} lists it: ${wrong.join(', ')}. The bundle was edited; take it from the run again`,
    );
  return [`${sums}: ${named.size} files as listed`];
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function contentOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new UserError(
      `${path}: can't be read; name the folder of an audit bundle or its journal.jsonl`,
      { cause: error },
    );
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
