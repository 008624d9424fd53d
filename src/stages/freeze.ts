import type { Step } from '../engine/step.ts';
import { askedOnce } from '../hosts/asked-once.ts';
import { command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { printable } from '../hosts/printable.ts';
import { called, freezeGroup } from '../mail-systems/mail-system.ts';
import { proveStill } from '../mail-systems/stillness.ts';
import { endPasses } from '../transfer/ending.ts';
import { classify } from '../transfer/rsync-pass.ts';
import { demandLowTtl } from './addresses.ts';
import { contents, copyAndHold } from './copying.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** `freeze`: a last live pass, then no mailbox on OLD changes any more. A failure thaws. */
export async function freeze(context: StageContext): Promise<Stage> {
  if (context.migration.cutover === 'dns') demandLowTtl(context);
  return {
    action: 'freeze',
    steps: [
      always('hold-open', 'Copy once more, and hold the connection open for the final pass', () =>
        copyAndHold(context),
      ),
      ...(await freezeSteps(context)),
    ],
    onFailure: async () => {
      await thaw(context, context.source);
      await endPasses(context.old, context.new, context.migration.name);
    },
  };
}

/** Freezes the source: OLD in `freeze`, NEW in `rollback`. */
export async function freezeSteps(context: StageContext): Promise<readonly Step[]> {
  const { source } = context;
  const { stores, bookkeeping } = await contents(context);
  return [
    limit(context),
    ...(await context.system.steps('freeze', context)),
    ...(mayBeSealed(context, bookkeeping) ? [seal(context, stores)] : []),
    always('prove-still', `Prove that the mailboxes on ${called(source)} stand still`, async () =>
      proveStill(source, stores, bookkeeping),
    ),
  ];
}

/** The limit comes first: from here on the host thaws by itself, whatever happens to the runner. */
function limit(context: StageContext): Step {
  const { source, migration } = context;
  const minutes = migration.freeze['max-minutes'];
  return {
    id: 'limit',
    title: `Let ${called(source)} thaw by itself after ${minutes} minutes`,
    done: async () => false,
    do: async () =>
      `until ${await source.edit('begin-freeze', [String(minutes)], { purpose: 'set the limit of the freeze' })}`,
  };
}

/** More trees than this are not worth two mounts each; the proof of stillness stands without. */
const mostSeals = 100;

/** A service that port 25 needs would fail on a read-only store, and mail would wait at its senders. */
function mayBeSealed(context: StageContext, bookkeeping: readonly string[]): boolean {
  return context.migration.freeze.mode === 'stop' || bookkeeping.length === 0;
}

/** The kernel keeps what was closed from changing: not every writer can be known. */
function seal({ source }: StageContext, stores: readonly string[]): Step {
  const trees = askedOnce(async () => {
    const items = await classify(source, stores);
    // Sorted: a tree before one that lies in it, whose seal it would cover.
    return items.flatMap(({ kind, path }) => (kind === 'directory' ? [path] : [])).sort();
  });
  return {
    id: 'seal',
    title: `Make the mailboxes on ${called(source)} read-only`,
    async done() {
      const look = await source.read(
        command([source.hostctl, 'sealed', ...(await trees())], { allow: [0, 1] }),
      );
      return look.code === 0;
    },
    async do() {
      const all = await trees();
      if (all.length > mostSeals) return `not done: ${all.length} trees are more than ${mostSeals}`;
      const words = all.flatMap((tree, index) => [`seal-${index}`, tree]);
      const left = await source.edit('seal', [freezeGroup, ...words], {
        purpose: 'seal the mailboxes',
      });
      return sealEvidence(all.length, left.split('\0').slice(0, -1));
    },
  };
}

/** A tree in which other file systems are mounted is not sealed: its seal would hide them (hostctl/seal.ts). */
function sealEvidence(count: number, left: readonly string[]): string {
  const trees = `${count - left.length} trees`;
  if (left.length === 0) return trees;
  return `${trees}; as they were, because other file systems are mounted in them: ${left.map(printable).join(', ')}`;
}

/** Takes service on a host up again. */
export async function thaw(context: StageContext, host: MailHost): Promise<void> {
  await host.change(command([host.hostctl, 'thaw-locked'], { purpose: 'thaw' }));
  context.log.info(`${host.label} serves again`);
}
