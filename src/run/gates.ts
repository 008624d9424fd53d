import type { RequireApproval } from '../actions/inputs.ts';
import { isFrozen, type State } from '../engine/states.ts';
import { UserError } from '../errors.ts';
import { githubApi } from '../github/api.ts';
import { gateFaults, protectionOf } from '../github/environments.ts';
import { type Gate, judgeGate, passGate } from '../github/gate.ts';
import { currentRun, runOrigin } from '../github/run.ts';
import { blocks, type Finding, warns } from '../mail-systems/mail-system.ts';
import { log } from './log.ts';
import type { Parts } from './parts.ts';

/** What the gates lack, asked of GitHub; a gate that lets everybody through blocks where told to. */
export async function gateFindings({ inputs }: Parts): Promise<readonly Finding[]> {
  const { requireApproval: mode, environments } = inputs;
  const api = asksNobody(mode) ? undefined : githubApi(inputs.githubToken);
  if (api === undefined) return [];
  const open = mode === 'refuse' ? blocks : warns;
  try {
    const found = await Promise.all(
      environments.map(async (name) => gateFaults(name, await protectionOf(api, name))),
    );
    return found.flat().map((fault) => (fault.open ? open : warns)(fault.text, fault.cure));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [open('whether the gates have reviewers could not be looked at', error.message)];
  }
}

/** With `off` and `confirm` no reviewers are expected. */
function asksNobody(mode: RequireApproval): mode is 'off' | 'confirm' {
  return mode === 'off' || mode === 'confirm';
}

/** With `confirm`: who dispatched the run repeated the plan digest, or `judgePlan` had refused. */
export function confirmedGate({ inputs }: Parts): Gate | undefined {
  if (inputs.requireApproval !== 'confirm' || inputs.planDigest === undefined) return undefined;
  return {
    environment: inputs.environments[0] ?? '',
    passage: 'confirmed',
    approvals: [{ by: runOrigin().dispatchedBy || currentRun().actor, comment: confirmation }],
    ambiguous: false,
    notLaterThan: new Date().toISOString(),
  };
}

const confirmation = 'repeated the plan digest; nobody else was asked';

/** How this job came past its environment. Never throws, so it may be under way beside other work. */
export async function askGate({ inputs }: Parts): Promise<Gate | undefined> {
  const [environment] = inputs.environments;
  if (environment === undefined || asksNobody(inputs.requireApproval) || inputs.dryRun)
    return undefined;
  const api = githubApi(inputs.githubToken);
  return api && (await passGate(api, environment, currentRun()));
}

/** Refuses, or warns, where nobody approved. In the freeze it only warns: there is no way back to before. */
export function refuseOpenGate(gate: Gate | undefined, { inputs }: Parts, state: State): void {
  if (gate === undefined || asksNobody(inputs.requireApproval)) return;
  const warning = judgeGate(gate, inputs.requireApproval, isFrozen(state));
  if (warning !== undefined) log.warning(warning);
}
