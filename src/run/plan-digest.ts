import { createHash } from 'node:crypto';
import type { StageName } from '../actions/stages.ts';
import { version } from '../actions/version.ts';
import { canonicalMigration } from '../config/load.ts';
import { UserError } from '../errors.ts';
import type { MailStage } from '../mail-systems/mail-system.ts';
import { type Plan, readPlan } from '../stages/plan.ts';
import type { StageContext } from '../stages/stage.ts';
import { log } from './log.ts';

/** The mail system's part in each stage: its titles are part of what is approved. */
const mailStages: readonly MailStage[] = [
  'prepare',
  'freeze',
  'queue',
  'activate',
  'forward',
  'carry',
  'drain',
  'finish',
];

/** What a reviewer approves, as one hash (docs/architecture.md, "plan digest"). */
export async function digest(context: StageContext, plan: Plan): Promise<string> {
  const titles: string[] = [];
  for (const stage of mailStages) {
    for (const step of await context.system.steps(stage, context)) titles.push(step.title);
  }
  const approved = { migration: canonicalMigration(context.migration), version, plan, titles };
  return createHash('sha256').update(JSON.stringify(approved)).digest('hex');
}

/** Stages of the freeze spend no time on it: they keep to what `freeze` itself was checked against. */
const digestedStages: readonly StageName[] = ['prepare', 'transfer', 'freeze'];

/** The digest that counts for this stage. Throws where a difference must stop it, before `freeze`. */
export async function approvedDigest(stage: StageName, context: StageContext): Promise<string> {
  const recorded = context.entries().at(-1)?.planDigest;
  const early = digestedStages.includes(stage) && context.inputs.pass !== 'final';
  const current =
    early || recorded === undefined ? await digest(context, await readPlan(context)) : recorded;
  const differs = differentPlan(context.inputs.planDigest, current);
  if (differs !== undefined && early) throw new UserError(differs);
  if (differs !== undefined) log.warning(differs);
  return current;
}

/** In one line that the plan is another than the approved one; undefined if it is the same. */
export function differentPlan(approved: string | undefined, current: string): string | undefined {
  return approved === undefined || approved === current
    ? undefined
    : `the plan is not the one that was approved: it was ${approved.slice(0, 12)}…, it is ${current.slice(0, 12)}…. Run plan again, and have it approved`;
}
