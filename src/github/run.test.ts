import { hostname, userInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { currentRun } from './run.ts';

describe('currentRun', () => {
  it('says what the runner says', () => {
    const env = {
      GITHUB_ACTOR: 'octocat',
      GITHUB_RUN_ID: '17',
      GITHUB_RUN_ATTEMPT: '2',
      GITHUB_SHA: 'abc',
    };
    expect(currentRun(env)).toEqual({ actor: 'octocat', run: '17', attempt: 2, commit: 'abc' });
  });

  it('names the person at a laptop', () => {
    expect(currentRun({})).toEqual({
      actor: `${userInfo().username}@${hostname()}`,
      run: 'laptop',
      attempt: 1,
      commit: '',
    });
  });
});
