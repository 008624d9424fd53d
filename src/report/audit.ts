import { createHash } from 'node:crypto';
import type { Entry } from '../engine/journal.ts';
import { stateName, stateOf } from '../engine/states.ts';
import { auditScript } from './audit-script.ts';
import { auditStyle } from './audit-style.ts';
import { downtimeSeconds } from './downtime.ts';
import { type StageRun, secondsBetween, stageRuns, words } from './durations.ts';
import { planNote } from './plan-difference.ts';
import { type UndoRecord, undoRecords } from './undo-records.ts';

/**
 * The page of an audit bundle. It opens by itself, offline, and is made of the journal's lines and
 * nothing else: the same lines make the same page, so that an edited one can be told.
 */
export function auditPage(migration: string, lines: readonly string[]): string {
  const entries = lines.map((line) => JSON.parse(line) as Entry);
  const runs = stageRuns(entries);
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(auditScript).digest('base64')}'; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${html(migration)}: record of the migration</title>
<style>${auditStyle}</style>
</head>
<body>
<header>
<h1>${html(migration)}: record of the migration</h1>
<p class="soft">${span(entries)}</p>
</header>
<main>
${facts(entries)}
<section aria-labelledby="timeline"><h2 id="timeline">Timeline</h2>${timelineTable(runs)}</section>
<section aria-labelledby="approvals"><h2 id="approvals">Who, when, why</h2>${approvalTable(runs)}</section>
<section aria-labelledby="steps"><h2 id="steps">Steps</h2>
${runs.map(stageDetails).join('\n')}
${between(entries, runs)}</section>
${undoSection(undoRecords(entries))}
</main>
<footer><p class="soft">Times are UTC, by the clocks of the runners. Who has root on both hosts can write another journal with a chain of its own: compare the last hash with the one that an earlier bundle or a run's summary shows.</p></footer>
<script type="application/json" id="journal">${json(lines)}</script>
<script>${auditScript}</script>
</body>
</html>
`;
}

function facts(entries: readonly Entry[]): string {
  const downtime = downtimeSeconds(entries);
  const digests = [...new Set(entries.map(({ planDigest }) => planDigest).filter(Boolean))];
  const fact = (name: string, value: string, wide = false) =>
    `<div${wide ? ' class="wide"' : ''}><dt>${name}</dt><dd>${value}</dd></div>`;
  return `<dl>${[
    fact('State', html(stateName(stateOf(entries)))),
    fact('Mailboxes were away for', downtime === undefined ? 'not known yet' : words(downtime)),
    fact(
      'Chain of the journal',
      '<span id="chain" role="status">Not checked: this page needs its script for that.</span>',
    ),
    fact('Hash of the last line', '<code id="head">–</code>', true),
    fact(
      digests.length > 1 ? 'Plan digests, in their order' : 'Plan digest',
      digests.map((digest) => `<code>${html(digest)}</code>`).join('<br>') || 'none',
      true,
    ),
  ].join('')}</dl>`;
}

function span(entries: readonly Entry[]): string {
  const [first, last] = [entries.at(0), entries.at(-1)];
  return first && last ? `${moment(first.time)} to ${moment(last.time)}` : 'The journal is empty.';
}

/** Pauses between stages may last for days, so bars are drawn on the time that stages were at work. */
function timelineTable(runs: readonly StageRun[]): string {
  const lengths = runs.map(seconds);
  const whole = lengths.reduce((sum, length) => sum + length, 0) || 1;
  let before = 0;
  const rows = runs.map((run, index) => {
    const length = lengths[index] ?? 0;
    const bar = `<span class="track"><span class="bar${run.ok ? '' : ' failed'}" style="margin-left:${percent(Math.min(before / whole, 0.99))};width:${percent(length / whole)}"></span></span>`;
    before += length;
    return [html(run.stage), result(run), moment(run.began), took(run), bar];
  });
  return table(
    'Runs of the stages',
    ['Stage', 'Result', 'Began', 'Took', 'Share of the work'],
    rows,
  );
}

/** What the journal tells of how a job came past its gate. */
interface RecordedGate {
  readonly environment?: string;
  readonly passage?: string;
  readonly approvals?: readonly { readonly by?: string; readonly comment?: string }[];
  readonly ambiguous?: boolean;
  readonly time?: string;
  readonly notLaterThan?: string;
  readonly reason?: string;
}

function approvalTable(runs: readonly StageRun[]): string {
  const rows = runs.map(({ stage, entries: [first] }) => {
    const gate = (first?.data?.gate ?? {}) as RecordedGate;
    const origin = [
      first?.run === 'laptop' ? 'a laptop' : `run ${first?.run}, attempt ${first?.attempt}`,
      ...(first?.commit ? [`commit ${first.commit.slice(0, 12)}`] : []),
    ].join(', ');
    const who = (gate.approvals ?? []).map(({ by = '' }) => html(by)).join(', ');
    const said = (gate.approvals ?? []).map(({ comment = '' }) => html(comment)).join('; ');
    return [
      html(stage),
      `${html(String(first?.data?.dispatchedBy ?? first?.actor ?? ''))}<br><span class="soft">${html(origin)}</span>`,
      who === ''
        ? `<span class="${gate.passage ? 'bad' : 'soft'}">${html(gate.reason ?? 'no gate')}</span>`
        : `${who}${gate.ambiguous ? ' <span class="bad">(ambiguous: several approvals or attempts)</span>' : ''}`,
      gate.time
        ? moment(gate.time)
        : gate.notLaterThan
          ? `not later than ${moment(gate.notLaterThan)}`
          : '–',
      said || '–',
    ];
  });
  return table('Approvals', ['Stage', 'Dispatched by', 'Approved by', 'When', 'Comment'], rows);
}

function stageDetails(run: StageRun): string {
  const rows = stepsOf(run);
  const end = run.entries.at(-1);
  const fault =
    end?.kind === 'stage-end' && !end.ok ? `<p class="bad">${html(end.text ?? '')}</p>` : '';
  const content =
    rows.length === 0
      ? '<p class="soft">Nothing had to be done.</p>'
      : table(`Steps of ${html(run.stage)}`, ['Step', 'Result', 'Began', 'Took', 'Evidence'], rows);
  return `<details${run.ok ? '' : ' open'}><summary>${html(run.stage)}, ${moment(run.began)}: ${result(run)}, ${took(run)}</summary>${fault}${content}</details>`;
}

/** What is on record outside of every stage's run, such as that OLD thawed by itself. */
function between(entries: readonly Entry[], runs: readonly StageRun[]): string {
  const within = new Set(runs.flatMap((run) => run.entries));
  const rows = entries
    .filter((entry) => !within.has(entry))
    .map((entry) => [
      html(`${entry.stage} ${entry.step ?? ''}`),
      moment(entry.time),
      html(noteText(entry)),
    ]);
  if (rows.length === 0) return '';
  return `<h3>Between the stages</h3>${table('Between the stages', ['Note', 'When', 'What'], rows)}\n`;
}

/** What a way back would put in place, or has put in place; each with the sum of its file "sum". */
function undoSection(records: readonly UndoRecord[]): string {
  if (records.length === 0) return '';
  const sum = (hash: string | undefined) =>
    hash === undefined ? 'not known' : `<code>${html(hash.slice(0, 16))}…</code>`;
  const rows = records.map(({ host, name, made, by, gone }) => [
    html(host.toUpperCase()),
    html(name),
    html(by ?? 'between the runs'),
    sum(made),
    gone === undefined
      ? 'is there'
      : `gone: ${html(gone.by ?? 'between the runs')}${gone.sum === undefined || gone.sum === made ? '' : `, ${bad('changed before')} ${sum(gone.sum)}`}`,
  ]);
  const head = ['Host', 'Record', 'Made by', 'SHA-256', 'By now'];
  return `<section aria-labelledby="undo"><h2 id="undo">Undo data</h2><details><summary>${records.length} records on the hosts</summary>${table('Undo data', head, rows)}</details></section>`;
}

/** What a note says, or the data that it keeps for later stages. */
function noteText({ step, text, data = {} }: Entry): string {
  if (text !== undefined) return text;
  if (step === planNote) return 'the plan of this digest, as plans.json holds it';
  const words = Object.entries(data).map(
    ([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
  );
  const line = words.join(', ');
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}

/** One row a step or note: what was meant, and what became of it. */
function stepsOf(run: StageRun): string[][] {
  return run.entries.flatMap((entry, index) => {
    if (entry.kind === 'note')
      return [
        [html(entry.step ?? 'note'), 'noted', moment(entry.time), '–', html(noteText(entry))],
      ];
    if (entry.kind !== 'intent') return [];
    const end = run.entries
      .slice(index + 1)
      .find(({ kind, step }) => kind === 'outcome' && step === entry.step);
    const verdict =
      end === undefined ? bad('no outcome on record') : end.ok ? 'done' : bad('failed');
    const time = end === undefined ? '–' : words(secondsBetween(entry.time, end.time));
    return [
      [
        html(entry.text ?? entry.step ?? ''),
        verdict,
        moment(entry.time),
        time,
        html(end?.text ?? ''),
      ],
    ];
  });
}

function result(run: StageRun): string {
  if (run.ended === undefined) return bad('no end on record');
  return run.ok ? '<span class="good">done</span>' : bad('failed');
}

function bad(text: string): string {
  return `<span class="bad">${text}</span>`;
}

/** Seconds from its first line to its last. */
function seconds(run: StageRun): number {
  return secondsBetween(run.began, run.entries.at(-1)?.time ?? run.began);
}

function took(run: StageRun): string {
  return words(seconds(run));
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}

/** The roles are said because the layout for narrow screens takes them away. */
function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const headers = head.map((name) => `<th role="columnheader" scope="col">${name}</th>`).join('');
  const cell = (content: string, index: number) =>
    `<td role="cell" data-label="${head[index]}"${head[index] === 'Took' ? ' class="number"' : ''}><div>${content}</div></td>`;
  const body = rows.map((row) => `<tr role="row">${row.map(cell).join('')}</tr>`).join('\n');
  return `<table role="table" aria-label="${caption}"><thead role="rowgroup"><tr role="row">${headers}</tr></thead><tbody role="rowgroup">${body}</tbody></table>`;
}

function moment(time: string): string {
  return `<time datetime="${html(time)}">${html(time.replace('T', ' ').replace(/(\.\d+)?Z$/, ''))}</time>`;
}

/** Text as HTML's content or quoted attribute; characters that turn the direction of writing are shown. */
function html(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd')
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** JSON that no HTML parser takes for markup. */
function json(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
