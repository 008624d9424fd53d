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

/** Where a run can be looked at, and who started this attempt of it, for the record. */
export function runOrigin(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository, GITHUB_RUN_ID: run } = env;
  if (!server || !repository || !run) return {};
  return {
    url: `${server}/${repository}/actions/runs/${run}/attempts/${env.GITHUB_RUN_ATTEMPT ?? '1'}`,
    // Of a run that was started again this is another person than the actor.
    dispatchedBy: env.GITHUB_TRIGGERING_ACTOR ?? env.GITHUB_ACTOR ?? '',
  };
}
