import { setTimeout as sleep } from 'node:timers/promises';
import type { Entry } from '../../src/engine/journal.ts';
import { downtimeSeconds } from '../../src/report/downtime.ts';
import { ActRepository, type Dispatched } from '../e2e/act.ts';
import { notBefore } from '../e2e/migration.ts';
import type { Lab } from '../lab/lab.ts';
import { labPlaces } from './layout.ts';
import { type Mover, type StageFigures, watchQueue } from './run.ts';
import { inventory } from './taking.ts';

/** There is no API under act: what it says of gates is tested against a server of our own. */
const noGates = { 'require-approval': 'off' };

export interface WorkflowMove {
  /** What `migrate.yml` calls its forms. */
  readonly form: 'gated' | 'swift';
  /** Words of a log line at which the runner dies, once; a second dispatch goes on from `from`. */
  readonly death?: { readonly at: string; readonly from: string };
  /** The user's own workflow, to call migrate.yml from, for the dry run. */
  readonly caller?: string;
}

/** Each dispatch with its inputs, as a test wants to look at them. */
export interface DispatchRecord extends Dispatched {
  readonly inputs: Readonly<Record<string, string>>;
  readonly artifacts: readonly string[];
}

/** Moves by dispatching migrate.yml under act, as a person would: until the live pass, then the rest. */
export function byWorkflow(way: WorkflowMove, told: (record: DispatchRecord) => void): Mover {
  return async (lab, options, traffic, say) => {
    const changes = { freeze: { mode: options.freeze, 'max-minutes': 10 } };
    const callers = way.caller === undefined ? {} : { 'caller.yml': way.caller };
    const user = await ActRepository.create(lab, changes, callers);
    const stages: StageFigures[] = [];
    const dispatch = async (inputs: Record<string, string>, more = {}) => {
      const words = Object.values(inputs).join(' ');
      const at = (Date.now() - traffic.startedAt) / 1000;
      const began = performance.now();
      say(`dispatch: ${words}`);
      const result = await user.dispatch({
        inputs: { ...inputs, ...noGates },
        onLine: (line) => say(`    ${line}`),
        ...more,
      });
      told({ ...result, inputs, artifacts: await user.kept() });
      const seconds = (performance.now() - began) / 1000;
      stages.push({ stage: words, at, seconds, outputs: {} });
      return result;
    };
    const must = async (inputs: Record<string, string>, more = {}) => {
      const result = await dispatch(inputs, more);
      if (result.code !== 0) throw new Error(`${JSON.stringify(inputs)}:\n${result.log}`);
      return result;
    };
    const { form } = way;
    try {
      await must({ 'dry-run': 'true' }, way.caller ? { workflow: 'caller.yml' } : {});
      await must({ form, until: 'transfer-live' });
      const asked = await dispatch({ 'dry-run': 'true' });
      const time = notBefore(asked.log);
      if (time) await sleep(Math.max(0, time.getTime() - Date.now()) + 100);
      const queue = watchQueue(lab);
      const rest = { form, until: 'drain' };
      if (way.death === undefined) await must({ ...rest, from: 'freeze' });
      else {
        const { at, from } = way.death;
        const killed = await dispatch({ ...rest, from: 'freeze' }, { killAt: at });
        if (killed.code !== 137) throw new Error(`not killed at "${at}":\n${killed.log}`);
        await must({ ...rest, from, 'force-unlock': 'true' });
      }
      const held = await queue.most();
      // OLD's mailboxes do not change any more once they are frozen: it is not too late to look.
      const frozen = await inventory(labPlaces(lab.host('old').root, options.mailboxes));
      await dispatch({ form });
      return { stages, frozen, held, downtimeSeconds: await downtimeOf(lab) };
    } finally {
      await user.remove();
    }
  };
}

async function downtimeOf(lab: Lab): Promise<number> {
  const { stdout } = await lab.host('old').sh('cat /var/lib/mail-cutover/orchard/journal.jsonl');
  const entries = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Entry);
  return downtimeSeconds(entries) ?? 0;
}
