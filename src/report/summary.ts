import type { StepReport } from '../engine/runner.ts';
import type { Finding } from '../mail-systems/mail-system.ts';
import { words } from './durations.ts';

/** One stage to come: what it does, and what it took when it was last run. */
export interface RunbookStage {
  readonly stage: string;
  readonly titles: readonly string[];
  /** Seconds; undefined when it was never run. */
  readonly measured?: number | undefined;
}

/** What a stage did, for people and for programs. */
export interface Report {
  readonly migration: string;
  readonly stage: string;
  readonly dryRun: boolean;
  /** State before, where the stage changed it. */
  readonly stateBefore?: string | undefined;
  readonly state: string;
  readonly nextStage: string;
  readonly planDigest: string;
  readonly steps: readonly StepReport[];
  readonly findings: readonly Finding[];
  readonly rrsets: readonly string[];
  readonly seconds: number;
  readonly downtimeSeconds?: number | undefined;
  /** plan: what will happen. */
  readonly runbook?: readonly RunbookStage[];
  /** Gates that stand within the downtime, and the seconds that passing one took last. */
  readonly waits?: { readonly number: number; readonly last: number | undefined } | undefined;
  /** How this job came past its gate, in words. */
  readonly gate?: string | undefined;
  /** Why the stage failed. */
  readonly failure?: string | undefined;
  /** It failed before it changed anything. */
  readonly refused?: boolean | undefined;
  /** What of the plan is other than what was approved, a line a part; empty where it can't be told. */
  readonly differences?: readonly string[] | undefined;
  /** Part by part what the digest stands for: of a plan, and of a refusal for its sake. */
  readonly covered?: readonly string[] | undefined;
  /** plan: how mail will be copied, and why so; of our own words only. */
  readonly outlook?: readonly string[] | undefined;
  /** What to do after a failure, as Markdown; of our own words only. */
  readonly goingOn?: readonly string[] | undefined;
  /** A diagram, as Markdown; made of our own words only. */
  readonly timeline?: string | undefined;
}

const marks = {
  done: '✅ done',
  already: '✔️ already so',
  would: '◻️ would',
  failed: '❌ failed',
} as const;

/** Lines of a list before its fold, lines and bytes in a fold, and characters of a text. */
const limits = { shown: 6, lines: 200, bytes: 150_000, characters: 600 } as const;

/** What is closed to clients from the first of these stages until the last has ended. */
const downtimeStages = ['freeze', 'transfer final', 'activate'];

/**
 * The job summary, in GitHub's Markdown: one screen on which a reviewer decides, the rest in folds.
 * Every list is cut, so it stays far below the limit of 1 MiB.
 */
export function summary(report: Report): string {
  const { findings, steps, rrsets } = report;
  const blocking = findings.filter(({ severity }) => severity === 'blocks');
  const warning = findings.filter(({ severity }) => severity === 'warns');
  return [
    `## ${plainText(report.migration)}: ${report.stage}${report.dryRun ? ' (dry run)' : ''}`,
    verdict(report, blocking.length),
    facts(report),
    ...list('What is in the way', blocking.map(line)),
    ...list('What is other than in the approved plan', differences(report)),
    ...list(
      'To go on',
      (report.goingOn ?? []).map((text) => `- ${text}`),
    ),
    ...list('What to know', warning.map(line)),
    ...list(
      'In figures',
      findings
        .filter(({ severity }) => severity === 'tells')
        .map(({ text }) => `- ${plainText(text)}`),
    ),
    ...(report.runbook?.length ? [runbook(report.runbook)] : []),
    ...list(
      'How mail is copied',
      (report.outlook ?? []).map((text) => `- ${text}`),
    ),
    ...list(
      'DNS',
      rrsets.map((rrset) => `- ${plainText(rrset)}`),
    ),
    ...(report.timeline === undefined ? [] : [fold('Timeline', report.timeline)]),
    ...(steps.length === 0 ? [] : [fold(`Steps (${steps.length})`, stepTable(steps))]),
    ...(report.runbook?.length
      ? [fold('Every step that will run', everyStep(report.runbook))]
      : []),
    ...(report.covered?.length
      ? [
          fold(
            'What the digest covers',
            bounded(report.covered.map((text) => `- ${plainText(text)}`)).join('\n'),
          ),
        ]
      : []),
    '',
  ].join('\n\n');
}

function differences({ differences, covered }: Report): readonly string[] {
  if (differences?.length === 0 && covered !== undefined)
    return [
      'The approved plan is on record nowhere that this job can read: it was planned in another run and never prepared. Compare **What the digest covers** below with the same in its summary.',
    ];
  return (differences ?? []).map((text) => `- ${plainText(text)}`);
}

/** One box: what this page asks of its reader. */
function verdict(report: Report, blocking: number): string {
  const box = (kind: string, text: string) => `> [!${kind}]\n> ${text}`;
  if (blocking > 0)
    return box(
      'CAUTION',
      `**Nothing was changed.** ${count(blocking, 'thing is', 'things are')} in the way; each has its cure below.`,
    );
  if (report.failure !== undefined)
    return box(
      'CAUTION',
      `**${report.refused ? 'Refused, and nothing was changed' : 'Failed'}:** ${plainText(report.failure)}`,
    );
  if (report.stage === 'plan')
    return box(
      'IMPORTANT',
      `**To decide:** whether what stands below may happen. Whoever approves a gate approves the plan with the digest \`${report.planDigest}\`.`,
    );
  if (report.dryRun) return box('NOTE', 'Nothing was changed: this is what the stage would do.');
  return box('TIP', `**Done.** Next: **${report.nextStage}**.`);
}

/** Of an action that has no report: bad input, a fault in the migration file, no connection. */
export function refusal(stage: string, message: string, hints: readonly string[]): string {
  return [
    `## ${stage}`,
    `> [!CAUTION]\n> **Stopped:** ${message.includes('\n') ? 'each of these is in the way.' : plainText(message)}`,
    ...(message.includes('\n')
      ? list(
          'What is in the way',
          message.split('\n').map((text) => `- ${plainText(text)}`),
        )
      : []),
    ...list(
      'To go on',
      hints.map((text) => `- ${text}`),
    ),
    '',
  ].join('\n\n');
}

function facts(report: Report): string {
  const { stateBefore, state } = report;
  const changed = stateBefore !== undefined && stateBefore !== state;
  const rows: (readonly [string, string])[] = [
    ['State', changed ? `${stateBefore} → **${state}**` : `**${state}**`],
    ['Next stage', `**${report.nextStage}**`],
    ['Plan digest', report.planDigest === '' ? 'not known' : `\`${report.planDigest}\``],
    ['Downtime', downtime(report)],
    ...(report.gate === undefined ? [] : [['Approval', plainText(report.gate)] as const]),
    ['Took', words(report.seconds)],
  ];
  return table(['', ''], rows);
}

/** What was measured; else what the stages within it took when they were last run; else that. */
function downtime(report: Report): string {
  if (report.downtimeSeconds !== undefined)
    return `mailboxes were away for **${words(report.downtimeSeconds)}**`;
  const { runbook: stages = [], waits } = report;
  const within = stages.filter(({ stage }) => downtimeStages.includes(stage));
  const known = within.flatMap(({ measured }) => (measured === undefined ? [] : [measured]));
  const wait = waits && waits.number > 0 ? `, ${waitInWords(waits)}` : '';
  if (within.length > 0 && known.length === within.length)
    return `about **${words(known.reduce((sum, seconds) => sum + seconds, 0))}**, as last measured${wait}`;
  const live = stages.find(({ stage }) => stage === 'transfer live')?.measured;
  const hint = live === undefined ? '' : ` (the last live pass took ${words(live)})`;
  return `not measured yet${hint}${wait}`;
}

function waitInWords({ number, last }: NonNullable<Report['waits']>): string {
  const gates = `and ${count(number, 'approval and runner start', 'approvals and runner starts')} on top`;
  return last === undefined
    ? gates
    : `${gates}: about **${words(number * last)}**, for the last one took ${words(last)}`;
}

function runbook(stages: readonly RunbookStage[]): string {
  const rows = stages.map(({ stage, titles, measured }) => [
    `**${stage}**`,
    titles.length <= 3
      ? titles.map(plainText).join('; ')
      : `${titles.slice(0, 2).map(plainText).join('; ')}; and ${titles.length - 2} more`,
    measured === undefined ? '–' : words(measured),
  ]);
  return `### What will happen\n\n${table(['Stage', 'Steps', 'Took before'], rows)}`;
}

function everyStep(stages: readonly RunbookStage[]): string {
  const lines = stages.flatMap(({ stage, titles }) => [
    `- **${stage}**`,
    ...titles.map((title) => `  - ${plainText(title)}`),
  ]);
  return bounded(lines).join('\n');
}

/** A heading with the first lines, and the others in a fold. */
function list(title: string, lines: readonly string[]): readonly string[] {
  if (lines.length === 0) return [];
  const folded = lines.slice(limits.shown);
  return [
    `### ${title}\n\n${lines.slice(0, limits.shown).join('\n')}`,
    ...(folded.length === 0 ? [] : [fold(`${folded.length} more`, bounded(folded).join('\n'))]),
  ];
}

/** As many lines as a fold may have; the last says how many are left out. */
function bounded(
  lines: readonly string[],
  more = (rest: number) => `- and ${rest} more`,
): string[] {
  const kept: string[] = [];
  let bytes = 0;
  for (const line of lines) {
    bytes += Buffer.byteLength(line);
    if (kept.length === limits.lines || bytes > limits.bytes)
      return [...kept, more(lines.length - kept.length)];
    kept.push(line);
  }
  return kept;
}

function line(finding: Finding): string {
  return `- ${plainText(finding.text)}. *Cure: ${plainText(finding.cure)}.*`;
}

function stepTable(all: readonly StepReport[]): string {
  const rows = all.map((step) =>
    row([
      plainText(step.title),
      marks[step.result],
      `${(step.milliseconds / 1000).toFixed(2)} s`,
      plainText(step.evidence ?? ''),
    ]),
  );
  const rest = (number: number) => row([`and ${number} more`, '', '', '']);
  return [...tableHead(['Step', 'Result', 'Took', 'Evidence']), ...bounded(rows, rest)].join('\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [...tableHead(head), ...rows.map(row)].join('\n');
}

function tableHead(head: readonly string[]): readonly string[] {
  return [row(head), row(head.map(() => '---'))];
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

/** A blank line on both sides: else GitHub takes what is inside for HTML. */
function fold(title: string, content: string): string {
  return `<details><summary>${title}</summary>\n\n${content}\n\n</details>`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** Text of hosts and files is no markup: nothing of it may make a link, a tag or a new cell. */
export function plainText(text: string): string {
  return (
    cut(text.replace(/\s+/g, ' ').trim())
      // Control characters, and those that turn the direction of writing.
      .replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd')
      // Markup; what starts a list; and what GFM would make a link of, brackets or not.
      .replace(/[&\\`*_{}[\]<>#|~!@]|^[-+=]|(?<=^\d+)[.)]|:(?=\/\/)|(?<=www)\./gi, entity)
  );
}

function cut(text: string): string {
  return text.length <= limits.characters ? text : `${text.slice(0, limits.characters - 1)}…`;
}

function entity(character: string): string {
  return `&#${character.charCodeAt(0)};`;
}
