import { setTimeout as pause } from 'node:timers/promises';
import { UserError } from '../errors.ts';

/** Reads of GitHub's REST API, below the repository of the run. */
export interface GithubApi {
  /** `path` begins after `/repos/OWNER/NAME`. Undefined where GitHub says 404. Throws `UserError`. */
  get(path: string, rights: string): Promise<unknown>;
}

/** Milliseconds for one answer, and how often one that GitHub could not give is asked for again. */
const patience = { answer: 10_000, tries: 3, between: 1000 } as const;

/**
 * The API of the repository that the job runs in; undefined on a laptop or without a token. Speaks to
 * GITHUB_API_URL, so GitHub Enterprise Server works too.
 */
export function githubApi(
  token: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): GithubApi | undefined {
  const { GITHUB_API_URL: base, GITHUB_REPOSITORY: repository } = env;
  if (!token || !base || !repository) return undefined;
  return {
    async get(path, rights) {
      const response = await ask(`${base}/repos/${repository}${path}`, token);
      if (response.status === 404) return undefined;
      if (response.ok) return response.json();
      const { message = response.statusText } = (await response.json().catch(() => ({}))) as {
        message?: string;
      };
      const cure =
        response.status === 401 || response.status === 403
          ? `give the job "permissions: ${rights}"`
          : 'see githubstatus.com, and run the stage again';
      throw new UserError(`GitHub answered ${response.status} (${message}) to ${path}; ${cure}`);
    },
  };
}

/** Asks again where the network failed, and where GitHub itself could not answer. */
async function ask(url: string, token: string): Promise<Response> {
  for (let left = patience.tries - 1; ; left -= 1) {
    try {
      const response = await fetch(url, {
        headers: {
          accept: 'application/vnd.github+json',
          authorization: `Bearer ${token}`,
          'user-agent': 'mail-cutover',
          'x-github-api-version': '2022-11-28',
        },
        // The token is for this host only.
        redirect: 'error',
        signal: AbortSignal.timeout(patience.answer),
      });
      if (left === 0 || (response.status < 500 && response.status !== 429)) return response;
    } catch (error) {
      if (left === 0)
        throw new UserError(
          `GitHub's API at ${new URL(url).host} does not answer; check that the runner reaches it`,
          { cause: error },
        );
    }
    await pause(patience.between);
  }
}
