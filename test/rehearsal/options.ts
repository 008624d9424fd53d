import { parseArgs } from 'node:util';
import { type Suite, suites } from '../lab/image.ts';
import { afterDeath, forms, type WorkflowMove } from './by-workflow.ts';
import { type SystemName, systemNames } from './systems/registry.ts';

export interface RehearsalOptions {
  readonly system: SystemName;
  readonly mailboxes: number;
  readonly messages: number;
  /** Messages a second from outside. */
  readonly rate: number;
  /** Undefined: as the mail system does by itself. */
  readonly freeze: 'hold' | 'stop' | undefined;
  /** qmail: how it moves; undefined: snapshot. */
  readonly strategy?: 'snapshot' | 'redirect' | undefined;
  /** qmail: where its mailboxes stand. */
  readonly variant?: 'files' | 'mysql' | undefined;
  /** Debian release of NEW; undefined: as OLD. */
  readonly newSuite?: Suite | undefined;
  /** The runner is killed once, somewhere; then the stage is run again. */
  readonly kill?: boolean;
  readonly keep: boolean;
  readonly out: string | undefined;
  readonly seed: number | undefined;
  /** Moves by migrate.yml under act. Undefined: by the built actions, one after the other. */
  readonly workflow?: WorkflowMove | undefined;
}

export const help = `npm run rehearse -- [options]

Moves a whole mail server between two hosts that it starts itself, while mail flows, and counts every
message. Exit code 0 only when nothing was lost, doubled or bounced and no UID changed.

  --system NAME      ${systemNames.join(', ')} (default: postfix-dovecot)
  --mailboxes N      plain mailboxes on OLD (default 300, at least 10)
  --messages N       messages in each of them before the move (default 60)
  --rate N           messages a second from outside while it runs (default 10)
  --freeze MODE      hold: OLD goes on accepting; stop: OLD is down meanwhile (default: as the mail
                     system does by itself)
  --strategy NAME    qmail: snapshot (default) or redirect
  --variant NAME     qmail: files (default) or mysql
  --new-suite NAME   postfix-dovecot: Debian release of NEW: bookworm (default), or trixie, with
                     Dovecot 2.4
  --kill             kill the runner once, in a stage, step and moment drawn from the seed, and run
                     that stage again; not clean if none was killed
  --seed N           repeat the choices of an earlier run, which printed its seed
  --keep             leave the hosts up at the end, with a prompt
  --workflow FORM    gated or swift: by migrate.yml under act, in place of the actions one by one
  --death WAY        with --workflow: the runner dies in the final pass; then go-on: a second dispatch
                     goes on; roll-back: rollback.yml, and everything once more
  --out DIR          write rehearsal.json, the job summaries and the logs there
  --help             this text
`;

/** Reads the command line; throws a one-line Error for what it can't take. */
export function rehearsalOptions(args: readonly string[]): RehearsalOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      system: { type: 'string', default: 'postfix-dovecot' },
      mailboxes: { type: 'string', default: '300' },
      messages: { type: 'string', default: '60' },
      rate: { type: 'string', default: '10' },
      freeze: { type: 'string' },
      strategy: { type: 'string' },
      variant: { type: 'string' },
      'new-suite': { type: 'string' },
      kill: { type: 'boolean', default: false },
      seed: { type: 'string' },
      keep: { type: 'boolean', default: false },
      out: { type: 'string' },
      workflow: { type: 'string' },
      death: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const system = systemNames.find((name) => name === values.system);
  if (system === undefined)
    throw new Error(`--system ${values.system}: write one of: ${systemNames.join(', ')}`);
  const freeze = oneOf('freeze', ['hold', 'stop'], values.freeze);
  const form = oneOf('workflow', forms, values.workflow);
  const death = oneOf('death', afterDeath, values.death);
  if (death !== undefined && form === undefined)
    throw new Error('--death: is for --workflow; give that too');
  if (form !== undefined && values.kill)
    throw new Error('--kill: runs the stages one by one; with --workflow use --death');
  const strategy = oneOf('strategy', ['snapshot', 'redirect'], values.strategy);
  const variant = oneOf('variant', ['files', 'mysql'], values.variant);
  if (system !== 'qmail' && (strategy ?? variant) !== undefined)
    throw new Error('--strategy and --variant: only with --system qmail');
  const newSuite = oneOf('new-suite', suites, values['new-suite']);
  if (system !== 'postfix-dovecot' && newSuite !== undefined)
    throw new Error('--new-suite: only with --system postfix-dovecot');
  return {
    system,
    strategy,
    variant,
    newSuite,
    kill: values.kill,
    mailboxes: atLeast(10, 'mailboxes', values.mailboxes),
    messages: atLeast(0, 'messages', values.messages),
    rate: atLeast(1, 'rate', values.rate),
    freeze,
    seed: values.seed === undefined ? undefined : atLeast(0, 'seed', values.seed),
    keep: values.keep,
    out: values.out,
    workflow: form === undefined ? undefined : { form, death },
  };
}

function oneOf<T extends string>(
  name: string,
  known: readonly T[],
  text: string | undefined,
): T | undefined {
  const found = known.find((word) => word === text);
  if (found === undefined && text !== undefined)
    throw new Error(`--${name} ${text}: write ${known.join(' or ')}`);
  return found;
}

function atLeast(least: number, name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} ${text}: write a whole number of at least ${least}`);
  return value;
}
