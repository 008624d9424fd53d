import type { StepReport } from '../engine/runner.ts';
import type { Finding } from '../mail-systems/mail-system.ts';

/** What a stage did, for people and for programs. */
export interface Report {
  readonly migration: string;
  readonly stage: string;
  readonly dryRun: boolean;
  readonly state: string;
  readonly nextStage: string;
  readonly planDigest: string;
  readonly steps: readonly StepReport[];
  readonly findings: readonly Finding[];
  readonly rrsets: readonly string[];
  readonly seconds: number;
  readonly downtimeSeconds?: number | undefined;
}

const marks = {
  done: '✅ done',
  already: '✔️ already so',
  would: '◻️ would',
  failed: '❌ failed',
} as const;

/** The job summary, in GitHub's Markdown. */
export function summary(report: Report): string {
  return [
    `## ${plainText(report.migration)}: ${report.stage}${report.dryRun ? ' (dry run)' : ''}`,
    `State **${report.state}**, next stage **${report.nextStage}**, plan digest \`${report.planDigest}\`.${
      report.downtimeSeconds === undefined
        ? ''
        : ` Mailboxes were away for **${report.downtimeSeconds} s**.`
    }`,
    ...section(
      'What is in the way',
      report.findings.filter((finding) => finding.severity === 'blocks').map(line),
    ),
    ...section(
      'What to know',
      report.findings.filter((finding) => finding.severity === 'warns').map(line),
    ),
    ...section(
      'DNS',
      report.rrsets.map((rrset) => `- ${plainText(rrset)}`),
    ),
    ...(report.steps.length === 0 ? [] : [steps(report.steps)]),
    '',
  ].join('\n\n');
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [`### ${title}\n\n${lines.join('\n')}`];
}

function line(finding: Finding): string {
  return `- ${plainText(finding.text)}. *Cure: ${plainText(finding.cure)}.*`;
}

function steps(all: readonly StepReport[]): string {
  const rows = all.map(
    (step) =>
      `| ${plainText(step.title)} | ${marks[step.result]} | ${(step.milliseconds / 1000).toFixed(2)} s | ${plainText(step.evidence ?? '')} |`,
  );
  return ['| Step | Result | Took | Evidence |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

/** Text of hosts and files is no markup: nothing of it may make a link, a tag or a new cell. */
export function plainText(text: string): string {
  return (
    text
      .replace(/\s+/g, ' ')
      .trim()
      // Control characters, and those that turn the direction of writing.
      .replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd')
      // Markup; what starts a list; and what GFM would make a link of, brackets or not.
      .replace(/[&\\`*_{}[\]<>#|~!@]|^[-+=]|(?<=^\d+)[.)]|:(?=\/\/)|(?<=www)\./gi, entity)
  );
}

function entity(character: string): string {
  return `&#${character.charCodeAt(0)};`;
}
