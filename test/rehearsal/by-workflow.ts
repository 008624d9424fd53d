import { setTimeout as sleep } from 'node:timers/promises';
import type { Entry } from '../../src/engine/journal.ts';
import { downtimeSeconds } from '../../src/report/downtime.ts';
import { ActRepository, type Dispatched } from '../e2e/act.ts';
import { notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { type Moved, type Mover, type StageFigures, watchQueue } from './run.ts';
import type { RehearsedSystem, Scene } from './systems/system.ts';
import { inventory } from './taking.ts';

export const forms = ['gated', 'swift'] as const;
export const afterDeath = ['go-on', 'roll-back'] as const;

export interface WorkflowMove {
  /** What `migrate.yml` calls its forms. */
  readonly form: (typeof forms)[number];
  /** The runner dies in the final pass; then a second dispatch goes on, or all is begun again. */
  readonly death?: (typeof afterDeath)[number] | undefined;
  /** Jobs of the first live pass, each with a part of the mailboxes. Default: as plan says. */
  readonly shards?: string;
  /** Text of a workflow of the user's that calls migrate.yml; the first dry run goes by it. */
  readonly caller?: string;
}

/** One dispatch, with what it was given and left. */
export interface DispatchRecord extends Dispatched {
  readonly inputs: Readonly<Record<string, string>>;
  /** Names of all artifacts by then. */
  readonly artifacts: readonly string[];
}

/** The title of the step in which the runner dies, as the log shows it. */
const lastStep = 'Compare both hosts';

/** Moves by dispatching migrate.yml under act, as a person would: until the live pass, then the rest. */
export function byWorkflow(
  way: WorkflowMove,
  told: (record: DispatchRecord) => void = () => undefined,
): Mover {
  return async (system, scene, traffic, say) => {
    const changes = {
      freeze: { mode: scene.options.freeze ?? system.freeze, 'max-minutes': 10 },
      ...system.migration(scene),
    };
    const callers = way.caller === undefined ? {} : { 'caller.yml': way.caller };
    const user = await ActRepository.create(scene.lab, changes, callers);
    const desk = new Desk(user, say, told, traffic.startedAt);
    try {
      return await moveFrom(desk, way, system, scene);
    } finally {
      await user.remove();
    }
  };
}

async function moveFrom(
  desk: Desk,
  { form, death, caller, shards }: WorkflowMove,
  system: RehearsedSystem,
  scene: Scene,
): Promise<Moved> {
  const { lab, options } = scene;
  await desk.must({ 'dry-run': 'true' }, caller === undefined ? 'migrate.yml' : 'caller.yml');
  await desk.must({ form, until: 'transfer-live', ...(shards ? { shards } : {}) });
  await desk.untilLowTtl();
  const queue = watchQueue(lab);
  const rest = { form, until: 'drain', from: 'freeze' };
  if (death === undefined) await desk.must(rest);
  else {
    await desk.die(rest, lastStep);
    if (death === 'go-on') {
      await desk.must({ ...rest, from: 'transfer-final', 'force-unlock': 'true' });
      // All of it once more, by mistake: to be refused before anything is touched.
      await desk.dispatch({ form });
    } else {
      await desk.must({ 'force-unlock': 'true' }, 'rollback.yml');
      await desk.must({ form, until: 'transfer-live' });
      await desk.untilLowTtl();
      await desk.must(rest);
    }
  }
  const held = await queue.most();
  // Once frozen, OLD's mailboxes do not change any more: it is not too late to look at them.
  const frozen = await inventory(system.places(lab.host('old').root, options.mailboxes));
  const faults = (await system.frozen?.(scene)) ?? [];
  return { stages: desk.stages, frozen, faults, held, downtimeSeconds: await downtimeOf(lab) };
}

/** A person at the page of the workflow. */
class Desk {
  readonly #user: ActRepository;
  readonly #say: (line: string) => void;
  readonly #told: (record: DispatchRecord) => void;
  readonly #startedAt: number;
  readonly stages: StageFigures[] = [];

  constructor(
    user: ActRepository,
    say: (line: string) => void,
    told: (record: DispatchRecord) => void,
    startedAt: number,
  ) {
    this.#user = user;
    this.#say = say;
    this.#told = told;
    this.#startedAt = startedAt;
  }

  async dispatch(
    inputs: Readonly<Record<string, string>>,
    workflow = 'migrate.yml',
    killAt?: string,
  ): Promise<Dispatched> {
    const words = Object.entries(inputs).map(([name, value]) => `${name}=${value}`);
    const title = [workflow, ...words].join(' ');
    const at = (Date.now() - this.#startedAt) / 1000;
    const began = performance.now();
    this.#say(`dispatch ${title}`);
    const result = await this.#user.dispatch({
      workflow,
      // There is no API under act: what it says of gates is tested against a server of our own.
      // What a caller does not hand on, it can't be given.
      inputs: workflow === 'caller.yml' ? inputs : { ...inputs, 'require-approval': 'off' },
      killAt,
      onLine: (line) => this.#say(`    ${line}`),
    });
    const seconds = (performance.now() - began) / 1000;
    this.stages.push({ stage: title, at, seconds, outputs: {} });
    this.#say(`exit code ${result.code} after ${seconds.toFixed(1)} s`);
    this.#told({ ...result, inputs, artifacts: await this.#user.kept() });
    return result;
  }

  async must(inputs: Readonly<Record<string, string>>, workflow?: string): Promise<void> {
    const { code, log } = await this.dispatch(inputs, workflow);
    if (code !== 0) throw new Error(`${JSON.stringify(inputs)} ended with ${code}:\n${log}`);
  }

  /** The runner dies when its log holds `words`. */
  async die(inputs: Readonly<Record<string, string>>, words: string): Promise<void> {
    const { code, log } = await this.dispatch(inputs, undefined, words);
    if (code !== 137) throw new Error(`not killed at "${words}", exit code ${code}:\n${log}`);
  }

  /** A dry run shows what the next stage would do: `freeze` says from when on it may run. */
  async untilLowTtl(): Promise<void> {
    const { log } = await this.dispatch({ 'dry-run': 'true' });
    const time = notBefore(log);
    if (time) await sleep(Math.max(0, time.getTime() - Date.now()) + 100);
  }
}

async function downtimeOf(lab: Lab): Promise<number> {
  const { stdout } = await lab.host('old').sh('cat /var/lib/mail-cutover/orchard/journal.jsonl');
  const lines = stdout.split('\n').filter(Boolean);
  return downtimeSeconds(lines.map((line) => JSON.parse(line) as Entry)) ?? 0;
}
