import { stringify } from 'yaml';
import {
  actionFolder,
  type InputSpec,
  inputSpecs,
  inputsOf,
  outputsOf as stageOutputs,
} from '../src/actions/metadata.ts';
import type { StageName } from '../src/actions/stages.ts';

/*
 * The workflows that people call or dispatch. Written from here because GitHub takes no expression in
 * `uses`: the suite's own version stands in one place, and every job names the same.
 */

/** Other people's actions, by full commit. */
const checkout = 'actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1';
const attest = 'actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2';
const upload = 'actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0';

/** One position of the way from OLD to NEW. */
interface Position {
  /** As `from` and `until` name it, and the last part of its environment's name. */
  readonly name: string;
  readonly stage: StageName;
  readonly pass?: 'live' | 'final';
  /** Minutes; a hosted job ends after 360. */
  readonly minutes: number;
}

export const positions: readonly Position[] = [
  { name: 'plan', stage: 'plan', minutes: 30 },
  { name: 'prepare', stage: 'prepare', minutes: 60 },
  { name: 'transfer-live', stage: 'transfer', pass: 'live', minutes: 355 },
  { name: 'freeze', stage: 'freeze', minutes: 60 },
  { name: 'transfer-final', stage: 'transfer', pass: 'final', minutes: 120 },
  { name: 'activate', stage: 'activate', minutes: 60 },
  { name: 'dns-cutover', stage: 'dns-cutover', minutes: 60 },
  { name: 'verify', stage: 'verify', minutes: 30 },
  { name: 'drain', stage: 'drain', minutes: 355 },
  { name: 'finish', stage: 'finish', minutes: 60 },
];

/** What the swift form does in one job. */
const swiftNames = ['freeze', 'transfer-final', 'activate', 'dns-cutover'];

/** Stages that change the DNS, or try whether they may, by a program that a runner may lack. */
const dnsStages: readonly StageName[] = ['plan', 'prepare', 'dns-cutover', 'finish', 'rollback'];

/** Least rights: the migration file; who approved; when. */
const permissions = { contents: 'read', actions: 'read', deployments: 'read' };

type Yaml = Record<string, unknown>;

/** What the jobs call: `owner/name` of the suite, and its version without "v", as package.json has them. */
export interface Suite {
  readonly repository: string;
  readonly version: string;
}

/** Every workflow by its path. */
export function workflowFiles(suite: Suite): readonly { path: string; content: string }[] {
  const file = (name: string, purpose: string, workflow: Yaml) => ({
    path: `.github/workflows/${name}.yml`,
    content: `# ${purpose}\n# Written by \`npm run generate\` from scripts/workflows.ts.\n${render(workflow)}`,
  });
  return [
    file('migrate', 'A whole migration: a job a stage, each behind its own gate.', migrate(suite)),
    file(
      'live-passes',
      'Copies while OLD serves, so that the last pass is short.',
      livePasses(suite),
    ),
    file('rollback', 'Back from any state to an OLD that serves.', rollback(suite)),
    file(
      'attest',
      'Opt-in: signs an audit bundle that a run has left, so that it can be told from another.',
      attestation(suite),
    ),
  ];
}

/** YAML in which a version behind a pinned action is a comment again, as Dependabot wants it. */
function render(workflow: Yaml): string {
  return stringify(workflow, { lineWidth: 0, aliasDuplicateObjects: false }).replace(
    /uses: "([^"]+) # ([^"]+)"/g,
    'uses: $1 # $2',
  );
}

function expression(text: string): string {
  return `\${{ ${text} }}`;
}

const secretSpecs: readonly InputSpec[] = (inputSpecs as readonly InputSpec[]).filter(
  ({ name, secret }) => secret && name !== 'github-token',
);

/** `ssh-key` is MAIL_CUTOVER_SSH_KEY as a secret. */
export function secretName(input: string): string {
  return `MAIL_CUTOVER_${input.replaceAll('-', '_').toUpperCase()}`;
}

const secrets = Object.fromEntries(
  secretSpecs.map(({ name, description }) => [secretName(name), { description, required: false }]),
);

interface WorkflowInput {
  readonly description: string;
  readonly default: string | boolean;
  readonly options?: readonly string[];
}

const commonInputs: Record<string, WorkflowInput> = {
  config: {
    description: 'Path of the migration file, from the top of the repository.',
    default: '.github/mail-cutover.yml',
  },
  'plan-digest': {
    description:
      'The plan digest that you approve, from an earlier dry run or plan. Every stage refuses another one.',
    default: '',
  },
  'require-approval': {
    description:
      'What to do when a gate has no reviewers: refuse, warn, or off. confirm: no reviewers are looked for, and plan-digest must repeat the digest of the plan.',
    default: 'refuse',
    options: ['refuse', 'warn', 'confirm', 'off'],
  },
  'environment-prefix': {
    description: 'How the names of the environments begin: "mail" makes mail-freeze.',
    default: 'mail',
  },
  'force-unlock': {
    description:
      'Take the lock of a run that died at once, instead of after the 90 seconds in which it ends by itself. Safe also if that run is alive.',
    default: false,
  },
  runner: { description: 'Label of the runner.', default: 'ubuntu-latest' },
};

const shards: WorkflowInput = {
  description:
    'In how many parts live passes bring the mailboxes, a job each, one after the other: 1 to 16. Left empty, as many as their size asks for. plan says which, so without it in the run there is one.',
  default: '',
};

/** Of a job that does a live pass, and needs `plan`. The parts share one lock; one that fails hinders no other. */
const shardStrategy = {
  'fail-fast': false,
  'max-parallel': 1,
  matrix: {
    shard: expression(
      `fromJSON(needs.plan.result == 'success' && needs.plan.outputs.shards || '["1/1"]')`,
    ),
  },
};

/** A name for what one of these jobs keeps; an artifact's may hold no slash. */
const shardName = `transfer-live-${expression('strategy.job-index')}`;

const relayRevision: WorkflowInput = {
  description:
    'A chatmail relay: tag or commit of its repository to run cmdeploy from, with the chatmail.ini at the top of yours. Empty: none is checked out.',
  default: '',
};

const migrateInputs: Record<string, WorkflowInput> = {
  from: {
    description: 'The first stage.',
    default: 'plan',
    options: positions.map(({ name }) => name),
  },
  until: {
    description: 'The last stage.',
    default: 'finish',
    options: positions.map(({ name }) => name),
  },
  'dry-run': {
    description:
      'Change nothing: one job without a gate plans and shows what the next stage would do.',
    default: false,
  },
  form: {
    description:
      'gated: a gate before every stage. swift: freeze, transfer-final, activate and dns-cutover behind one gate, so that no wait falls into the downtime.',
    default: 'gated',
    options: ['gated', 'swift'],
  },
  shards,
  'relay-revision': relayRevision,
  ...commonInputs,
};

/** The same inputs for a caller and for a person; only a person's can be choices. */
function triggers(inputs: Record<string, WorkflowInput>, outputs?: Yaml): Yaml {
  const called = Object.entries(inputs).map(([name, input]) => {
    const words = input.options ? ` One of: ${input.options.join(', ')}.` : '';
    const type = typeof input.default === 'boolean' ? 'boolean' : 'string';
    return [name, { description: input.description + words, type, default: input.default }];
  });
  const dispatched = Object.entries(inputs).map(([name, input]) => {
    const type =
      typeof input.default === 'boolean' ? 'boolean' : input.options ? 'choice' : 'string';
    return [
      name,
      {
        description: input.description,
        type,
        default: input.default,
        ...(input.options ? { options: input.options } : {}),
      },
    ];
  });
  return {
    workflow_call: {
      inputs: Object.fromEntries(called),
      ...(outputs ? { outputs } : {}),
      secrets,
    },
    workflow_dispatch: { inputs: Object.fromEntries(dispatched) },
  };
}

function migrate(suite: Suite): Yaml {
  const jobs: Record<string, Yaml> = { 'dry-run': dryRunJob(suite) };
  const before: string[] = [];
  for (const position of positions) {
    jobs[position.name] = stageJob(suite, position, before);
    before.push(position.name);
    // The swift form stands beside the four jobs that it takes the place of.
    if (position.name === 'dns-cutover') {
      jobs.cutover = swiftJob(
        suite,
        before.filter((name) => !swiftNames.includes(name)),
      );
      before.push('cutover');
    }
  }
  const last = (output: string) =>
    before
      .toReversed()
      .filter((job) => output in ((jobs[job]?.outputs ?? {}) as Yaml))
      .map((job) => `jobs.${job}.outputs.${output}`);
  const outputs = {
    state: {
      description: 'State of the migration after the last stage that ran.',
      value: expression(last('state').join(' || ')),
    },
    'next-stage': {
      description: 'The stage that comes next.',
      value: expression(last('next-stage').join(' || ')),
    },
    'plan-digest': {
      description: 'What a reviewer approves.',
      value: expression(`${last('plan-digest').join(' || ')} || jobs.dry-run.outputs.plan-digest`),
    },
    'downtime-seconds': {
      description: 'Seconds for which mailboxes could not be read.',
      value: expression(last('downtime-seconds').join(' || ')),
    },
  };
  return {
    name: 'Migrate',
    'run-name': `Migrate ${expression('inputs.config')}: ${expression("inputs.dry-run && 'dry run' || format('{0} to {1}, {2}', inputs.from, inputs.until, inputs.form)")}`,
    on: triggers(migrateInputs, outputs),
    permissions: {},
    // A run that waits for an approval counts as pending: without a queue a newer run drops it.
    concurrency: {
      group: `mail-cutover-migrate-${expression('inputs.config')}`,
      'cancel-in-progress': false,
      queue: 'max',
    },
    jobs,
  };
}

/** Whether a position lies between `from` and `until`. */
function inRange(name: string): string {
  const names = positions.map((position) => position.name);
  const at = names.indexOf(name);
  const list = (part: readonly string[]) => `fromJSON('${JSON.stringify(part)}')`;
  return `contains(${list(names.slice(0, at + 1))}, inputs.from) && contains(${list(names.slice(at))}, inputs.until)`;
}

/** After a stage that failed or was cancelled nothing runs; one that was left out is no hindrance. */
const unhurt =
  "!cancelled() && !contains(needs.*.result, 'failure') && !contains(needs.*.result, 'cancelled')";

function stageJob(suite: Suite, position: Position, before: readonly string[]): Yaml {
  const swift = swiftNames.includes(position.name) ? " && inputs.form != 'swift'" : '';
  const guard = before.length > 0 ? `${unhurt} && ` : '';
  return {
    name: position.name,
    ...(before.length > 0 ? { needs: [...before] } : {}),
    if: expression(`${guard}!inputs.dry-run${swift} && ${inRange(position.name)}`),
    ...(position.pass === 'live' ? { strategy: shardStrategy } : {}),
    'runs-on': expression('inputs.runner'),
    'timeout-minutes': position.minutes,
    ...(position.stage === 'plan' ? {} : { environment: environmentOf(position.name) }),
    permissions,
    outputs: outputsOf('stage', position.stage),
    steps: [
      ...preparation(dnsStages.includes(position.stage)),
      ...relayCheckout([position.stage]),
      use(suite, position, 'stage', before.includes('plan')),
      ...bundleUpload(position.pass === 'live' ? shardName : position.name, [
        ['stage', position.stage],
      ]),
    ],
  };
}

function swiftJob(suite: Suite, before: readonly string[]): Yaml {
  const parts = positions.filter(({ name }) => swiftNames.includes(name));
  const any = parts.map(({ name }) => `(${inRange(name)})`).join(' || ');
  const last = (output: string) =>
    parts
      .toReversed()
      .map(({ name }) => `steps.${name}.outputs.${output}`)
      .join(' || ');
  return {
    name: 'cutover',
    needs: [...before],
    if: expression(`${unhurt} && !inputs.dry-run && inputs.form == 'swift' && (${any})`),
    'runs-on': expression('inputs.runner'),
    'timeout-minutes': parts.reduce((sum, { minutes }) => sum + minutes, 0),
    environment: environmentOf('cutover'),
    permissions,
    outputs: Object.fromEntries(
      ['state', 'next-stage', 'plan-digest', 'downtime-seconds'].map((name) => [
        name,
        expression(last(name)),
      ]),
    ),
    steps: [
      ...preparation(true),
      ...relayCheckout(parts.map(({ stage }) => stage)),
      ...parts.map((part) => ({
        ...use(suite, part, part.name, true, 'cutover'),
        if: expression(inRange(part.name)),
      })),
      ...bundleUpload(
        'cutover',
        parts.map(({ name, stage }) => [name, stage]),
      ),
    ],
  };
}

/** Plans, then shows what the stage that comes next would do. Later ones depend on its work. */
function dryRunJob(suite: Suite): Yaml {
  const rest = positions.filter(({ stage }) => stage !== 'plan');
  return {
    name: 'dry run',
    if: expression('inputs.dry-run'),
    'runs-on': expression('inputs.runner'),
    'timeout-minutes': 60,
    permissions,
    outputs: outputsOf('plan', 'plan'),
    steps: [
      ...preparation(true),
      ...relayCheckout(['plan']),
      lenient(use(suite, { name: 'plan', stage: 'plan' }, 'plan', false)),
      ...rest.map((position) => {
        const step = ungated(use(suite, position, position.name, false));
        // It is one job, and has no matrix.
        const { shard: _, ...inputs } = step.with;
        return {
          ...step,
          if: expression(
            `steps.plan.outputs.next-stage == '${position.pass ? `transfer ${position.pass}` : position.name}'`,
          ),
          with: {
            ...inputs,
            'plan-digest': expression('steps.plan.outputs.plan-digest'),
            'dry-run': 'true',
          },
        };
      }),
    ],
  };
}

function environmentOf(name: string): string {
  return `${expression('inputs.environment-prefix')}-${name}`;
}

/** Every gate of the form that was chosen, for `plan` to look at. */
function allEnvironments(): string {
  const gated = positions.filter(({ stage }) => stage !== 'plan').map(({ name }) => name);
  const swift = ['prepare', 'transfer-live', 'cutover', 'verify', 'drain', 'finish'];
  const words = (names: readonly string[]) =>
    `format('${names.map((name) => `{0}-${name}`).join(' ')}', inputs.environment-prefix)`;
  return expression(`inputs.form == 'swift' && ${words(swift)} || ${words(gated)}`);
}

/** The stage's own action, with every input that a workflow has a value for. */
function use(
  suite: Suite,
  position: Omit<Position, 'minutes'>,
  id: string,
  chained: boolean,
  gate = position.name,
): Yaml & { with: Yaml } {
  const { stage } = position;
  const folder = stage === 'plan' ? '' : `/${actionFolder(stage)}`;
  // A digest that the same run found out is no confirmation.
  const digest = chained
    ? "inputs.plan-digest || (inputs.require-approval != 'confirm' && needs.plan.result == 'success' && needs.plan.outputs.plan-digest || '')"
    : 'inputs.plan-digest';
  const values: Record<string, string> = {
    config: expression('inputs.config'),
    ...Object.fromEntries(
      secretSpecs.map(({ name }) => [name, expression(`secrets.${secretName(name)}`)]),
    ),
    'plan-digest': expression(digest),
    ...(chained
      ? {
          'approved-plan': expression(
            "needs.plan.result == 'success' && needs.plan.outputs.plan || ''",
          ),
        }
      : {}),
    environment: environmentOf(gate),
    environments: allEnvironments(),
    'require-approval': expression('inputs.require-approval'),
    'force-unlock': expression('inputs.force-unlock'),
    shards: expression('inputs.shards'),
    cmdeploy: expression(`${hasRelay} && '${relayFolder}' || ''`),
    ...(position.pass ? { pass: position.pass } : {}),
    ...(position.pass === 'live' ? { shard: expression('matrix.shard') } : {}),
  };
  const names = inputsOf(stage).map(({ name }) => name);
  return {
    id,
    name: position.name,
    uses: `${suite.repository}${folder}@v${suite.version}`,
    with: Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name))),
  };
}

/** A dry run shows what the gates lack, but goes on without them. */
function lenient<T extends { with: Yaml }>(step: T): T {
  const mode = expression("inputs.require-approval == 'off' && 'off' || 'warn'");
  return { ...step, with: { ...step.with, 'require-approval': mode } };
}

/** For a job that no gate stands before. */
function ungated<T extends { with: Yaml }>(step: T): T {
  const { environment: _, environments: __, 'require-approval': ___, ...inputs } = step.with;
  return { ...step, with: inputs };
}

function outputsOf(step: string, stage: StageName): Yaml {
  const names = ['state', 'next-stage', 'plan-digest'];
  if (stageOutputs(stage).some(({ name }) => name === 'downtime-seconds'))
    names.push('downtime-seconds');
  if (stage === 'plan') names.push('plan', 'shards');
  return Object.fromEntries(
    names.map((name) => [name, expression(`steps.${step}.outputs.${name}`)]),
  );
}

function preparation(dns: boolean): Yaml[] {
  const nsupdate = {
    name: 'nsupdate, where the runner lacks it',
    run: 'command -v nsupdate || { sudo apt-get update && sudo apt-get install --yes bind9-dnsutils; }',
  };
  return [{ uses: checkout, with: { 'persist-credentials': false } }, ...(dns ? [nsupdate] : [])];
}

const relayFolder = 'relay';
const hasRelay = "inputs.relay-revision != ''";

/** What `cmdeploy` is run from, for stages that may run it; set up as its own guide says. */
function relayCheckout(all: readonly StageName[]): Yaml[] {
  if (!all.some((stage) => inputsOf(stage).some(({ name }) => name === 'cmdeploy'))) return [];
  return [
    {
      name: 'The relay repository',
      if: expression(hasRelay),
      uses: checkout,
      with: {
        repository: 'chatmail/relay',
        ref: expression('inputs.relay-revision'),
        path: relayFolder,
        'persist-credentials': false,
      },
    },
    {
      name: 'Set cmdeploy up',
      if: expression(hasRelay),
      run: `cp chatmail.ini ${relayFolder}/ && cd ${relayFolder} && scripts/initenv.sh`,
    },
  ];
}

/** Keeps the bundle of a job whose steps have these ids: of the last that left one. */
function bundleUpload(job: string, steps: readonly (readonly [string, StageName])[]): Yaml[] {
  const leaving = steps.filter(([, stage]) =>
    stageOutputs(stage).some(({ name }) => name === 'audit'),
  );
  if (leaving.length === 0) return [];
  const path = leaving.map(([id]) => `steps.${id}.outputs.audit`).toReversed();
  return [
    {
      name: 'Keep the audit bundle',
      if: expression(`!cancelled() && (${path.join(' || ')}) != ''`),
      uses: upload,
      with: {
        name: `mail-cutover-audit-${job}-${expression('github.run_attempt')}`,
        path: expression(path.join(' || ')),
        'if-no-files-found': 'error',
      },
    },
  ];
}

/**
 * A called workflow has no clock of its own: the schedule stands in the caller. Its environment is for
 * secrets and branch rules; nobody wants to approve a copy every night.
 */
function livePasses(suite: Suite): Yaml {
  const { 'require-approval': _, ...passInputs } = commonInputs;
  const live = { name: 'transfer-live', stage: 'transfer', pass: 'live', minutes: 355 } as const;
  const plan = { name: 'plan', stage: 'plan' } as const;
  return {
    name: 'Live passes',
    on: triggers({ shards, 'relay-revision': relayRevision, ...passInputs }),
    permissions: {},
    // A group of its own: passes go on while a migration waits for its approval. The newest suffices.
    concurrency: {
      group: `mail-cutover-live-${expression('inputs.config')}`,
      'cancel-in-progress': false,
    },
    jobs: {
      plan: {
        name: 'plan',
        if: expression("inputs.shards != '1'"),
        'runs-on': expression('inputs.runner'),
        'timeout-minutes': 30,
        environment: environmentOf('live-passes'),
        permissions,
        outputs: outputsOf('stage', 'plan'),
        steps: [
          ...preparation(true),
          ...relayCheckout(['plan']),
          ungated(use(suite, plan, 'stage', false)),
        ],
      },
      'transfer-live': {
        name: 'transfer-live',
        needs: ['plan'],
        if: expression(unhurt),
        strategy: shardStrategy,
        'runs-on': expression('inputs.runner'),
        'timeout-minutes': live.minutes,
        environment: environmentOf('live-passes'),
        permissions,
        outputs: outputsOf('stage', 'transfer'),
        steps: [
          ...preparation(false),
          ungated(use(suite, live, 'stage', false)),
          ...bundleUpload(shardName, [['stage', 'transfer']]),
        ],
      },
    },
  };
}

function rollback(suite: Suite): Yaml {
  const back = { name: 'rollback', stage: 'rollback', minutes: 120 } as const;
  const dead = {
    description: 'A host that is off for good: old or new. It goes on record.',
    default: '',
  };
  const step = use(suite, back, 'stage', false);
  return {
    name: 'Roll back',
    on: triggers({ ...commonInputs, 'declare-dead': dead }),
    permissions: {},
    // A group of its own: going back must not wait behind a migration that waits for its approval.
    concurrency: {
      group: `mail-cutover-rollback-${expression('inputs.config')}`,
      'cancel-in-progress': false,
      queue: 'max',
    },
    jobs: {
      rollback: {
        name: 'rollback',
        'runs-on': expression('inputs.runner'),
        'timeout-minutes': back.minutes,
        environment: environmentOf('rollback'),
        permissions,
        outputs: outputsOf('stage', 'rollback'),
        steps: [
          ...preparation(true),
          { ...step, with: { ...step.with, 'declare-dead': expression('inputs.declare-dead') } },
          ...bundleUpload('rollback', [['stage', 'rollback']]),
        ],
      },
    },
  };
}

/**
 * Checks a bundle and attests to it. Apart from the stages, since it needs rights to sign that no stage
 * should have, and puts its subject's digest on a public log where the repository is public.
 */
function attestation(suite: Suite): Yaml {
  const inputs: Record<string, WorkflowInput> = {
    run: { description: 'Id of the run that left the bundle, from its address.', default: '' },
    bundle: {
      description: 'Name of the artifact.',
      default: 'mail-cutover-audit-finish-1',
    },
  };
  const folder = 'bundle';
  return {
    name: 'Attest an audit bundle',
    on: withoutSecrets(triggers(inputs)),
    permissions: {},
    concurrency: {
      group: `mail-cutover-attest-${expression('inputs.run')}`,
      'cancel-in-progress': false,
    },
    jobs: {
      attest: {
        name: 'attest',
        'runs-on': 'ubuntu-latest',
        'timeout-minutes': 15,
        permissions: {
          actions: 'read',
          contents: 'read',
          attestations: 'write',
          'id-token': 'write',
        },
        steps: [
          {
            name: 'Take the bundle from its run',
            env: {
              GH_TOKEN: expression('github.token'),
              GH_REPO: expression('github.repository'),
              RUN: expression('inputs.run'),
              BUNDLE: expression('inputs.bundle'),
            },
            run: `gh run download "$RUN" --name "$BUNDLE" --dir ${folder}`,
          },
          {
            name: 'Check it',
            uses: `${suite.repository}/${actionFolder('verify')}@v${suite.version}`,
            with: { bundle: folder },
          },
          { name: 'Attest to it', uses: attest, with: { 'subject-path': `${folder}/*` } },
        ],
      },
    },
  };
}

function withoutSecrets(on: Yaml): Yaml {
  const { secrets: _, ...call } = on.workflow_call as Yaml;
  return { ...on, workflow_call: call };
}
