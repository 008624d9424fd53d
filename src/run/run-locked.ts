import { randomUUID } from 'node:crypto';
import * as core from '@actions/core';
import type { HostFiles } from '../engine/host-files.ts';
import { Journal } from '../engine/journal.ts';
import { type Lock, takeLock } from '../engine/lock.ts';
import { currentRun } from '../github/run.ts';
import type { SteppedStage } from '../stages/registry.ts';
import { jobState } from './job-state.ts';
import { alive, lookAtHosts, type Parts, type Seen } from './parts.ts';
import type { Result } from './result.ts';

/**
 * Does `work` under the lock of both hosts, with the journal open and what the hosts say by then; always gives
 * the lock back.
 */
export async function locked(
  parts: Parts,
  stage: SteppedStage,
  planDigest: string,
  work: (journal: Journal, seen: Seen) => Promise<Result>,
): Promise<Result> {
  const run = currentRun();
  const holder = `${run.actor} in ${stage} of run ${run.run}.${run.attempt} (${randomUUID().slice(0, 8)})`;
  await Promise.all(alive(parts).map((host) => host.install()));
  // On a full disk not even the lock can be taken: what lies ready for a way back is given up first.
  if (stage === 'rollback')
    await Promise.all(alive(parts).map((host) => host.lockWord('make-room', [])));
  core.saveState(jobState.lockHolder, holder);
  let lock: Lock | undefined;
  try {
    const former = parts.inputs.forceUnlock ? await holderNow(parts.files) : undefined;
    lock = await takeLock(parts.files, holder, {
      force: parts.inputs.forceUnlock,
      keepsPasses: stage === 'transfer' && parts.inputs.pass === 'live',
    });
    const [journal, seen] = await Promise.all([
      Journal.open(parts.files, { run, lock: lock.number, planDigest }),
      lookAtHosts(parts),
      endsSomething.includes(stage) ? undefined : keepRoom(parts),
    ]);
    if (former !== undefined)
      await journal.append({
        kind: 'note',
        stage,
        step: 'force-unlock',
        text: `lock taken from ${former}`,
      });
    const result = await work(journal, seen);
    if (result.failure === undefined) core.saveState(jobState.keyGone, 'true');
    return result;
  } finally {
    await lock?.release();
  }
}

/** Stages that need no room for a way back: they are it, or there is none any more. */
const endsSomething: readonly SteppedStage[] = ['rollback', 'finish'];

async function keepRoom(parts: Parts): Promise<void> {
  await Promise.all(
    alive(parts).map((host) => host.edit('reserve', [], { purpose: 'keep room for a way back' })),
  );
}

/** Who has the lock, or had it last. */
async function holderNow(hosts: readonly HostFiles[]): Promise<string> {
  const holders = await Promise.all(hosts.map((host) => host.read('lock/holder')));
  return holders.find((holder) => holder !== undefined)?.toString('utf8') ?? 'nobody';
}
