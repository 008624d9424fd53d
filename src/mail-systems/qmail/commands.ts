import { script } from '../../hosts/command.ts';
import { printable } from '../../hosts/printable.ts';
import { type Contents, type Finding, type MailContext, warns } from '../mail-system.ts';
import { pathOf } from './control.ts';
import type { Homes } from './homes.ts';

/** A line `|…` of a `.qmail` file (dot-qmail(5)), which sh runs in the home. */
export interface CommandLine {
  readonly home: string;
  readonly file: string;
  readonly line: string;
}

/** One `.qmail` file after the other, so that a file is named with its line. */
const listScript = String.raw`
while IFS= read -r home; do
  for file in "$home"/.qmail*; do
    if [ -f "$file" ]; then
      HOME=$home FILE=$file awk '/^\|/ { print ENVIRON["HOME"] "\t" ENVIRON["FILE"] "\t" substr($0, 2) }' "$file"
    fi
  done
done`;

/** With the PATH that qmail's start scripts give; a word of the shell itself is found, too. */
const missingScript = String.raw`
PATH="$1/bin:/usr/local/bin:/usr/bin:/bin"
while IFS= read -r program; do
  command -v -- "$program" > /dev/null || printf '%s\n' "$program"
done`;

/**
 * qmail-command(8): sh ends with 127 for a program that is missing, a temporary failure. So mail for
 * such a home would wait on NEW, and bounce past `queuelifetime`. vpopmail's domains run vdelivermail.
 */
export async function missingPrograms(
  { old, new: target, migration }: MailContext,
  { homes }: Homes,
  { stores, carried }: Contents,
): Promise<readonly Finding[]> {
  const listed = await old.read(
    script(listScript, [], {
      stdin: homes.map(({ path }) => `${path}\n`).join(''),
      purpose: 'look for programs in .qmail files',
    }),
  );
  const found = filesByProgram(commandLines(listed.stdout.toString('utf8')), [
    ...stores,
    ...carried,
  ]);
  if (found.size === 0) return [];
  const missing = await target.read(
    script(missingScript, [pathOf(migration)], {
      stdin: [...found.keys()].map((program) => `${program}\n`).join(''),
      purpose: 'look for the same programs',
    }),
  );
  return missing.stdout
    .toString('utf8')
    .split('\n')
    .filter((program) => program !== '')
    .map((program) => {
      const [file = '', ...more] = found.get(program) ?? [];
      const others = more.length === 0 ? '' : ` and ${more.length} more`;
      return warns(
        `${target.label}: ${printable(program)} is missing there, which ${printable(file)}${others} runs on OLD for each message: such mail would wait on NEW, and bounce in the end`,
        'install it there, or name it in carry',
      );
    });
}

function commandLines(text: string): readonly CommandLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((row) => {
      const [home = '', file = '', ...line] = row.split('\t');
      return { home, file, line: line.join('\t') };
    });
}

/** The first word, unless the shell would change it. */
const firstWord = /^\s*(?:exec\s+)?([A-Za-z0-9_.+@/-]+)(?=\s|$)/;

/** Programs that the lines begin with, each with the files that name it; without what is copied. */
export function filesByProgram(
  lines: readonly CommandLine[],
  copied: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const { home, file, line } of lines) {
    const [, word = ''] = firstWord.exec(line) ?? [];
    const isRelative = word.includes('/') && !word.startsWith('/');
    const program = isRelative ? `${home}/${word.replace(/^\.\//, '')}` : word;
    if (program === '') continue;
    if (copied.some((tree) => program === tree || program.startsWith(`${tree}/`))) continue;
    found.set(program, [...(found.get(program) ?? []), file]);
  }
  return found;
}
