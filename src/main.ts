import * as core from '@actions/core';
import type { Inputs } from './actions/inputs.ts';
import type { StageName } from './actions/stages.ts';
import { loadMigration } from './config/load.ts';
import type { Migration } from './config/schema.ts';
import { parseDnsCredentials } from './dns/credentials.ts';
import { dnsProvider } from './dns/registry.ts';
import { takeLock } from './engine/lock.ts';
import { MailHost } from './hosts/mail-host.ts';
import { migrationFiles } from './hosts/migration-files.ts';
import { registerSecret } from './hosts/redaction.ts';
import { chatmail } from './mail-systems/chatmail/index.ts';
import type { MailSystem } from './mail-systems/mail-system.ts';
import { postfixDovecot } from './mail-systems/postfix-dovecot/index.ts';
import { qmail } from './mail-systems/qmail/index.ts';
import { refusal } from './report/summary.ts';
import { jobState } from './run/job-state.ts';
import { outcome } from './run/outcome.ts';
import type { Parts } from './run/parts.ts';
import type { StageOutcome } from './run/result.ts';
import { runPlan } from './run/run-plan.ts';
import { runStage } from './run/run-stage.ts';
import { verifyBundle } from './run/verify-bundle.ts';
import { leavePass } from './transfer/detached.ts';
import { removePassKey } from './transfer/pass-key.ts';

const systems: Readonly<Record<Migration['mail-system'], MailSystem>> = {
  'postfix-dovecot': postfixDovecot,
  chatmail,
  qmail,
};

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

/** Summary of a stage that has no report of its own: the reason, and what to do. */
export function refusalSummary(stage: StageName, message: string): string {
  return refusal(stage, message, [
    'Cure it, then dispatch the workflow again, from this stage. *Re-run jobs* takes the old commit and inputs.',
    'Where the migration stands, if it has begun, is shown by a dispatch with `dry-run`.',
  ]);
}

/**
 * What must not outlive the job: the key of a pass that was cut off. A live pass goes on with its key, whose
 * lease nobody renews until the next job takes it up.
 */
export async function post(stage: StageName, inputs: Inputs): Promise<void> {
  // With a host declared dead there was no pass.
  if (core.getState(jobState.keyGone) === 'true' || inputs.dryRun || inputs.declareDead) return;
  const holder = core.getState(jobState.lockHolder);
  if (holder === '') return;
  const parts = await build(inputs);
  try {
    const keepsPasses = stage === 'transfer' && inputs.pass === 'live';
    const lock = await takeLock(parts.files, holder, { keepsPasses });
    try {
      const progress = keepsPasses
        ? await leavePass(parts.old, parts.new, parts.migration.name)
        : undefined;
      if (progress !== undefined) {
        const text = `the pass goes on by itself (${progress}); the next transfer with pass: live takes it up`;
        core.info(text);
        if (process.env.GITHUB_STEP_SUMMARY) await core.summary.addRaw(`${text}\n`).write();
        return;
      }
      await removePassKey(parts.old, parts.new, parts.migration.name);
      await removePassKey(parts.new, parts.old, parts.migration.name);
    } finally {
      await lock.release();
    }
  } finally {
    await Promise.allSettled([parts.old.close(), parts.new.close()]);
  }
}

async function build(inputs: Inputs): Promise<Parts> {
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
