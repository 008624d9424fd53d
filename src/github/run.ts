import { hostname, userInfo } from 'node:os';
import type { Run } from '../engine/journal.ts';

/** Who runs this, as GitHub's runner says it; from a laptop, the person at it. */
export function currentRun(env: NodeJS.ProcessEnv = process.env): Run {
  return {
    actor: env.GITHUB_ACTOR ?? `${userInfo().username}@${hostname()}`,
    run: env.GITHUB_RUN_ID ?? 'laptop',
    attempt: Number(env.GITHUB_RUN_ATTEMPT ?? '1'),
    commit: env.GITHUB_SHA ?? '',
  };
}
