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
import { githubApi } from './github/api.ts';
import { gateFaults, protectionOf } from './github/environments.ts';
import { type Gate, gateInWords, judgeGate, passGate } from './github/gate.ts';
import { currentRun, runOrigin } from './github/run.ts';
import { MailHost } from './hosts/mail-host.ts';
import { migrationFiles } from './hosts/migration-files.ts';
import { registerSecret } from './hosts/redaction.ts';
import { ConnectionLost } from './hosts/ssh-connection.ts';
import {
  blocks,
  type Finding,
  type MailStage,
  type MailSystem,
  warns,
} from './mail-systems/mail-system.ts';
import { postfixDovecot } from './mail-systems/postfix-dovecot/index.ts';
import { checkBundle, writeBundle } from './report/bundle.ts';
import { downtimeSeconds } from './report/downtime.ts';
import { measured, stageRuns } from './report/durations.ts';
import { type Report, type RunbookStage, summary } from './report/summary.ts';
import { timeline } from './report/timeline.ts';
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
  /** Why the stage failed; then only the summary counts. */
  readonly failure?: unknown;
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
  if (inputs.bundle !== undefined) return verifyBundle(inputs.bundle);
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
  readonly stateBefore?: State;
  readonly runbook?: readonly RunbookStage[];
  readonly gate?: Gate | undefined;
  /** Why it stopped; a summary is written all the same. */
  readonly failure?: unknown;
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
  const [ofHosts, ofGates] = await Promise.all([allFindings(context, 'plan'), gateFindings(parts)]);
  const found = [...ofHosts, ...ofGates];
  const failure = blockedBy(found);
  if (failure !== undefined)
    return { entries, state, planDigest: '', steps: [], findings: found, failure };
  for (const finding of found) log.warning(`${finding.text}. Cure: ${finding.cure}`);
  const plan = await readPlan(context);
  const planDigest = await digest(context, plan);
  const runbook = await readRunbook(context);
  const differs = differentPlan(parts.inputs.planDigest, planDigest);
  if (differs !== undefined && !isFrozen(state))
    return {
      entries,
      state,
      planDigest,
      steps: [],
      findings: found,
      plan,
      runbook,
      failure: new UserError(differs),
    };
  if (differs !== undefined) log.warning(differs);
  return { entries, state, planDigest, steps: [], findings: found, plan, runbook };
}

/** What the gates lack, asked of GitHub; a gate that lets everybody through blocks where told to. */
async function gateFindings({ inputs }: Parts): Promise<readonly Finding[]> {
  const { requireApproval: mode, environments } = inputs;
  const api = mode === 'off' ? undefined : githubApi(inputs.githubToken);
  if (api === undefined) return [];
  const open = mode === 'refuse' ? blocks : warns;
  try {
    const found = await Promise.all(
      environments.map(async (name) => gateFaults(name, await protectionOf(api, name))),
    );
    return found.flat().map((fault) => (fault.open ? open : warns)(fault.text, fault.cure));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [open('whether the gates have reviewers could not be looked at', error.message)];
  }
}

/** Every stage to come with its steps, in words. A stage that can't tell yet is told by its mail system. */
async function readRunbook(context: StageContext): Promise<readonly RunbookStage[]> {
  const before = measured(context.entries());
  const actions = [
    ['prepare'],
    ['transfer', 'live'],
    ['freeze'],
    ['transfer', 'final'],
    ['activate'],
    ['dns-cutover'],
    ['verify'],
    ['drain'],
    ['finish'],
  ] as const;
  const all: RunbookStage[] = [];
  for (const [stage, pass = 'live'] of actions) {
    // Only its titles are asked for: the digest stands in for the one that `finish` demands.
    const inputs = { ...context.inputs, pass, planDigest: '0'.repeat(64) };
    const titles = await stages[stage]({ ...context, inputs }).then(
      ({ steps }) => steps.map(({ title }) => title),
      async () =>
        (await context.system.steps(stage as MailStage, context)).map(({ title }) => title),
    );
    const action = actionOf(stage, pass);
    all.push({ stage: action, titles, measured: before.get(action) });
  }
  return all;
}

function isFrozen({ phase }: State): boolean {
  return phase === 'frozen' || phase === 'transferred';
}

async function runStage(stage: SteppedStage, parts: Parts): Promise<Result> {
  const action = actionOf(stage, parts.inputs.pass);
  const rules = { freezeMode: parts.migration.freeze.mode };
  const entries = await Journal.read(parts.files);
  // Asked while the hosts are: in the freeze every second counts.
  const asked = askGate(parts);
  const state = await observed(parts, entries);
  demand(mayRun(action, state, rules), stage, state);
  const context = contextOf(
    parts,
    state,
    () => sinceRollback(entries),
    async () => undefined,
  );
  const found = stage === 'prepare' ? await allFindings(context, 'prepare') : [];
  const failure = blockedBy(found);
  if (failure !== undefined) throw failure;
  const planDigest = await approvedDigest(stage, context);
  if (parts.inputs.dryRun) {
    const steps: StepReport[] = [];
    const preview = await stages[stage](context);
    await previewSteps(preview.steps, { log, report: (step) => steps.push(step) });
    return { entries, state, planDigest, steps, findings: found };
  }
  const gate = await asked;
  refuseOpenGate(gate, parts, state);
  return locked(parts, stage, planDigest, async (journal) => {
    // Read again under the lock: another run may have been at work until now.
    const now = await observed(parts, journal.entries);
    demand(mayRun(action, now, rules), stage, now);
    if (now.phase !== stateOf(journal.entries).phase) {
      await journal.append({ kind: 'note', stage, step: 'thawed', text: 'OLD thawed by itself' });
    }
    const { steps, failure } = await runRecorded(parts, stage, now, journal, gate);
    const after = stateOf(journal.entries);
    const result = { entries: journal.entries, state: after, stateBefore: now, planDigest, steps };
    return { ...result, findings: found, gate, ...(failure === undefined ? {} : { failure }) };
  });
}

/** How this job came past its environment. Never throws, so it may be under way beside other work. */
async function askGate({ inputs }: Parts): Promise<Gate | undefined> {
  const [environment] = inputs.environments;
  if (environment === undefined || inputs.requireApproval === 'off' || inputs.dryRun)
    return undefined;
  const api = githubApi(inputs.githubToken);
  return api && (await passGate(api, environment, currentRun()));
}

function refuseOpenGate(gate: Gate | undefined, { inputs }: Parts, state: State): void {
  if (gate === undefined || inputs.requireApproval === 'off') return;
  const warning = judgeGate(gate, inputs.requireApproval, isFrozen(state));
  if (warning !== undefined) log.warning(warning);
}

/** The steps of a stage, between its own two lines of the journal. */
async function runRecorded(
  parts: Parts,
  stage: SteppedStage,
  state: State,
  journal: Journal,
  gate: Gate | undefined,
): Promise<{ readonly steps: readonly StepReport[]; readonly failure?: unknown }> {
  const action = actionOf(stage, parts.inputs.pass);
  const context = contextOf(
    parts,
    state,
    () => sinceRollback(journal.entries),
    (entry) => journal.append({ kind: 'note', stage: action, ...entry }),
  );
  const { steps, onFailure } = await stages[stage](context);
  const reports: StepReport[] = [];
  const data = { ...runOrigin(), ...(gate ? { gate } : {}) };
  await journal.append({ kind: 'stage-begin', stage: action, data });
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
    return { steps: reports, failure: error };
  }
  await journal.append({ kind: 'stage-end', stage: action, ok: true });
  return { steps: reports };
}

async function locked(
  parts: Parts,
  stage: SteppedStage,
  planDigest: string,
  work: (journal: Journal) => Promise<Result>,
): Promise<Result> {
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
    if (result.failure === undefined) core.saveState(keyGone, 'true');
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

function blockedBy(found: readonly Finding[]): UserError | undefined {
  const blocking = found.filter((finding) => finding.severity === 'blocks');
  return blocking.length === 0
    ? undefined
    : new UserError(blocking.map(({ text, cure }) => `${text}. Cure: ${cure}`).join('\n'));
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
  const differs = differentPlan(context.inputs.planDigest, current);
  if (differs !== undefined && early) throw new UserError(differs);
  if (differs !== undefined) log.warning(differs);
  return current;
}

function differentPlan(approved: string | undefined, current: string): string | undefined {
  return approved === undefined || approved === current
    ? undefined
    : `the plan is not the one that was approved: it was ${approved.slice(0, 12)}…, it is ${current.slice(0, 12)}…. Run plan again, and have it approved`;
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
    stateBefore: result.stateBefore && stateName(result.stateBefore),
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
    ...(result.runbook ? { runbook: result.runbook, waits: waitsIn(parts.inputs) } : {}),
    gate: result.gate && gateInWords(result.gate),
    failure: result.failure instanceof Error ? result.failure.message : undefined,
    timeline: timeline(stageRuns(result.entries)),
  };
  const name = `mail-cutover-${parts.migration.name}-${stage}`;
  const path = join(process.env.RUNNER_TEMP ?? tmpdir(), `${name}.json`);
  const json = `${JSON.stringify(report, null, 2)}\n`;
  await writeFile(path, json);
  // After a failure a host may be gone: what failed must not be hidden by that.
  const audit =
    result.failure === undefined ? await bundle(stage, parts, json, summary(report)) : undefined;
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
    ...(audit === undefined ? {} : { outputs: { audit } }),
    ...(result.failure === undefined ? {} : { failure: result.failure }),
  };
}

/** Of the gates that are named, how many stand between the freeze and an open NEW. */
function waitsIn({ environments }: Inputs): number {
  return environments.filter((name) => /-(transfer-final|activate)$/.test(name)).length;
}

const bundledStages: readonly StageName[] = ['verify', 'finish', 'rollback'];

/** The audit bundle of the stages that end something; its path. */
async function bundle(
  stage: StageName,
  parts: Parts,
  report: string,
  text: string,
): Promise<string | undefined> {
  if (!bundledStages.includes(stage) || parts.inputs.dryRun) return undefined;
  const migration = parts.migration.name;
  const folder = join(process.env.RUNNER_TEMP ?? tmpdir(), `mail-cutover-${migration}-audit`);
  const versions = {
    'mail-cutover': version,
    node: process.version,
    'mail-system': parts.migration['mail-system'],
  };
  const lines = await Journal.readLines(parts.files);
  await writeBundle(folder, { migration, lines, report, summary: text, versions });
  return folder;
}

/** Checks an audit bundle anywhere: no host is asked. */
async function verifyBundle(path: string): Promise<StageOutcome> {
  const { migration, state, head, entries, evidence } = await checkBundle(path);
  for (const line of evidence) log.info(line);
  const downtime = downtimeSeconds(entries);
  const text = [
    `## ${migration}: the audit bundle is whole`,
    ...evidence.map((line) => `- ${line}`),
  ];
  log.info(`the bundle is whole: ${migration} is ${stateName(state)}, last hash ${head}`);
  return {
    state: stateName(state),
    changed: false,
    nextStage: nextStage(state),
    planDigest: entries.at(-1)?.planDigest ?? '',
    report: path,
    ...(downtime === undefined ? {} : { downtimeSeconds: downtime }),
    summary: `${text.join('\n')}\n`,
  };
}

/** The whole record, beside the report: the hosts' copies go with the hosts. */
async function saveJournal(report: string, { entries }: Result): Promise<string> {
  const path = report.replace(/-finish\.json$/, '-journal.jsonl');
  await writeFile(path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  return path;
}
