import { demandForgotten, lowerTtlSteps } from './addresses.ts';
import type { Stage, StageContext } from './stage.ts';

/** NEW is fenced and gets what late mail needs; TTLs go down. DNS comes first: a wrong key is refused there. */
export async function prepare(context: StageContext): Promise<Stage> {
  demandForgotten(context);
  return {
    action: 'prepare',
    steps: [...lowerTtlSteps(context), ...(await context.system.steps('prepare', context))],
  };
}
