import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * GitHub's API for tests: a server with the shapes of docs.github.com/en/rest, deployments/environments
 * ("Get an environment"), actions/workflow-runs ("Get a workflow run", "Get the review history for a
 * workflow run"), deployments/deployments ("List deployments") and deployments/statuses.
 */

const user = (login: string) => ({ login, id: 1, type: 'User', site_admin: false });

/** An environment with all its rules; `more` replaces some. */
export const environment = (name: string, more: object = {}) => ({
  id: 161088068,
  node_id: 'MDExOkVudmlyb25tZW50MTYxMDg4MDY4',
  name,
  url: `https://api.github.com/repos/o/r/environments/${name}`,
  html_url: `https://github.com/o/r/deployments/activity_log?environments_filter=${name}`,
  created_at: '2026-11-01T10:00:00Z',
  updated_at: '2026-11-01T10:00:00Z',
  can_admins_bypass: false,
  protection_rules: [
    { id: 3736, node_id: 'MDQ6R2F0ZTM3MzY=', type: 'wait_timer', wait_timer: 30 },
    {
      id: 3755,
      node_id: 'MDQ6R2F0ZTM3NTU=',
      prevent_self_review: true,
      type: 'required_reviewers',
      reviewers: [
        { type: 'User', reviewer: user('ada') },
        { type: 'Team', reviewer: { id: 1, name: 'Mail Team', slug: 'mail-team' } },
      ],
    },
    { id: 3756, node_id: 'MDQ6R2F0ZTM3NTY=', type: 'branch_policy' },
  ],
  deployment_branch_policy: { protected_branches: true, custom_branch_policies: false },
  ...more,
});

/** A review of a run that waited for the environment. */
export const approval = (name: string, login: string, comment: string, state = 'approved') => ({
  state,
  comment,
  environments: [environment(name)],
  user: user(login),
});

/** A status of the deployment that a job with an environment makes. */
export const status = (state: string, created_at: string, run = '17') => ({
  id: 1,
  state,
  created_at,
  environment: 'mail-freeze',
  log_url: `https://github.com/o/r/actions/runs/${run}/job/99`,
  target_url: `https://github.com/o/r/actions/runs/${run}/job/99`,
});

/** What `startGithub` serves of repository o/r until a test changes it: run 17 is past mail-freeze. */
export const passedFreeze = (): Record<string, unknown> => ({
  '/repos/o/r/environments/mail-freeze': environment('mail-freeze'),
  '/repos/o/r/actions/runs/17': { id: 17, created_at: '2026-11-21T09:00:00Z' },
  '/repos/o/r/actions/runs/17/approvals': [
    approval('mail-freeze', 'ada', 'go <b>now</b>'),
    approval('mail-activate', 'bob', 'other gate'),
    approval('mail-freeze', 'eve', 'no', 'rejected'),
  ],
  '/repos/o/r/deployments': [{ id: 5 }, { id: 4 }],
  '/repos/o/r/deployments/5/statuses': [status('in_progress', '2026-11-21T09:30:00Z', '18')],
  '/repos/o/r/deployments/4/statuses': [
    status('in_progress', '2026-11-21T09:20:09Z'),
    status('queued', '2026-11-21T09:20:00Z'),
    status('waiting', '2026-11-21T09:00:10Z'),
  ],
});

export interface GithubStandIn {
  readonly port: number;
  /** By path, without the query: JSON, or a number for an error of that status. Missing ones are 404. */
  readonly answers: Record<string, unknown>;
  readonly requests: { readonly url: string; readonly authorization: string | undefined }[];
  stop(): Promise<void>;
}

/** On a free port of the loopback address. */
export async function startGithub(): Promise<GithubStandIn> {
  const answers = passedFreeze();
  const requests: GithubStandIn['requests'] = [];
  const server = createServer((request, response) => {
    requests.push({ url: request.url ?? '', authorization: request.headers.authorization });
    const answer = answers[new URL(request.url ?? '', 'http://x').pathname];
    const code = typeof answer === 'number' ? answer : answer === undefined ? 404 : 200;
    response.writeHead(code, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(code === 200 ? answer : { message: 'Not said', status: `${code}` }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    answers,
    requests,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
