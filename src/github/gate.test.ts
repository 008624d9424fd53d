import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  approval,
  environment,
  type GithubStandIn,
  startGithub,
  status,
} from '../../test/github/stand-in.ts';
import { githubApi } from './api.ts';
import { gateFaults, protectionOf } from './environments.ts';
import { judgeGate, passGate } from './gate.ts';

let github: GithubStandIn;
let answers: GithubStandIn['answers'];
let requests: GithubStandIn['requests'];

beforeEach(async () => {
  github = await startGithub();
  ({ answers, requests } = github);
});
afterEach(() => github.stop());

function api(port = github.port) {
  const found = githubApi('t0ken', {
    GITHUB_API_URL: `http://127.0.0.1:${port}`,
    GITHUB_REPOSITORY: 'o/r',
  });
  if (!found) throw new Error('no API');
  return found;
}

const run = { run: '17', attempt: 1, commit: 'abc' };
const now = new Date('2026-11-21T09:21:00Z');
const pass = (given = run) => passGate(api(), 'mail-freeze', given, now);

describe('a gate that somebody opened', () => {
  it('is on record with who, what they said and when', async () => {
    expect(await pass()).toEqual({
      environment: 'mail-freeze',
      passage: 'approved',
      approvals: [{ by: 'ada', comment: 'go <b>now</b>' }],
      ambiguous: false,
      time: '2026-11-21T09:20:00Z',
    });
    expect(requests.every(({ authorization }) => authorization === 'Bearer t0ken')).toBe(true);
  });

  it('has only a latest time where the statuses leave it open', async () => {
    answers['/repos/o/r/deployments/4/statuses'] = [status('in_progress', '2026-11-21T09:20:09Z')];
    expect(await pass()).toMatchObject({ notLaterThan: '2026-11-21T09:20:09Z' });
    answers['/repos/o/r/deployments'] = 403;
    expect(await pass()).toMatchObject({ passage: 'approved', notLaterThan: now.toISOString() });
  });

  it('is ambiguous in a later attempt, or with two approvals', async () => {
    expect(await pass({ ...run, attempt: 2 })).toMatchObject({ ambiguous: true });
    answers['/repos/o/r/actions/runs/17/approvals'] = [
      approval('mail-freeze', 'ada', 'a'),
      approval('MAIL-FREEZE', 'bob', 'b'),
    ];
    expect(await pass()).toMatchObject({
      ambiguous: true,
      approvals: [{ by: 'ada' }, { by: 'bob' }],
    });
  });
});

describe('a gate that is none', () => {
  it('was bypassed', async () => {
    answers['/repos/o/r/actions/runs/17/approvals'] = [];
    const gate = await pass();
    expect(gate).toMatchObject({ passage: 'unapproved', approvals: [], ambiguous: false });
    expect(() => judgeGate(gate, 'refuse', true)).toThrow('was passed without an approval');
    expect(judgeGate(gate, 'warn', false)).toContain('was passed without an approval');
  });

  it('has no reviewers', async () => {
    const rules = { protection_rules: [] };
    answers['/repos/o/r/environments/mail-freeze'] = environment('mail-freeze', rules);
    const gate = await pass();
    expect(gate).toMatchObject({ passage: 'open' });
    expect(() => judgeGate(gate, 'refuse', false)).toThrow('has no required reviewers');
    expect(judgeGate(gate, 'warn', false)).toContain('has no required reviewers');
  });

  it('did not exist before the run: refused even where a warning would do', async () => {
    answers['/repos/o/r/environments/mail-freeze'] = environment('mail-freeze', {
      protection_rules: [],
      created_at: '2026-11-21T09:00:02Z',
    });
    const gate = await pass();
    expect(gate).toMatchObject({ passage: 'new' });
    expect(() => judgeGate(gate, 'warn', false)).toThrow('dispatch again');
    expect(judgeGate(gate, 'warn', true)).toContain('has no required reviewers');
  });

  it('is not there', async () => {
    delete answers['/repos/o/r/environments/mail-freeze'];
    const gate = await pass();
    expect(gate).toMatchObject({ passage: 'missing' });
    expect(() => judgeGate(gate, 'refuse', false)).toThrow('does not exist');
  });

  it('cannot be asked about: refused, but not in the freeze', async () => {
    answers['/repos/o/r/actions/runs/17/approvals'] = 403;
    const gate = await pass();
    expect(gate).toMatchObject({
      passage: 'unknown',
      reason: expect.stringContaining('actions: read'),
    });
    expect(() => judgeGate(gate, 'refuse', false)).toThrow('GitHub answered 403 (Not said)');
    expect(judgeGate(gate, 'refuse', true)).toContain('GitHub answered 403');
    expect(judgeGate(gate, 'warn', false)).toContain('GitHub answered 403');
  });
});

describe('what plan says of an environment', () => {
  const faultsOf = async (name: string) => gateFaults(name, await protectionOf(api(), name));

  it('nothing where all is well', async () => {
    expect(await protectionOf(api(), 'mail-freeze')).toEqual({
      name: 'mail-freeze',
      reviewers: ['ada', '@mail-team'],
      preventsSelfReview: true,
      adminsBypass: false,
      createdAt: '2026-11-01T10:00:00Z',
    });
    expect(await faultsOf('mail-freeze')).toEqual([]);
  });

  it('that it is missing', async () => {
    expect(await faultsOf('a/b')).toMatchObject([
      { open: true, text: expect.stringContaining('a/b') },
    ]);
    expect(requests.at(-1)?.url).toBe('/repos/o/r/environments/a%2Fb');
  });

  it('that who dispatches may approve, and that administrators may bypass', async () => {
    const [rule] = environment('x').protection_rules.filter((each) => each.reviewers);
    answers['/repos/o/r/environments/weak'] = environment('weak', {
      can_admins_bypass: true,
      protection_rules: [{ ...rule, prevent_self_review: false }],
    });
    expect((await faultsOf('weak')).map(({ open, text }) => `${open} ${text}`)).toEqual([
      'false the environment weak lets who dispatched a run approve it',
      'false the environment weak can be bypassed by administrators',
    ]);
  });
});

describe('the API', () => {
  it('is not there on a laptop or without a token', () => {
    expect(githubApi('t', {})).toBeUndefined();
    expect(
      githubApi(undefined, { GITHUB_API_URL: 'http://x', GITHUB_REPOSITORY: 'o/r' }),
    ).toBeUndefined();
  });

  it('is asked again when GitHub cannot answer', async () => {
    answers['/repos/o/r/environments/mail-freeze'] = 502;
    await expect(protectionOf(api(), 'mail-freeze')).rejects.toThrow('GitHub answered 502');
    expect(requests).toHaveLength(3);
  });

  it('says so when it cannot be reached', async () => {
    await expect(protectionOf(api(1), 'mail-freeze')).rejects.toThrow(
      '127.0.0.1:1 does not answer',
    );
  });
});
