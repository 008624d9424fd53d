import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import { inputVariable, loadInputs, wantsErasure } from './inputs.ts';
import { inputsOf } from './metadata.ts';
import { type StageName, stageNames } from './stages.ts';

const folder = mkdtempSync(join(tmpdir(), 'inputs-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A private key made by ssh-keygen, of which there is nothing to keep secret. */
function makeKey(name: string, args: readonly string[], passphrase = ''): string {
  const file = join(folder, name);
  execFileSync('ssh-keygen', ['-q', ...args, '-N', passphrase, '-C', 'test', '-f', file]);
  return readFileSync(file, 'utf8');
}

const key = makeKey('plain', ['-t', 'ed25519']);
const otherKey = makeKey('other', ['-t', 'ed25519']);

interface Loaded {
  readonly inputs: ReturnType<typeof loadInputs>;
  readonly masked: string[];
  readonly env: Record<string, string | undefined>;
}

function load(stage: StageName, given: Record<string, string>): Loaded {
  const env = Object.fromEntries(
    Object.entries(given).map(([name, value]) => [inputVariable(name), value]),
  );
  const masked: string[] = [];
  return { inputs: loadInputs(stage, env, (secret) => masked.push(secret)), masked, env };
}

function faultsOf(stage: StageName, given: Record<string, string>): string[] {
  try {
    load(stage, given);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message.split('\n');
  }
  throw new Error('was accepted');
}

describe('good inputs', () => {
  it.each(stageNames)('%s runs with a key alone', (stage) => {
    const { inputs } = load(stage, { 'ssh-key': key });
    expect(inputs).toMatchObject({
      stage,
      config: '.github/mail-cutover.yml',
      sshKeys: { old: key, new: key },
      dryRun: false,
      pass: 'live',
      shard: { index: 1, count: 1 },
    });
    expect(inputs.declareDead ?? inputs.eraseOldMail ?? inputs.planDigest).toBeUndefined();
  });

  it('are read from the variables that the runner sets', () => {
    expect(inputVariable('old-ssh-key')).toBe('INPUT_OLD-SSH-KEY');
  });

  it('each host can have a key of its own', () => {
    const { inputs } = load('plan', { 'old-ssh-key': key, 'new-ssh-key': otherKey });
    expect(inputs.sshKeys).toEqual({ old: key, new: otherKey });
    const mixed = load('plan', { 'ssh-key': key, 'new-ssh-key': otherKey }).inputs;
    expect(mixed.sshKeys).toEqual({ old: key, new: otherKey });
  });

  it('of a stage are typed', () => {
    const digest = 'AB'.repeat(32);
    const given = { 'ssh-key': key, 'plan-digest': `sha256:${digest}`, 'dry-run': 'TRUE' };
    const { inputs } = load('transfer', { ...given, pass: 'final', shard: '2/4' });
    expect(inputs).toMatchObject({
      planDigest: digest.toLowerCase(),
      dryRun: true,
      pass: 'final',
      shard: { index: 2, count: 4 },
    });
    expect(load('rollback', { 'ssh-key': key, 'declare-dead': 'old' }).inputs.declareDead).toBe(
      'old',
    );
  });

  it('an input that belongs to another stage is not read', () => {
    expect(
      load('plan', { 'ssh-key': key, 'declare-dead': 'old' }).inputs.declareDead,
    ).toBeUndefined();
  });

  it('a key may have lost its last line end or gained some', () => {
    expect(load('plan', { 'ssh-key': `\n${key.trim()}` }).inputs.sshKeys.old).toBe(key);
  });

  it('a password keeps its spaces', () => {
    const { inputs } = load('plan', { 'ssh-key': key, 'sudo-password': ' a b \n' });
    expect(inputs.sudoPassword).toBe(' a b ');
  });

  it('a token that nobody filled in is none', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of GitHub's, not ours
    const { inputs } = load('plan', { 'ssh-key': key, 'github-token': '${{ github.token }}' });
    expect(inputs.githubToken).toBeUndefined();
    expect(load('plan', { 'ssh-key': key }).inputs.githubToken).toBeUndefined();
  });

  it('keys with a passphrase are accepted with one, in any format', () => {
    const formats = [
      ['-t', 'ed25519'],
      ['-t', 'rsa', '-b', '2048', '-m', 'PEM'],
      ['-t', 'ecdsa', '-m', 'PKCS8'],
    ];
    formats.forEach((args, index) => {
      const locked = makeKey(`locked-${index}`, args, 'open sesame');
      const inputs = load('plan', { 'ssh-key': locked, 'ssh-passphrase': 'open sesame' }).inputs;
      expect(inputs).toMatchObject({ sshKeys: { old: locked }, sshPassphrase: 'open sesame' });
      expect(faultsOf('plan', { 'ssh-key': locked })).toEqual([
        'input ssh-key: is protected by a passphrase; give it as ssh-passphrase',
      ]);
      const open = makeKey(`open-${index}`, args);
      expect(load('plan', { 'ssh-key': open }).inputs.sshKeys.new).toBe(open);
    });
  });
});

describe('secrets', () => {
  const dns = 'hmac-sha256:mail-cutover:bWFpbC1jdXRvdmVyLXRlc3Q=';
  const secrets = {
    'ssh-key': key,
    'ssh-passphrase': 'p4ss phrase',
    'sudo-password': 'su do',
    'dns-credentials': `orchard.example=${dns}\nattic.example=${dns}`,
    'probe-password': 'x',
    'github-token': 'ghs_0123456789',
  };

  it('are masked, whole and line by line', () => {
    const { masked } = load('plan', secrets);
    for (const secret of Object.values(secrets)) {
      expect(masked).toContain(secret.trim());
      if (secret.includes('\n')) {
        for (const line of secret.trim().split('\n')) expect(masked).toContain(line);
      }
    }
    expect(masked.some((each) => each.endsWith('bWFpbC1jdXRvdmVyLXRlc3Q='))).toBe(true);
    expect(masked).toContain('bWFpbC1jdXRvdmVyLXRlc3Q=');
  });

  it('are masked even when another input is bad', () => {
    const masked: string[] = [];
    const env = { 'INPUT_SUDO-PASSWORD': 'hunter2', 'INPUT_DRY-RUN': 'perhaps' };
    expect(() => loadInputs('plan', env, (secret) => masked.push(secret))).toThrow(UserError);
    expect(masked).toContain('hunter2');
  });

  it('are not left to child processes', () => {
    const { env } = load('plan', { ...secrets, config: 'a.yml' });
    expect(Object.keys(env)).toEqual(['INPUT_CONFIG']);
  });

  it('nothing short or empty is masked: it would blacken every log', () => {
    const { masked } = load('plan', {
      'ssh-key': key,
      'dns-credentials': '',
      'probe-password': ' ',
    });
    for (const each of masked) expect(each.trim().length).toBeGreaterThan(3);
  });

  it('are covered: every stage has them marked', () => {
    for (const stage of stageNames) {
      const marked = inputsOf(stage).filter((input) => input.secret);
      expect(marked.map((input) => input.name)).toEqual([
        'ssh-key',
        'old-ssh-key',
        'new-ssh-key',
        'ssh-passphrase',
        'sudo-password',
        'dns-credentials',
        'probe-password',
        'github-token',
      ]);
    }
  });
});

describe('bad inputs', () => {
  it.each<[string, StageName, Record<string, string>, string]>([
    [
      'no key',
      'plan',
      {},
      'input ssh-key: is missing; give ssh-key, or old-ssh-key and new-ssh-key',
    ],
    [
      'half of the keys',
      'plan',
      { 'ssh-key': '', 'old-ssh-key': key },
      'input new-ssh-key: is missing; give it, or ssh-key for both',
    ],
    [
      'the other half',
      'plan',
      { 'ssh-key': '', 'new-ssh-key': key },
      'input old-ssh-key: is missing; give it, or ssh-key for both',
    ],
    [
      'a public key',
      'plan',
      { 'ssh-key': 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me' },
      'input ssh-key: is a public key; give the private one, the file without ".pub"',
    ],
    [
      'a path',
      'plan',
      { 'ssh-key': '~/.ssh/id_ed25519' },
      'input ssh-key: is not a private key; give its whole text, from "-----BEGIN" to "-----END …-----", not a path',
    ],
    [
      'a key on one line',
      'plan',
      { 'ssh-key': key.replaceAll('\n', ' ') },
      'input ssh-key: has lost its line breaks; store the key in the secret as it is in its file',
    ],
    [
      'a word for a boolean',
      'plan',
      { 'dry-run': 'yes' },
      'input dry-run: "yes" is neither true nor false',
    ],
    [
      'half a digest',
      'freeze',
      { 'plan-digest': 'abc123' },
      'input plan-digest: is not a plan digest; copy the 64 hexadecimal digits that plan printed',
    ],
    ['a pass', 'transfer', { pass: 'last' }, 'input pass: "last" is not one of: live, final, late'],
    [
      'a shard beyond the last',
      'transfer',
      { shard: '5/4' },
      'input shard: "5/4" is not of the form "2/4", the second part of four',
    ],
    [
      'shard nought',
      'transfer',
      { shard: '0/4' },
      'input shard: "0/4" is not of the form "2/4", the second part of four',
    ],
    [
      'a third host',
      'rollback',
      { 'declare-dead': 'both' },
      'input declare-dead: "both" is neither old nor new',
    ],
    [
      'a password of two lines',
      'plan',
      { 'sudo-password': 'a\nb' },
      'input sudo-password: a password has one line; check the secret',
    ],
  ])('%s', (_, stage, given, line) => {
    expect(
      faultsOf(stage, {
        'ssh-key': key,
        ...(line.includes('ssh-key') ? { 'ssh-key': '' } : {}),
        ...given,
      }),
    ).toEqual([line]);
  });

  it('are told all at once', () => {
    const given = { 'dry-run': 'yes', pass: 'x', shard: 'y' };
    expect(faultsOf('transfer', given)).toHaveLength(4);
  });
});

describe('the words that erase', () => {
  const inputs = (words: string) =>
    load('finish', { 'ssh-key': key, 'erase-old-mail': words }).inputs;

  it('must be exact', () => {
    expect(wantsErasure(inputs(''), 'orchard')).toBe(false);
    expect(wantsErasure(inputs('erase the mail of orchard'), 'orchard')).toBe(true);
    for (const words of ['yes', 'true', 'erase the mail of villa', 'erase the mail of orchard!']) {
      expect(() => wantsErasure(inputs(words), 'orchard')).toThrow(
        'write "erase the mail of orchard"',
      );
    }
  });
});
