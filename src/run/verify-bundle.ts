import { nextStage, stateName } from '../engine/states.ts';
import { checkBundle } from '../report/bundle.ts';
import { downtimeSeconds } from '../report/downtime.ts';
import { log } from './log.ts';
import type { StageOutcome } from './result.ts';

/** Checks an audit bundle anywhere: no host is asked. */
export async function verifyBundle(path: string): Promise<StageOutcome> {
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
