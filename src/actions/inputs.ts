import { setSecret } from '@actions/core';
import { UserError } from '../errors.ts';
import { type InputName, inputsOf } from './metadata.ts';
import type { StageName } from './stages.ts';

/** What a stage was asked to do, validated. An input that its action does not have has its default. */
export interface Inputs {
  readonly stage: StageName;
  /** Path of the migration file. */
  readonly config: string;
  /** Private keys, by host, in OpenSSH, PEM or PuTTY format. */
  readonly sshKeys: { readonly old: string; readonly new: string };
  readonly sshPassphrase: string | undefined;
  readonly sudoPassword: string | undefined;
  readonly dnsCredentials: string | undefined;
  readonly probePassword: string | undefined;
  /** plan, prepare, activate: path of a checkout of the chatmail relay repository. */
  readonly cmdeploy: string | undefined;
  /** 64 lower-case hexadecimal digits. */
  readonly planDigest: string | undefined;
  /** prepare, transfer, freeze: JSON that counts for nothing unless it has the approved digest. */
  readonly approvedPlan: string | undefined;
  readonly dryRun: boolean;
  readonly githubToken: string | undefined;
  /** The gates that are looked at: of `plan` all, else at most the one of this stage's job. */
  readonly environments: readonly string[];
  readonly requireApproval: RequireApproval;
  /** verify: path of an audit bundle; then nothing else is looked at. */
  readonly bundle: string | undefined;
  /** transfer */
  readonly pass: Pass;
  /** transfer; `index` counts from 1 to `count`. */
  readonly shard: { readonly index: number; readonly count: number };
  /** plan: in how many parts live passes are to bring the mailboxes; by their size if undefined. */
  readonly shards: number | undefined;
  /** activate, rollback: the host that will never serve again. */
  readonly declareDead: 'old' | 'new' | undefined;
  /** Takes the lock from a run that is dead. */
  readonly forceUnlock: boolean;
  /** finish: the words that were given; `wantsErasure` judges them. */
  readonly eraseOldMail: string | undefined;
}

const passes = ['live', 'final', 'late'] as const;
/** One transfer: while OLD serves, with OLD frozen, or to a NEW that serves. */
export type Pass = (typeof passes)[number];

const approvalWords = ['refuse', 'warn', 'confirm', 'off'] as const;
/** What to do about a gate that lets everybody through. */
export type RequireApproval = (typeof approvalWords)[number];

type Environment = Record<string, string | undefined>;

/**
 * Reads and checks the inputs of an action from `env`, as the runner sets it. Secrets are masked
 * first, and removed from `env` so that no child process inherits them. Throws `UserError` with one
 * line for each bad input.
 */
export function loadInputs(
  stage: StageName,
  env: Environment = process.env,
  mask: (secret: string) => void = setSecret,
): Inputs {
  const faults: string[] = [];
  const raw = readAll(stage, env, mask);
  const check = <T>(name: InputName, parse: (value: string) => T): T => {
    try {
      return parse(raw.get(name) ?? '');
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      faults.push(`input ${name}: ${error.message}`);
      return undefined as T;
    }
  };
  const passphrase = check('ssh-passphrase', optional);
  const key = (value: string) => privateKey(value, passphrase !== undefined);
  const common = check('ssh-key', key);
  const inputs: Inputs = {
    stage,
    config: check('config', configPath),
    sshKeys: {
      old: check('old-ssh-key', key) ?? common ?? '',
      new: check('new-ssh-key', key) ?? common ?? '',
    },
    sshPassphrase: passphrase,
    sudoPassword: check('sudo-password', singleLine),
    dnsCredentials: check('dns-credentials', optional),
    probePassword: check('probe-password', singleLine),
    cmdeploy: check('cmdeploy', optional),
    planDigest: check('plan-digest', digest),
    approvedPlan: check('approved-plan', optional),
    dryRun: check('dry-run', flag),
    githubToken: check('github-token', optional),
    environments: [
      ...check('environment', (value) => (value === '' ? [] : [value])),
      ...check('environments', (value) => value.split(/[\s,]+/).filter(Boolean)),
    ],
    requireApproval: check('require-approval', requireApproval),
    bundle: check('bundle', optional),
    pass: check('pass', pass),
    shard: check('shard', shard),
    shards: check('shards', shards),
    declareDead: check('declare-dead', host),
    forceUnlock: check('force-unlock', flag),
    eraseOldMail: check('erase-old-mail', optional),
  };
  const keyFault = inputs.bundle === undefined ? missingKey(raw) : undefined;
  if (keyFault !== undefined) faults.push(keyFault);
  if (faults.length > 0) throw new UserError(faults.join('\n'));
  return inputs;
}

/** Name of the variable by which the runner hands an input over: upper case, "-" stays. */
export function inputVariable(name: string): string {
  return `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`;
}

function readAll(
  stage: StageName,
  env: Environment,
  mask: (secret: string) => void,
): Map<string, string> {
  const values = new Map<string, string>();
  for (const spec of inputsOf(stage)) {
    const variable = inputVariable(spec.name);
    const value = env[variable] ?? '';
    if (spec.secret) {
      for (const part of maskedParts(value)) mask(part);
      delete env[variable];
    }
    // A password may begin or end with a space, so of a secret only line ends are dropped.
    const text = spec.secret ? value.replace(/^[\r\n]+|[\r\n]+$/g, '') : value.trim();
    values.set(spec.name, text === '' ? (spec.default ?? '') : text);
  }
  // What the runner did not fill in must not be taken for a token.
  if (values.get('github-token')?.startsWith('${{')) values.set('github-token', '');
  return values;
}

/**
 * The texts to mask of a secret: the whole, each line (the log masks line by line), and long words,
 * which may be shown without their line. Short fragments are left out: masking "=" would blacken
 * every log.
 */
function maskedParts(value: string): string[] {
  if (value.trim() === '') return [];
  const lines = value.split(/\r?\n/);
  const fragments = lines.length > 1 ? lines.filter((line) => line.trim().length >= 4) : [];
  const words = value.split(/[\s:;,"'{}]+/).filter((word) => /^[\w+/=-]{20,}$/.test(word));
  return [...new Set([value.trim(), value, ...fragments, ...words])];
}

function optional(value: string): string | undefined {
  return value === '' ? undefined : value;
}

function singleLine(value: string): string | undefined {
  if (/[\r\n]/.test(value)) throw new UserError('a password has one line; check the secret');
  return optional(value);
}

function configPath(value: string): string {
  if (/[\r\n\0]/.test(value)) throw new UserError('is a path, on one line');
  return value === '' ? '.github/mail-cutover.yml' : value;
}

function digest(value: string): string | undefined {
  if (value === '') return undefined;
  const hex = value.toLowerCase().replace(/^sha256:/, '');
  if (/^[0-9a-f]{64}$/.test(hex)) return hex;
  throw new UserError('is not a plan digest; copy the 64 hexadecimal digits that plan printed');
}

function flag(value: string): boolean {
  if (/^(true|True|TRUE)$/.test(value)) return true;
  if (/^(false|False|FALSE|)$/.test(value)) return false;
  throw new UserError(`${quoted(value)} is neither true nor false`);
}

function pass(value: string): Pass {
  const found = passes.find((name) => name === (value || 'live'));
  if (found === undefined) throw new UserError(`${quoted(value)} is not one of: live, final, late`);
  return found;
}

function requireApproval(value: string): RequireApproval {
  const found = approvalWords.find((word) => word === (value || 'warn'));
  if (found === undefined)
    throw new UserError(`${quoted(value)} is not one of: ${approvalWords.join(', ')}`);
  return found;
}

function shard(value: string): Inputs['shard'] {
  const [, index, count] = (/^([1-9]\d{0,3})\/([1-9]\d{0,3})$/.exec(value || '1/1') ?? []).map(
    Number,
  );
  if (index === undefined || count === undefined || index > count) {
    throw new UserError(`${quoted(value)} is not of the form "2/4", the second part of four`);
  }
  return { index, count };
}

function shards(value: string): number | undefined {
  if (value === '') return undefined;
  if (/^([1-9]|1[0-6])$/.test(value)) return Number(value);
  throw new UserError(`${quoted(value)} is no number from 1 to 16`);
}

function host(value: string): 'old' | 'new' | undefined {
  if (value === '') return undefined;
  if (value === 'old' || value === 'new') return value;
  throw new UserError(`${quoted(value)} is neither old nor new`);
}

function quoted(value: string): string {
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 39)}…` : value);
}

/** A private key that can be read, with its last line ended; nothing of it is ever shown. */
function privateKey(value: string, hasPassphrase: boolean): string | undefined {
  const text = value.trim();
  if (text === '') return undefined;
  if (/^PuTTY-User-Key-File-/.test(text)) return `${text}\n`;
  if (/^(ssh|ecdsa|sk)-\S+ AAAA/.test(text)) {
    throw new UserError('is a public key; give the private one, the file without ".pub"');
  }
  const parts = /^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----([\s\S]*)-----END \1-----$/.exec(text);
  if (!parts) {
    throw new UserError(
      'is not a private key; give its whole text, from "-----BEGIN" to "-----END …-----", not a path',
    );
  }
  if (!text.includes('\n')) {
    throw new UserError(
      'has lost its line breaks; store the key in the secret as it is in its file',
    );
  }
  if (!hasPassphrase && isEncrypted(parts[1] ?? '', parts[2] ?? '')) {
    throw new UserError('is protected by a passphrase; give it as ssh-passphrase');
  }
  return `${text}\n`;
}

/** PEM says so in its headers, OpenSSH's format in its cipher name (openssh PROTOCOL.key). */
function isEncrypted(label: string, body: string): boolean {
  if (label.startsWith('ENCRYPTED') || body.includes('ENCRYPTED')) return true;
  if (!label.startsWith('OPENSSH')) return false;
  const bytes = Buffer.from(body.replaceAll(/\s/g, ''), 'base64');
  const magic = 'openssh-key-v1\0';
  if (bytes.subarray(0, magic.length).toString('latin1') !== magic) return false;
  if (bytes.length < magic.length + 8) return false;
  const length = bytes.readUInt32BE(magic.length);
  const start = magic.length + 4;
  return bytes.subarray(start, start + length).toString('latin1') !== 'none';
}

function missingKey(raw: ReadonlyMap<string, string>): string | undefined {
  const given = (name: InputName) => (raw.get(name) ?? '') !== '';
  if (given('ssh-key') || (given('old-ssh-key') && given('new-ssh-key'))) return undefined;
  if (given('old-ssh-key')) return 'input new-ssh-key: is missing; give it, or ssh-key for both';
  if (given('new-ssh-key')) return 'input old-ssh-key: is missing; give it, or ssh-key for both';
  return 'input ssh-key: is missing; give ssh-key, or old-ssh-key and new-ssh-key';
}

/**
 * Whether `finish` was told in words to delete the mail on OLD. Throws `UserError` when something
 * else was written: a slip must neither delete nor pass for a yes.
 */
export function wantsErasure(inputs: Inputs, migrationName: string): boolean {
  if (inputs.eraseOldMail === undefined) return false;
  const words = `erase the mail of ${migrationName}`;
  if (inputs.eraseOldMail === words) return true;
  throw new UserError(
    `input erase-old-mail: ${quoted(inputs.eraseOldMail)} is not the words asked for; write "${words}", or leave it empty to keep the mail`,
  );
}
