import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { version } from '../../src/actions/version.ts';
import type { Lab } from '../lab/lab.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { password } from '../lab/world.ts';
import { dnsCredentials, migrationFile } from './migration.ts';

/*
 * The workflow that people dispatch, by act (github.com/nektos/act): jobs, needs, conditions, inputs
 * and secrets are the real ones. act knows neither environments nor concurrency, refuses `queue`, and
 * has no artifacts here, so these lines are taken out of the copy that it runs. Skipped without act.
 */

const root = join(import.meta.dirname, '../..');
const act = (process.env.PATH ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'act'))
  .find((path) => existsSync(path));

describe.skipIf(act === undefined)('migrate.yml under act', () => {
  let lab: Lab;
  let workspace: string;

  beforeAll(async () => {
    ({ lab } = await startMailLab({ mailboxes: 5, messagesPerMailbox: 5 }));
    workspace = await mkdtemp(join(tmpdir(), 'act-'));
    const repository = join(workspace, 'user');
    await mkdir(join(repository, '.github/workflows'), { recursive: true });
    const text = await readFile(join(root, '.github/workflows/migrate.yml'), 'utf8');
    const copy = text
      .replace(/^ {2}queue: max\n/m, '')
      .replaceAll(/^ {6}- name: Keep the audit bundle\n(?: {8}.*\n)+/gm, '');
    await writeFile(join(repository, '.github/workflows/migrate.yml'), copy);
    await writeFile(join(repository, '.github/mail-cutover.yml'), stringify(migrationFile(lab)));
    const secrets = {
      MAIL_CUTOVER_SSH_KEY: lab.sshKey.text,
      MAIL_CUTOVER_DNS_CREDENTIALS: dnsCredentials,
      MAIL_CUTOVER_PROBE_PASSWORD: password,
    };
    // act reads a secret file as YAML when its name says so: line breaks survive.
    await writeFile(join(workspace, 'secrets.yml'), stringify(secrets), { mode: 0o600 });
    const git = (...args: string[]) =>
      spawnSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { cwd: repository });
    git('init', '-q');
    git('add', '-A');
    git('commit', '-qm', 'migration');
  }, 300_000);

  afterAll(async () => {
    await lab?.stop();
    if (workspace) await rm(workspace, { recursive: true, force: true });
  }, 60_000);

  async function dispatch(inputs: Record<string, string>): Promise<{ code: number; log: string }> {
    const child = spawn(
      act ?? '',
      [
        'workflow_dispatch',
        '--workflows',
        '.github/workflows/migrate.yml',
        '--platform',
        'ubuntu-latest=-self-hosted',
        '--local-repository',
        `OWNER/mail-cutover@v${version}=${root}`,
        '--secret-file',
        join(workspace, 'secrets.yml'),
        // There is no API to ask here: what it says of gates is tested against a server of our own.
        ...Object.entries({ 'require-approval': 'off', ...inputs }).flatMap(([name, value]) => [
          '--input',
          `${name}=${value}`,
        ]),
      ],
      {
        cwd: join(workspace, 'user'),
        env: {
          ...process.env,
          HOME: workspace,
          PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let log = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        log += chunk;
      });
    const [code] = await once(child, 'close');
    return { code: code as number, log };
  }

  const succeeded = (log: string) =>
    [...log.matchAll(/\[Migrate\/([\w -]+?)\s*\].*Job succeeded/g)].map((found) => found[1]);

  it('plans in a dry run, and shows what prepare would do', async () => {
    const { code, log } = await dispatch({ 'dry-run': 'true' });
    expect(log).toContain('would: ');
    expect({ code, jobs: succeeded(log) }).toEqual({ code: 0, jobs: ['dry run'] });
  }, 300_000);

  it('goes from plan to the live pass, stage by stage', async () => {
    const first = await dispatch({ form: 'swift', until: 'transfer-live' });
    expect(first.log).not.toContain('PRIVATE KEY');
    expect({ code: first.code, jobs: succeeded(first.log) }).toEqual({
      code: 0,
      jobs: ['plan', 'prepare', 'transfer-live'],
    });
  }, 500_000);
});
