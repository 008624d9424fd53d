import { setTimeout as sleep } from 'node:timers/promises';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

const pollSeconds = 1;

/** Until nothing has come to OLD, and nothing has waited there, for a while. */
export async function drain(context: StageContext): Promise<Stage> {
  return {
    action: 'drain',
    steps: [
      ...(await context.system.steps('drain', context)),
      always('drain-queue', 'Send late mail on until OLD is quiet', () => untilQuiet(context)),
    ],
  };
}

async function untilQuiet(context: StageContext): Promise<string> {
  const { old, migration, system, log } = context;
  if (migration.freeze.mode === 'stop') return 'OLD is down: nothing can have come';
  const quiet = migration.options['drain-quiet-seconds'];
  let quietSince = performance.now();
  let most = 0;
  for (;;) {
    const status = await system.queue(old, context);
    if (status.messages > 0) {
      most = Math.max(most, status.messages);
      quietSince = performance.now();
      log.info(`${status.messages} messages wait on OLD, the oldest for ${status.oldestSeconds} s`);
      await system.flush(old);
    }
    if (performance.now() - quietSince >= quiet * 1000) break;
    await sleep(pollSeconds * 1000);
  }
  return `OLD's queue was empty for ${quiet} s${most > 0 ? `; up to ${most} messages had waited` : ''}`;
}
