import { handOver } from './ownership.ts';
import type { Stage, StageContext } from './stage.ts';

export async function activate(context: StageContext): Promise<Stage> {
  return {
    action: 'activate',
    steps: [
      ...handOver(context),
      ...(await context.system.steps('activate', context)),
      ...(await context.system.steps('forward', context)),
    ],
  };
}
