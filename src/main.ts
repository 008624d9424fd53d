import { createHash, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as core from '@actions/core';
import { type Inputs, wantsErasure } from './actions/inputs.ts';
import type { StageName } from './actions/stages.ts';
import { version } from './actions/version.ts';
import { canonicalMigration, loadMigration } from './config/load.ts';
import type { Migration } from './config/schema.ts';
import { parseDnsCredentials } from './dns/credentials.ts';
import type { DnsProvider } from './dns/provider.ts';
import { dnsProvider } from './dns/registry.ts';
import type { HostFiles } from './engine/host-files.ts';
import { type Entry, Journal } from './engine/journal.ts';
import { type Lock, takeLock } from './engine/lock.ts';
import { type Log, previewSteps, runSteps, type StepReport } from './engine/runner.ts';
import { mayRun, nextStage, type State, stateName, stateOf } from './engine/states.ts';
import { UserError } from './errors.ts';
import { currentRun } from './github/run.ts';
import { MailHost } from './hosts/mail-host.ts';
import { migrationFiles } from './hosts/migration-files.ts';
import { registerSecret } from './hosts/redaction.ts';
import { ConnectionLost } from './hosts/ssh-connection.ts';
import type { Finding, MailStage, MailSystem } from './mail-systems/mail-system.ts';
import { postfixDovecot } from './mail-systems/postfix-dovecot/index.ts';
import { downtimeSeconds } from './report/downtime.ts';
import { type Report, summary } from './report/summary.ts';
import { has } from './stages/ownership.ts';
import { findings as allFindings, type Plan, readPlan } from './stages/plan.ts';
import { actionOf, type SteppedStage, stages } from './stages/registry.ts';
import type { StageContext } from './stages/stage.ts';
import { removePassKey } from './transfer/pass-key.ts';

/** What a stage hands back to its action. */
export interface StageOutcome {
  /** State of the migration after the stage. */
  readonly state: string;
  readonly changed: boolean;
  readonly nextStage: string;
  readonly planDigest: string;
  /** Path of the report. */
  readonly report: string;
  readonly downtimeSeconds?: number;
  /** Markdown for the job summary. */
  readonly summary: string;
  readonly outputs?: Readonly<Record<string, string>>;
}

const systems: Readonly<Record<Migration['mail-system'], MailSystem>> = {
  'postfix-dovecot': postfixDovecot,
};

const log: Log = {
  info: core.info,
  warning: (line) => core.warning(line),
  group: (title, work) => core.group(title, work),
};

/** The parts that every stage is made of. */
interface Parts {
  readonly migration: Migration;
  readonly inputs: Inputs;
  readonly old: MailHost;
  readonly new: MailHost;
  /** Of both hosts, or of the one that is not declared dead. */
  readonly files: readonly HostFiles[];
  readonly system: MailSystem;
  readonly dns: readonly DnsProvider[];
}

/** Runs one stage. */
export async function main(stage: StageName, inputs: Inputs): Promise<StageOutcome> {
  const parts = await build(inputs);
  const began = performance.now();
  try {
    const result = stage === 'plan' ? await runPlan(parts) : await runStage(stage, parts);
    return await outcome(stage, parts, result, (performance.now() - began) / 1000);
  } finally {
    await Promise.allSettled([parts.old.close(), parts.new.close()]);
  }
}

/** What must not outlive the job: the key of a pass that was cut off. */
export async function post(_stage: StageName, inputs: Inputs): Promise<void> {
  // With a host declared dead there was no pass.
  if (core.getState(keyGone) === 'true' || inputs.dryRun || inputs.declareDead) return;
  const holder = core.getState(lockHolder);
  if (holder === '') return;
  const parts = await build(inputs);
  try {
    const lock = await takeLock(parts.files, holder);
    try {
      await removePassKey(parts.old, parts.new, parts.migration.name);
      await removePassKey(parts.new, parts.old, parts.migration.name);
    } finally {
      await lock.release();
    }
  } finally {
    await Promise.allSettled([parts.old.close(), parts.new.close()]);
  }
}

const lockHolder = 'lock-holder';
const keyGone = 'key-gone';

async function build(inputs: Inputs): Promise<Parts> {
  if (inputs.shard.count !== 1)
    throw new UserError('shard: parts of a store are not built yet. Leave shard out');
  const migration = await loadMigration(inputs.config);
  for (const secret of [
    inputs.sshKeys.old,
    inputs.sshKeys.new,
    inputs.sshPassphrase,
    inputs.sudoPassword,
    inputs.dnsCredentials,
    inputs.probePassword,
  ]) {
    if (secret) registerSecret(secret);
  }
  const credentials = inputs.dnsCredentials
    ? parseDnsCredentials(
        inputs.dnsCredentials,
        migration.dns.map((zone) => zone.zone),
      )
    : new Map<string, string>();
  const host = (role: 'old' | 'new') =>
    new MailHost(role, migration[role], migration.name, {
      key: inputs.sshKeys[role],
      passphrase: inputs.sshPassphrase,
      sudoPassword: inputs.sudoPassword,
    });
  const old = host('old');
  const target = host('new');
  return {
    migration,
    inputs,
    old,
    new: target,
    files: [old, target].filter(({ role }) => role !== inputs.declareDead).map(migrationFiles),
    system: systems[migration['mail-system']],
    dns: await Promise.all(
      migration.dns.map((zone) => dnsProvider(zone, credentials.get(zone.zone))),
    ),
  };
}

interface Result {
  readonly entries: readonly Entry[];
  readonly state: State;
  readonly planDigest: string;
  readonly steps: readonly StepReport[];
  readonly findings: readonly Finding[];
  readonly plan?: Plan | undefined;
}

async function runPlan(parts: Parts): Promise<Result> {
  const entries = await Journal.read(parts.files);
  const state = await observed(parts, entries);
  const context = contextOf(
    parts,
    state,
    () => sinceRollback(entries),
    async () => undefined,
  );
  const found = await allFindings(context, 'plan');
  refuseBlocked(found);
  for (const finding of found) log.warning(`${finding.text}. Cure: ${finding.cure}`);
  const plan = await readPlan(context);
  return {
    entries,
    state,
    planDigest: await digest(context, plan),
    steps: [],
    findings: found,
    plan,
  };
}

async function runStage(stage: SteppedStage, parts: Parts): Promise<Result> {
  const action = actionOf(stage, parts.inputs.pass);
  const rules = { freezeMode: parts.migration.freeze.mode };
  const entries = await Journal.read(parts.files);
  const state = await observed(parts, entries);
  demand(mayRun(action, state, rules), stage, state);
  const context = contextOf(
    parts,
    state,
    () => sinceRollback(entries),
    async () => undefined,
  );
  const found = stage === 'prepare' ? await allFindings(context, 'prepare') : [];
  refuseBlocked(found);
  const planDigest = await approvedDigest(stage, context);
  if (parts.inputs.dryRun) {
    const steps: StepReport[] = [];
    const preview = await stages[stage](context);
    await previewSteps(preview.steps, { log, report: (step) => steps.push(step) });
    return { entries, state, planDigest, steps, findings: found };
  }
  return locked(parts, stage, planDigest, async (journal) => {
    // Read again under the lock: another run may have been at work until now.
    const now = await observed(parts, journal.entries);
    demand(mayRun(action, now, rules), stage, now);
    if (now.phase !== stateOf(journal.entries).phase) {
      await journal.append({ kind: 'note', stage, step: 'thawed', text: 'OLD thawed by itself' });
    }
    const steps = await runRecorded(parts, stage, now, journal);
    const after = stateOf(journal.entries);
    return { entries: journal.entries, state: after, planDigest, steps, findings: found };
  });
}

/** The steps of a stage, between its own two lines of the journal. */
async function runRecorded(
  parts: Parts,
  stage: SteppedStage,
  state: State,
  journal: Journal,
): Promise<readonly StepReport[]> {
  const action = actionOf(stage, parts.inputs.pass);
  const context = contextOf(
    parts,
    state,
    () => sinceRollback(journal.entries),
    (entry) => journal.append({ kind: 'note', stage: action, ...entry }),
  );
  const { steps, onFailure } = await stages[stage](context);
  const reports: StepReport[] = [];
  await journal.append({ kind: 'stage-begin', stage: action });
  try {
    await runSteps(steps, {
      journal,
      log,
      stage: action,
      report: (step) => reports.push(step),
      passing: (error) => error instanceof ConnectionLost,
    });
  } catch (error) {
    // What failed first is what the user must hear, even if cleaning up fails too.
    await onFailure?.().catch((late: unknown) => log.warning((late as Error).message));
    await journal
      .append({ kind: 'stage-end', stage: action, ok: false, text: (error as Error).message })
      .catch(() => undefined);
    throw error;
  }
  await journal.append({ kind: 'stage-end', stage: action, ok: true });
  return reports;
}

async function locked<T>(
  parts: Parts,
  stage: SteppedStage,
  planDigest: string,
  work: (journal: Journal) => Promise<T>,
): Promise<T> {
  const run = currentRun();
  const holder = `${run.actor} in ${stage} of run ${run.run}.${run.attempt} (${randomUUID().slice(0, 8)})`;
  await Promise.all(alive(parts).map((host) => host.install()));
  core.saveState(lockHolder, holder);
  let lock: Lock | undefined;
  try {
    const former = parts.inputs.forceUnlock ? await holderNow(parts.files) : undefined;
    lock = await takeLock(parts.files, holder, parts.inputs.forceUnlock);
    const journal = await Journal.open(parts.files, { run, lock: lock.number, planDigest });
    if (former !== undefined)
      await journal.append({
        kind: 'note',
        stage,
        step: 'force-unlock',
        text: `lock taken from ${former}`,
      });
    const result = await work(journal);
    core.saveState(keyGone, 'true');
    return result;
  } finally {
    await lock?.release();
  }
}

/** The hosts that were not declared dead. */
function alive({ old, new: target, inputs }: Parts): readonly MailHost[] {
  return [old, target].filter(({ role }) => role !== inputs.declareDead);
}

/** Who has the lock, or had it last. */
async function holderNow(hosts: readonly HostFiles[]): Promise<string> {
  const holders = await Promise.all(hosts.map((host) => host.read('lock/holder')));
  return holders.find((holder) => holder !== undefined)?.toString('utf8') ?? 'nobody';
}

/** The journal's state, corrected by what OLD itself says: it may have thawed by its limit. */
async function observed(parts: Parts, entries: readonly Entry[]): Promise<State> {
  const state = stateOf(entries);
  if (state.phase !== 'frozen' && state.phase !== 'transferred') return state;
  if (parts.inputs.declareDead === 'old') return state;
  return (await has(parts.old, 'frozen')) ? state : { ...state, phase: 'copied' };
}

/** What a rollback took back no longer counts. */
function sinceRollback(entries: readonly Entry[]): readonly Entry[] {
  const last = entries.findLastIndex(
    (entry) => entry.kind === 'stage-end' && entry.stage === 'rollback' && entry.ok === true,
  );
  return entries.slice(last + 1);
}

function contextOf(
  parts: Parts,
  state: State,
  entries: StageContext['entries'],
  note: StageContext['note'],
): StageContext {
  return {
    ...parts,
    source: parts.old,
    target: parts.new,
    erase: wantsErasure(parts.inputs, parts.migration.name),
    state,
    entries,
    note,
    log,
  };
}

function demand(verdict: ReturnType<typeof mayRun>, stage: string, state: State): void {
  if (!verdict.ok)
    throw new UserError(
      `${stage} is out of order: ${verdict.reason}. The migration is ${stateName(state)}, its next stage is ${nextStage(state)}`,
    );
}

function refuseBlocked(found: readonly Finding[]): void {
  const blocking = found.filter((finding) => finding.severity === 'blocks');
  if (blocking.length > 0)
    throw new UserError(
      blocking.map((finding) => `${finding.text}. Cure: ${finding.cure}`).join('\n'),
    );
}

/** The mail system's part in each stage: its titles are part of what is approved. */
const mailStages: readonly MailStage[] = [
  'prepare',
  'freeze',
  'queue',
  'activate',
  'forward',
  'drain',
  'finish',
];

async function digest(context: StageContext, plan: Plan): Promise<string> {
  const titles: string[] = [];
  for (const stage of mailStages) {
    for (const step of await context.system.steps(stage, context)) titles.push(step.title);
  }
  const approved = { migration: canonicalMigration(context.migration), version, plan, titles };
  return createHash('sha256').update(JSON.stringify(approved)).digest('hex');
}

/** Stages of the freeze spend no time on it: they keep to what `freeze` itself was checked against. */
const digestedStages: readonly StageName[] = ['prepare', 'transfer', 'freeze'];

async function approvedDigest(stage: StageName, context: StageContext): Promise<string> {
  const recorded = context.entries().at(-1)?.planDigest;
  const early = digestedStages.includes(stage) && context.inputs.pass !== 'final';
  const current =
    early || recorded === undefined ? await digest(context, await readPlan(context)) : recorded;
  const approved = context.inputs.planDigest;
  if (approved !== undefined && approved !== current) {
    const message = `the plan is not the one that was approved: it was ${approved.slice(0, 12)}…, it is ${current.slice(0, 12)}…. Run plan again, and have it approved`;
    if (early) throw new UserError(message);
    log.warning(message);
  }
  return current;
}

async function outcome(
  stage: StageName,
  parts: Parts,
  result: Result,
  seconds: number,
): Promise<StageOutcome> {
  const downtime = downtimeSeconds(result.entries);
  const report: Report = {
    migration: parts.migration.name,
    stage,
    dryRun: parts.inputs.dryRun,
    state: stateName(result.state),
    nextStage: nextStage(result.state),
    planDigest: result.planDigest,
    steps: result.steps,
    findings: result.findings,
    rrsets: (result.plan?.rrsets ?? []).map(
      ({ before, after }) =>
        `${before.name} ${before.type}: ${before.values.join(', ') || 'nothing'} → ${after.values.join(', ') || 'nothing'}`,
    ),
    seconds,
    downtimeSeconds: downtime,
  };
  const path = join(
    process.env.RUNNER_TEMP ?? tmpdir(),
    `mail-cutover-${parts.migration.name}-${stage}.json`,
  );
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  const journal =
    stage === 'finish' && !parts.inputs.dryRun ? await saveJournal(path, result) : undefined;
  return {
    state: report.state,
    changed: result.steps.some((step) => step.result === 'done'),
    nextStage: report.nextStage,
    planDigest: report.planDigest,
    report: journal ?? path,
    ...(downtime === undefined ? {} : { downtimeSeconds: downtime }),
    summary: summary(report),
  };
}

/** The whole record, beside the report: the hosts' copies go with the hosts. */
async function saveJournal(report: string, { entries }: Result): Promise<string> {
  const path = report.replace(/-finish\.json$/, '-journal.jsonl');
  await writeFile(path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  return path;
}
