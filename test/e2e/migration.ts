import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { StageName } from '../../src/actions/stages.ts';
import {
  type ActionResult,
  type RunActionOptions,
  runAction,
} from '../../src/driver/run-action.ts';
import type { Lab } from '../lab/lab.ts';
import { carry } from '../lab/profile-postfix-dovecot.ts';
import { domains, mailName, network, password, special, tsig, ttl } from '../lab/world.ts';

/** The migration file of the lab, with whatever a test wants otherwise. */
export function migrationFile(
  lab: Lab,
  changes: Record<string, unknown> = {},
): Record<string, unknown> {
  const host = (name: 'old' | 'new') => ({
    address: lab.host(name).address,
    user: 'root',
    'host-keys': [...lab.host(name).hostKeys],
  });
  return {
    name: 'orchard',
    'mail-system': 'postfix-dovecot',
    old: host('old'),
    new: host('new'),
    domains: Object.values(domains),
    carry: [...carry],
    freeze: { mode: 'hold', 'max-minutes': 10 },
    dns: [
      {
        zone: domains.virtual,
        provider: 'rfc2136',
        server: network.dns.v4,
        ttl: ttl.lowered,
        records: [
          { name: mailName, type: 'A', values: [network.new.v4] },
          { name: mailName, type: 'AAAA', values: [network.new.v6] },
        ],
      },
    ],
    probe: { mailbox: special.probe },
    options: { verify: 'sample', 'drain-quiet-seconds': 3 },
    ...changes,
  };
}

/** Of the complete migration file that the documents show for a mail system, what no lab differs in. */
export function shownFor(mailSystem: string): Record<string, unknown> {
  const path = join(import.meta.dirname, `../../docs/examples/${mailSystem}.yml`);
  const { provision, chatmail, qmail } = parse(readFileSync(path, 'utf8'));
  return { 'mail-system': mailSystem, provision, chatmail, qmail };
}

export const dnsCredentials = `${tsig.algorithm}:${tsig.name}:${tsig.secret}`;

/** One migration of the lab, stage by stage, with the built actions under the runner's protocol. */
export class Migration {
  readonly #lab: Lab;
  readonly #workspace: string;
  #onLine: ((line: string) => void) | undefined;

  private constructor(lab: Lab, workspace: string) {
    this.#lab = lab;
    this.#workspace = workspace;
  }

  static async create(lab: Lab, changes: Record<string, unknown> = {}): Promise<Migration> {
    const workspace = await mkdtemp(join(tmpdir(), 'mail-cutover-workspace-'));
    const migration = new Migration(lab, workspace);
    await migration.write(migrationFile(lab, changes));
    return migration;
  }

  /** Where the report files land. */
  get workspace(): string {
    return this.#workspace;
  }

  onLine(listener: (line: string) => void): void {
    this.#onLine = listener;
  }

  async write(file: Record<string, unknown> | string): Promise<void> {
    const text = typeof file === 'string' ? file : stringify(file);
    await writeFile(join(this.#workspace, 'mail-cutover.yml'), text);
  }

  /** Runs a stage; never throws for a failing stage. */
  async run(
    stage: StageName,
    inputs: Record<string, string> = {},
    options: Partial<RunActionOptions> = {},
  ): Promise<ActionResult> {
    return runAction({
      stage,
      inputs: {
        config: 'mail-cutover.yml',
        'ssh-key': this.#lab.sshKey.text,
        'dns-credentials': dnsCredentials,
        'probe-password': password,
        'github-token': '',
        ...inputs,
      },
      workspace: this.#workspace,
      temp: this.#workspace,
      actor: 'rehearsal',
      ...(this.#onLine ? { onLine: this.#onLine } : {}),
      ...options,
    });
  }

  /** Runs a stage that must succeed. */
  async must(
    stage: StageName,
    inputs: Record<string, string> = {},
    options: Partial<RunActionOptions> = {},
  ): Promise<ActionResult> {
    const result = await this.run(stage, inputs, options);
    if (result.code !== 0) throw new Error(`${stage} ended with ${result.code}:\n${result.log}`);
    return result;
  }

  async remove(): Promise<void> {
    await rm(this.#workspace, { recursive: true, force: true });
  }
}

/** When `freeze` may run, from its refusal: "until 2026-01-01T00:00:00.000Z". */
export function notBefore(log: string): Date | undefined {
  const match = /until (\d{4}-\d\d-\d\dT[\d:.]+Z)/.exec(log);
  return match?.[1] === undefined ? undefined : new Date(match[1]);
}
