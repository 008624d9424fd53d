import type { GithubApi } from './api.ts';

/** What stands before a job that names an environment. */
export interface Protection {
  readonly name: string;
  /** Logins, and teams as `@slug`; one of them suffices. */
  readonly reviewers: readonly string[];
  readonly preventsSelfReview: boolean;
  /** Undefined where GitHub does not say. */
  readonly adminsBypass: boolean | undefined;
  /** ISO 8601. */
  readonly createdAt: string;
}

/** The parts of the answer that count: docs.github.com/en/rest/deployments/environments. */
interface EnvironmentAnswer {
  readonly name: string;
  readonly created_at: string;
  readonly can_admins_bypass?: boolean;
  readonly protection_rules?: readonly {
    readonly type: string;
    readonly prevent_self_review?: boolean;
    readonly reviewers?: readonly {
      readonly type: 'User' | 'Team';
      readonly reviewer: { readonly login?: string; readonly slug?: string };
    }[];
  }[];
}

/** The protection of one environment; undefined when it does not exist. */
export async function protectionOf(api: GithubApi, name: string): Promise<Protection | undefined> {
  const answer = (await api.get(`/environments/${encodeURIComponent(name)}`, 'actions: read')) as
    | EnvironmentAnswer
    | undefined;
  if (answer === undefined) return undefined;
  const rules = (answer.protection_rules ?? []).filter(({ type }) => type === 'required_reviewers');
  return {
    name: answer.name,
    reviewers: rules.flatMap(({ reviewers = [] }) =>
      reviewers.map(({ reviewer }) => reviewer.login ?? `@${reviewer.slug}`),
    ),
    preventsSelfReview: rules.some((rule) => rule.prevent_self_review === true),
    adminsBypass: answer.can_admins_bypass,
    createdAt: answer.created_at,
  };
}

/** Something that is wrong with a gate, and its cure. */
export interface GateFault {
  /** Whether it lets everybody through; else it is only weaker than it could be. */
  readonly open: boolean;
  readonly text: string;
  readonly cure: string;
}

const settings = "in the repository's Settings, Environments";

/** What is wrong with an environment as a gate. */
export function gateFaults(name: string, protection: Protection | undefined): readonly GateFault[] {
  if (protection === undefined)
    return [
      {
        open: true,
        text: `the environment ${name} does not exist, and GitHub makes a missing one without any rule`,
        cure: `create it ${settings}, with required reviewers`,
      },
    ];
  if (protection.reviewers.length === 0)
    return [
      {
        open: true,
        text: `the environment ${name} has no required reviewers, so it lets everybody through`,
        cure: `add some ${settings}; where the plan of a private repository has none, set require-approval: confirm and give plan-digest`,
      },
    ];
  return [
    ...(protection.preventsSelfReview
      ? []
      : [
          {
            open: false,
            text: `the environment ${name} lets who dispatched a run approve it`,
            cure: `set "Prevent self-review" ${settings}`,
          },
        ]),
    ...(protection.adminsBypass === true
      ? [
          {
            open: false,
            text: `the environment ${name} can be bypassed by administrators`,
            cure: `take away "Allow administrators to bypass" ${settings}`,
          },
        ]
      : []),
  ];
}
