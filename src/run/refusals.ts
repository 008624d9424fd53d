import { type mayRun, nextStage, type State, stateName } from '../engine/states.ts';
import { UserError } from '../errors.ts';
import type { Finding } from '../mail-systems/mail-system.ts';

/** Another stage is next. */
export class OutOfOrder extends UserError {}

/** Refuses a stage that is out of order, with the reason and the next one. */
export function demand(verdict: ReturnType<typeof mayRun>, stage: string, state: State): void {
  if (!verdict.ok)
    throw new OutOfOrder(
      `${stage} is out of order: ${verdict.reason}. The migration is ${stateName(state)}, its next stage is ${nextStage(state)}`,
    );
}

/** Something is in the way. */
export class Blocked extends UserError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[], message: string) {
    super(message);
    this.findings = findings;
  }
}

/** All blocking findings as one error, a line each. */
export function blockedBy(found: readonly Finding[]): Blocked | undefined {
  const blocking = found.filter((finding) => finding.severity === 'blocks');
  return blocking.length === 0
    ? undefined
    : new Blocked(found, blocking.map(({ text, cure }) => `${text}. Cure: ${cure}`).join('\n'));
}
