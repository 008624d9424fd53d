import { UserError } from '../errors.ts';
import type { GithubApi } from './api.ts';
import { gateFaults, protectionOf } from './environments.ts';

/** How a job came past its environment, for the record. */
export interface Gate {
  readonly environment: string;
  /**
   * `approved`: somebody did. `unapproved`: reviewers are required and none is named, so somebody
   * bypassed them. `open`: the environment has no reviewers. `new`: GitHub made it for this run.
   * `missing`: there is none of that name. `unknown`: GitHub could not be asked. `confirmed`: who
   * dispatched the run repeated the plan digest, in place of reviewers.
   */
  readonly passage:
    | 'approved'
    | 'confirmed'
    | 'unapproved'
    | 'open'
    | 'new'
    | 'missing'
    | 'unknown';
  readonly approvals: readonly Approval[];
  /** Several approvals, or several attempts of the run: which of them was for this job is not told. */
  readonly ambiguous: boolean;
  /** When the job was let go, ISO 8601. */
  readonly time?: string;
  /** Where the time is not told: the latest that it can have been. */
  readonly notLaterThan?: string;
  /** Why it is unknown, or what is wrong. */
  readonly reason?: string;
}

export interface Approval {
  readonly by: string;
  readonly comment: string;
}

/** docs.github.com/en/rest/actions/workflow-runs, "Get the review history for a workflow run". */
interface ApprovalAnswer {
  readonly state: string;
  readonly comment: string;
  readonly user: { readonly login: string };
  readonly environments: readonly { readonly name: string }[];
}

/** The same page, "Get a workflow run". */
interface RunAnswer {
  readonly created_at: string;
}

/** docs.github.com/en/rest/deployments/deployments, and its page of statuses. */
interface DeploymentAnswer {
  readonly id: number;
}
interface StatusAnswer {
  readonly state: string;
  readonly created_at: string;
  readonly log_url?: string;
  readonly target_url?: string;
}

/** The run that asks. */
export interface AskingRun {
  readonly run: string;
  readonly attempt: number;
  readonly commit: string;
}

/** How this job came past its environment. Never throws: what GitHub does not say is unknown. */
export async function passGate(
  api: GithubApi,
  environment: string,
  run: AskingRun,
  now: Date = new Date(),
): Promise<Gate> {
  const bare = { environment, approvals: [], ambiguous: false };
  try {
    const [protection, about, approvals] = await Promise.all([
      protectionOf(api, environment),
      api.get(`/actions/runs/${run.run}`, 'actions: read') as Promise<RunAnswer | undefined>,
      approvalsOf(api, environment, run),
    ]);
    const reason = gateFaults(environment, protection).find(({ open }) => open)?.text;
    if (protection === undefined)
      return { ...bare, passage: 'missing', ...(reason ? { reason } : {}) };
    if (reason !== undefined) {
      const isNew = about !== undefined && protection.createdAt >= about.created_at;
      return { ...bare, passage: isNew ? 'new' : 'open', reason };
    }
    return {
      environment,
      passage: approvals.length > 0 ? 'approved' : 'unapproved',
      approvals,
      ambiguous: approvals.length > 1 || (approvals.length === 1 && run.attempt > 1),
      ...(await letGo(api, environment, run, now)),
      ...(approvals.length > 0
        ? {}
        : { reason: `the environment ${environment} was passed without an approval` }),
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { ...bare, passage: 'unknown', reason: error.message };
  }
}

async function approvalsOf(
  api: GithubApi,
  environment: string,
  run: AskingRun,
): Promise<readonly Approval[]> {
  const all = (await api.get(`/actions/runs/${run.run}/approvals`, 'actions: read')) as
    | readonly ApprovalAnswer[]
    | undefined;
  // Names of environments don't distinguish upper and lower case.
  const isOurs = ({ name }: { name: string }) => name.toLowerCase() === environment.toLowerCase();
  return (all ?? [])
    .filter(({ state, environments }) => state === 'approved' && environments.some(isOurs))
    .map(({ user, comment }) => ({ by: user.login, comment }));
}

/**
 * When the job stopped waiting, by the statuses of the run's deployment: `waiting` for a reviewer,
 * then `queued` for a runner, then `in_progress`. The deployment is an aid: without it the answer is
 * only "not later than now".
 */
async function letGo(
  api: GithubApi,
  environment: string,
  run: AskingRun,
  now: Date,
): Promise<{ time: string } | { notLaterThan: string }> {
  const unknown = { notLaterThan: now.toISOString() };
  try {
    const query = new URLSearchParams({ environment, sha: run.commit, per_page: '10' });
    const deployments = (await api.get(`/deployments?${query}`, 'deployments: read')) as
      | readonly DeploymentAnswer[]
      | undefined;
    for (const { id } of deployments ?? []) {
      const path = `/deployments/${id}/statuses?per_page=100`;
      const statuses = ((await api.get(path, 'deployments: read')) ??
        []) as readonly StatusAnswer[];
      if (statuses.some((status) => isOfRun(status, run))) return released(statuses) ?? unknown;
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return unknown;
}

function isOfRun({ log_url, target_url }: StatusAnswer, { run }: AskingRun): boolean {
  return [log_url, target_url].some((url) => url?.includes(`/actions/runs/${run}/`));
}

function released(
  statuses: readonly StatusAnswer[],
): { time: string } | { notLaterThan: string } | undefined {
  const sorted = statuses.toSorted((a, b) => a.created_at.localeCompare(b.created_at));
  const waited = sorted.findLastIndex(({ state }) => state === 'waiting');
  const next = sorted.slice(waited + 1).find(({ state }) => state !== 'waiting');
  if (next === undefined) return undefined;
  return waited >= 0 && next.state === 'queued'
    ? { time: next.created_at }
    : { notLaterThan: next.created_at };
}

/**
 * Refuses, or says what to warn of. In the freeze only what was asked for in words refuses: a gate
 * that GitHub can't tell about is no reason to leave people without mail.
 */
export function judgeGate(
  gate: Gate,
  mode: 'refuse' | 'warn',
  frozen: boolean,
): string | undefined {
  if (gate.passage === 'approved' || gate.passage === 'confirmed') return undefined;
  const reason = gate.reason ?? `the environment ${gate.environment} is no gate`;
  const grave =
    gate.passage === 'unknown'
      ? mode === 'refuse' && !frozen
      : mode === 'refuse' || isUnseen(gate, frozen);
  if (grave) throw new UserError(`${reason}. Nothing was done: ${cures[gate.passage]}`);
  return reason;
}

const cures: Readonly<Record<Exclude<Gate['passage'], 'approved' | 'confirmed'>, string>> = {
  unapproved: 'dispatch again and have it approved, or set require-approval to warn',
  open: 'add reviewers and dispatch again, or set require-approval to warn',
  new: 'give it required reviewers and dispatch again, or set require-approval to off',
  missing: 'create it with required reviewers, and name it in the job too',
  unknown: 'cure that and run the stage again, or set require-approval to warn',
};

/** Nobody can have set up rules for an environment that came into being with this run. */
function isUnseen({ passage }: Gate, frozen: boolean): boolean {
  return passage === 'new' && !frozen;
}

/** One line for a summary: who let the job through, when, with what comment. */
export function gateInWords(gate: Gate): string {
  if (gate.approvals.length === 0) return gate.reason ?? gate.passage;
  const who = gate.approvals.map(({ by, comment }) => (comment ? `${by} ("${comment}")` : by));
  const time = gate.time ?? `not later than ${gate.notLaterThan}`;
  const doubt = gate.ambiguous ? '; which approval was for this job is not told' : '';
  return `${who.join(', ')}, ${time}${doubt}`;
}
