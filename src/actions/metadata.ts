import { type StageName, stageNames } from './stages.ts';

/**
 * Every input and output of every action, once. `npm run generate` writes the action.yml files and
 * the tables of the READMEs from here, and `inputs.ts` can read no other name.
 */

export interface InputSpec {
  /** kebab-case. */
  readonly name: string;
  /** Whole sentences, for people. */
  readonly description: string;
  readonly default?: string;
  /** Masked in the log, and taken out of the environment once read. */
  readonly secret?: true;
  /** Stages that have it; all when left out. */
  readonly stages?: readonly StageName[];
}

export interface OutputSpec {
  readonly name: string;
  readonly description: string;
  readonly stages?: readonly StageName[];
}

/** All that do something: `plan` only looks. */
const changingStages = stageNames.filter((name) => name !== 'plan');

/** From the stage on in which NEW begins to serve. */
const servedStages = stageNames.slice(stageNames.indexOf('activate'));

export const inputSpecs = [
  {
    name: 'config',
    description: 'Path of the migration file, from the top of the repository.',
    default: '.github/mail-cutover.yml',
  },
  {
    name: 'ssh-key',
    description:
      'Private SSH key for OLD and NEW and their jump hosts. Give this, or `old-ssh-key` and `new-ssh-key`.',
    secret: true,
  },
  {
    name: 'old-ssh-key',
    description: 'Private SSH key for OLD, where it is not the same as for NEW.',
    secret: true,
  },
  {
    name: 'new-ssh-key',
    description: 'Private SSH key for NEW, where it is not the same as for OLD.',
    secret: true,
  },
  {
    name: 'ssh-passphrase',
    description: 'Passphrase of the SSH keys, where they have one.',
    secret: true,
  },
  {
    name: 'sudo-password',
    description: 'Password for sudo, where the SSH user is not root and sudo asks for one.',
    secret: true,
  },
  {
    name: 'dns-credentials',
    description:
      'Credentials of the DNS provider. For rfc2136 the TSIG key, as `algorithm:name:secret`; where zones have keys of their own, one line each, as `zone=algorithm:name:secret`.',
    secret: true,
  },
  {
    name: 'probe-password',
    description:
      'Password of the probe mailbox. With it `verify` logs in as a user would; of a chatmail relay `activate` does so too, before NEW opens.',
    secret: true,
  },
  {
    name: 'cmdeploy',
    description:
      'Path of your checkout of the chatmail relay repository, with `chatmail.ini`, where its `scripts/initenv.sh` has run. Needed for `provision: cmdeploy`, and by `freeze` for `chatmail.freeze: cmdeploy`.',
    stages: ['plan', 'prepare', 'freeze', 'activate'],
  },
  {
    name: 'plan-digest',
    description:
      'The plan digest that was approved. The stage refuses to run when the plan has become another.',
  },
  {
    name: 'approved-plan',
    description:
      'The output `plan` of the stage plan, of the plan that was approved. With it a refusal can say what has changed since; whether it refuses is decided by `plan-digest` alone.',
    stages: ['prepare', 'transfer', 'freeze'],
  },
  {
    name: 'dry-run',
    description: '`true` runs every check, prints each step that would run, and changes nothing.',
    default: 'false',
  },
  {
    name: 'github-token',
    description:
      'Reads who approved the run and whether its environments are protected (`actions: read`, `deployments: read`).',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of GitHub's, not ours
    default: '${{ github.token }}',
    secret: true,
  },
  {
    name: 'environment',
    description:
      'Name of the GitHub environment that the job names, the gate of this stage. Who approved it goes on record. Left empty, no gate is looked for.',
    default: '',
    stages: changingStages,
  },
  {
    name: 'environments',
    description:
      'Names of all environments that the migration will pass, separated by spaces. `plan` looks whether each exists and has reviewers.',
    default: '',
    stages: ['plan'],
  },
  {
    name: 'require-approval',
    description:
      'What to do about a gate that lets everybody through: `refuse`, `warn`, or `off` to ask GitHub nothing. `confirm` is for repositories without reviewers: a stage runs only when `plan-digest` repeats the digest of the plan.',
    default: 'warn',
  },
  {
    name: 'bundle',
    description:
      "Path of an audit bundle, the folder or its `journal.jsonl`. `verify` then only checks the journal's chain, and needs neither hosts nor keys.",
    default: '',
    stages: ['verify'],
  },
  {
    name: 'pass',
    description:
      'What is copied: `live` while OLD serves, any number of times; `final` when OLD is frozen, an exact mirror; `late` only adds, to a NEW that serves.',
    default: 'live',
    stages: ['transfer'],
  },
  {
    name: 'shards',
    description:
      'In how many parts the live passes bring the mailboxes, one after the other, each in a job of its own: 1 to 16. Left empty, as many as the size asks for: one for every 250 GB.',
    default: '',
    stages: ['plan'],
  },
  {
    name: 'shard',
    description:
      'Which part of the mailboxes this live pass brings, as `part/parts`: `2/4` is the second of four. The output `shards` of plan lists all of them. They share one lock, so one job works at a time (`max-parallel: 1`).',
    default: '1/1',
    stages: ['transfer'],
  },
  {
    name: 'force-unlock',
    description:
      '`true` takes the lock from a run that died, instead of waiting until it ends by itself (90 seconds). Safe also if that run is alive: the hosts refuse it from then on. Goes on record.',
    default: 'false',
    stages: changingStages,
  },
  {
    name: 'declare-dead',
    description:
      'Go on although one host cannot be reached: `old` or `new`. You say that it is off for good and never serves mail again; that goes on record.',
    default: '',
    stages: servedStages,
  },
  {
    name: 'erase-old-mail',
    description:
      'Left empty, the mail on OLD stays. To delete it for good write `erase the mail of NAME`, with the name of the migration.',
    default: '',
    stages: ['finish'],
  },
] as const satisfies readonly InputSpec[];

export type InputName = (typeof inputSpecs)[number]['name'];

export const outputSpecs = [
  { name: 'state', description: 'State of the migration after this stage, in one word.' },
  {
    name: 'changed',
    description: '`true` when the stage changed anything, `false` when all was done.',
  },
  { name: 'next-stage', description: 'The stage that comes next.' },
  { name: 'plan-digest', description: 'SHA-256 of the plan: what a reviewer approves.' },
  {
    name: 'plan',
    description:
      'What the digest stands for, as JSON, for `approved-plan` of a later job. Empty when it is longer than 64 KiB.',
    stages: ['plan'],
  },
  {
    name: 'shards',
    description:
      'The parts in which the live passes are to bring the mailboxes, as JSON for a matrix: `["1/2","2/2"]`.',
    stages: ['plan'],
  },
  { name: 'report', description: 'Path of the report that this stage wrote.' },
  {
    name: 'downtime-seconds',
    description: 'Seconds for which mailboxes could not be read, as far as it is known by now.',
    stages: servedStages,
  },
  {
    name: 'audit',
    description:
      'Path of the audit bundle: a folder with the journal and an `audit.html` that opens by itself. `verify`, `finish` and `rollback` leave one, and every stage that failed.',
    stages: changingStages,
  },
] as const satisfies readonly OutputSpec[];

/** Name and description of each action, as GitHub shows them. */
export const actionTexts: Readonly<Record<StageName, string>> = {
  plan: 'Reads both mail hosts and the DNS, changes nothing, and says what a migration would do, what could go wrong, and the digest to approve',
  prepare: 'Sets NEW up behind a fence, opens the private way for late mail, and lowers the TTLs',
  transfer: 'Copies the mail from OLD to NEW, in a live, a final or a late pass',
  freeze: 'Stops every change of mailboxes on OLD, and proves that nothing moves',
  activate: 'Takes the mailboxes from OLD and gives them to NEW, which serves from then on',
  'dns-cutover': 'Points the DNS at NEW, and proves it at every authoritative server',
  verify: 'Gathers evidence that NEW has all the mail and serves it',
  drain: 'Brings late mail over until OLD has been quiet for a while',
  finish: 'Ends the migration, restores the TTLs, and removes what was put on the hosts',
  rollback: 'Goes back from any state to an OLD that serves, with all the mail that NEW has got',
};

/** Inputs of one action, in the order of the table. */
export function inputsOf(stage: StageName): readonly InputSpec[] {
  return (inputSpecs as readonly InputSpec[]).filter((spec) => hasStage(spec, stage));
}

/** Outputs of one action, in the order of the table. */
export function outputsOf(stage: StageName): readonly OutputSpec[] {
  return (outputSpecs as readonly OutputSpec[]).filter((spec) => hasStage(spec, stage));
}

function hasStage(spec: { readonly stages?: readonly StageName[] }, stage: StageName): boolean {
  return (spec.stages ?? stageNames).includes(stage);
}

/** Stages that clean up in a post step, which GitHub also runs when a job fails or is cancelled. */
export const stagesWithPost: readonly StageName[] = ['transfer', 'rollback'];

/** Path of an action's folder, from the top of the repository; plan is the root action. */
export function actionFolder(stage: StageName): string {
  return stage === 'plan' ? '.' : `actions/${stage}`;
}
