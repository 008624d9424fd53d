import type { StageAction } from '../engine/states.ts';
import { activate } from './activate.ts';
import { dnsCutover } from './dns-cutover.ts';
import { drain } from './drain.ts';
import { finish } from './finish.ts';
import { freeze } from './freeze.ts';
import { prepare } from './prepare.ts';
import { rollback } from './rollback.ts';
import type { Stage, StageContext } from './stage.ts';
import { transfer } from './transfer.ts';
import { verify } from './verify.ts';

/** Every stage that has steps; `plan` only reads. */
export const stages = {
  prepare,
  transfer,
  freeze,
  activate,
  'dns-cutover': dnsCutover,
  verify,
  drain,
  finish,
  rollback,
} as const satisfies Record<string, (context: StageContext) => Promise<Stage>>;

export type SteppedStage = keyof typeof stages;

/** The row of the table of states that a stage stands in. */
export function actionOf(stage: SteppedStage, pass: 'live' | 'final' | 'late'): StageAction {
  return stage === 'transfer' ? `transfer ${pass}` : stage;
}
