import type { StageName } from './stages.ts';
import { version } from './version.ts';

/*
 * What every action starts with. Only this file is evaluated before the first line of output; the
 * rest is in the same bundle (`webpackMode: "eager"` makes no chunk) but runs after it.
 */

/** Runs one stage as an action: inputs, the stage, outputs and summary. Never throws. */
export async function run(stage: StageName): Promise<void> {
  process.stdout.write(`mail-cutover ${version}: ${stage}\n`);
  const { runStage } = await import(/* webpackMode: "eager" */ './run-stage.ts');
  await runStage(stage);
}

/** The post step of an action: takes back what must not outlive the job. Never throws. */
export async function runPost(stage: StageName): Promise<void> {
  const { postStage } = await import(/* webpackMode: "eager" */ './run-stage.ts');
  await postStage(stage);
}
