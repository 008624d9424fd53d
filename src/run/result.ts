import type { Entry } from '../engine/journal.ts';
import type { StepReport } from '../engine/runner.ts';
import type { State } from '../engine/states.ts';
import type { Gate } from '../github/gate.ts';
import type { Finding } from '../mail-systems/mail-system.ts';
import type { ApprovedPlan } from '../report/plan-difference.ts';
import type { RunbookStage } from '../report/summary.ts';
import type { Outlook } from '../stages/copy-outlook.ts';
import type { OtherPlan } from './plan-digest.ts';

/** What a stage hands back to its action. */
export interface StageOutcome {
  /** State of the migration after the stage. */
  readonly state: string;
  readonly changed: boolean;
  readonly nextStage: string;
  readonly planDigest: string;
  /** Path of the report. */
  readonly report: string;
  readonly downtimeSeconds?: number;
  /** Markdown for the job summary. */
  readonly summary: string;
  /** Of some stages; of a failed one too. */
  readonly outputs?: Readonly<Record<string, string>>;
  /** Why the stage failed. */
  readonly failure?: unknown;
}

export interface Result {
  readonly entries: readonly Entry[];
  readonly state: State;
  readonly planDigest: string;
  readonly steps: readonly StepReport[];
  readonly findings: readonly Finding[];
  readonly approved?: ApprovedPlan | undefined;
  /** How the plan is other than what was approved. */
  readonly difference?: OtherPlan | undefined;
  readonly stateBefore?: State;
  /** plan: how mail will be copied. */
  readonly outlook?: Outlook | undefined;
  readonly runbook?: readonly RunbookStage[];
  readonly gate?: Gate | undefined;
  /** Why it stopped; a summary is written all the same. */
  readonly failure?: unknown;
  /** It stopped before it changed anything. */
  readonly refused?: boolean;
}
