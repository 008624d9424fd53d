import { createHash } from 'node:crypto';
import type { StageName } from '../actions/stages.ts';
import { version } from '../actions/version.ts';
import { canonicalMigration } from '../config/load.ts';
import type { Entry } from '../engine/journal.ts';
import { UserError } from '../errors.ts';
import type { MailStage } from '../mail-systems/mail-system.ts';
import {
  type ApprovedPlan,
  digestOf,
  planDifference,
  recordedPlans,
} from '../report/plan-difference.ts';
import { readPlan } from '../stages/plan.ts';
import type { StageContext } from '../stages/stage.ts';
import { log } from './log.ts';

/** The mail system's part in each stage: its titles are part of what is approved. */
const mailStages: readonly MailStage[] = [
  'prepare',
  'freeze',
  'queue',
  'activate',
  'forward',
  'unfence',
  'drain',
  'finish',
];

/** What a reviewer approves (docs/architecture.md, "plan digest"). */
export async function approvedPlan(context: StageContext): Promise<ApprovedPlan> {
  const plan = await readPlan(context);
  const titles: string[] = [];
  for (const stage of mailStages) {
    for (const step of await context.system.steps(stage, context)) titles.push(step.title);
  }
  for (const step of context.system.carry?.(context) ?? []) titles.push(step.title);
  return { migration: canonicalMigration(context.migration), version, plan, titles };
}

/** The plan is not the one that was approved. */
export class OtherPlan extends UserError {
  /** What is other, a line a part; where it can be told. */
  readonly differences: readonly string[];
  /** The plan as it is now, where the stage has looked at it. */
  readonly current: ApprovedPlan | undefined;

  constructor(
    digests: { readonly approved: string; readonly current: string },
    differences: readonly string[],
    current: ApprovedPlan | undefined,
  ) {
    const [first, ...more] = differences;
    const what =
      first === undefined ? '' : ` (${first}${more.length > 0 ? `; and ${more.length} more` : ''})`;
    super(
      `the plan is not the one that was approved: it was ${digests.approved.slice(0, 12)}…, it is ${digests.current.slice(0, 12)}…${what}. Run plan again, and have it approved`,
    );
    this.differences = differences;
    this.current = current;
  }
}

/**
 * Undefined where `current` is what was approved. What is other is told where the approved plan is on
 * record, from `prepare` on, or was handed over: `handed`, the output `plan` of the stage plan.
 */
export function otherPlan(
  approved: string | undefined,
  current: string,
  plan: ApprovedPlan | undefined,
  entries: readonly Entry[],
  handed: string | undefined,
): OtherPlan | undefined {
  if (approved === undefined || approved === current) return undefined;
  const recorded = recordedPlans(entries);
  const before = recorded.get(approved) ?? handedPlan(handed, approved);
  const after = plan ?? recorded.get(current);
  const differences = before && after ? planDifference(before, after) : [];
  return new OtherPlan({ approved, current }, differences, after);
}

/** Only the plan of that digest is taken for it. */
function handedPlan(text: string | undefined, digest: string): ApprovedPlan | undefined {
  if (text === undefined || createHash('sha256').update(text).digest('hex') !== digest)
    return undefined;
  return JSON.parse(text) as ApprovedPlan;
}

/** Stages of the freeze spend no time on it: they keep to what `freeze` itself was checked against. */
const digestedStages: readonly StageName[] = ['prepare', 'transfer', 'freeze'];

/** Where no digest has to be repeated: what changes nothing, and the way back. */
const unconfirmed: readonly StageName[] = ['plan', 'verify', 'rollback'];

export interface JudgedPlan {
  readonly planDigest: string;
  /** Where the stage has looked at it. */
  readonly plan: ApprovedPlan | undefined;
  /** A difference that came too late to refuse. */
  readonly difference: OtherPlan | undefined;
}

/**
 * The plan that counts for this stage. Throws where a difference must stop it: before the end of
 * `freeze`, and where the digest itself is the approval. Where none was given, that of the last
 * `prepare` is what was approved.
 */
export async function judgePlan(stage: StageName, context: StageContext): Promise<JudgedPlan> {
  const { planDigest: given, approvedPlan: handed, pass, requireApproval, dryRun } = context.inputs;
  const entries = context.entries();
  const confirmed = requireApproval === 'confirm' && !dryRun && !unconfirmed.includes(stage);
  if (confirmed && given === undefined)
    throw new UserError(
      'input plan-digest: is missing, and require-approval is confirm; dispatch again with the digest from the summary of plan',
    );
  const recorded = entries.at(-1)?.planDigest;
  const early = digestedStages.includes(stage) && pass !== 'final';
  const plan = early || recorded === undefined ? await approvedPlan(context) : undefined;
  const planDigest = plan === undefined ? (recorded ?? '') : digestOf(plan);
  const approved = given ?? (stage === 'prepare' ? undefined : prepared(entries));
  const difference = otherPlan(approved, planDigest, plan, entries, handed);
  if (difference !== undefined && (early || confirmed)) throw difference;
  if (difference !== undefined) log.warning(difference.message);
  return { planDigest, plan, difference };
}

/** The digest that the last `prepare` ran with. */
function prepared(entries: readonly Entry[]): string | undefined {
  return entries.findLast(
    ({ kind, stage, ok }) => kind === 'stage-end' && stage === 'prepare' && ok === true,
  )?.planDigest;
}
