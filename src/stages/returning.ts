import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { has } from '../hosts/marks.ts';
import { called } from '../mail-systems/mail-system.ts';
import { room, spareForReturn } from '../mail-systems/room.ts';
import { demandEqual, howTimesWereCompared } from '../transfer/manifest.ts';
import { transferPass } from '../transfer/pass.ts';
import { classify } from '../transfer/rsync-pass.ts';
import { contents } from './copying.ts';
import { freezeSteps } from './freeze.ts';
import { handOver } from './ownership.ts';
import type { StageContext } from './stage.ts';
import { always } from './steps.ts';

/**
 * From "NEW serves" to "OLD serves": a migration of its own, with source and target exchanged.
 * `context` is the turned one: its source is NEW, its target OLD.
 */
export async function returnSteps(context: StageContext): Promise<readonly Step[]> {
  const { source, target, migration, system } = context;
  const isHold = migration.freeze.mode === 'hold';
  const isGivenBack = () => has(source, 'released');
  return [
    ...until(isGivenBack, [
      serves(context),
      ...(system.accountsBack?.(context, 'early') ?? []),
      ...(isHold ? await system.steps('door', context) : []),
      unseal(context),
      always('copy-back-live', 'Copy back what changed, while NEW serves', () =>
        copyBack(context, true),
      ),
      ...(await freezeSteps(context)),
      ...(system.accountsBack?.(context, 'frozen') ?? []),
      ...(await system.steps('queue', context)),
      ...(isHold ? [] : [forgetQueue(context, target, 'drop-old-queue')]),
      always('copy-back', 'Copy back what changed since', () => copyBack(context, false)),
      always('compare-back', 'Compare both hosts', () => compareBack(context)),
    ]),
    ...(await system.steps('end-forward', context)),
    ...handOver(context),
    ...(await system.steps('return-queue', context)),
  ];
}

/**
 * Whether what NEW has got since fits on OLD. Asked before anything is touched: a disk that is full half-way
 * leaves NEW serving too, but a way back that was begun.
 */
export async function demandRoom(context: StageContext): Promise<void> {
  const { source, target } = context;
  if (await has(source, 'released')) return;
  const { stores } = await contents(context);
  const [lack] = await room(source, target, stores, spareForReturn);
  if (lack !== undefined)
    throw new UserError(
      `${lack.text}. To go back, ${lack.cure}, then run rollback again. Nothing was changed`,
    );
}

/** Steps that are all behind us once `isPast`, whatever each of them would say. */
function until(isPast: () => Promise<boolean>, steps: readonly Step[]): readonly Step[] {
  return steps.map((step) => ({ ...step, done: async () => (await isPast()) || step.done() }));
}

/** What the source can't give, nobody can bring back. */
function serves(context: StageContext): Step {
  const { source, system, migration } = context;
  return always('can-give', 'Check that NEW can give back what it has', async () => {
    const { units } = await system.writers(source);
    const down = await source.read(
      script(
        // Debian 13 has a template of Postfix that nothing wants: its postfix.service runs by itself.
        `for unit; do
           case $unit in *@*) [ -n "$(systemctl show -p WantedBy --value "$unit")" ] || continue ;; esac
           systemctl is-active --quiet "$unit" || printf '%s ' "$unit"
         done`,
        units,
        {
          purpose: 'look at the services',
        },
      ),
    );
    const stopped = down.stdout.toString('utf8');
    // In `hold` its own Postfix sends its queue back.
    if (migration.freeze.mode === 'hold' && /\bpostfix/.test(stopped))
      throw new UserError(
        `${source.label}: Postfix is down there, so the mail in its queue can't be sent back. Start it (it may need its configuration mended), then run rollback again. Nothing was changed`,
      );
    await system.unreadable?.(context);
    return stopped === '' ? 'all services run' : `down: ${stopped.trim()}`;
  });
}

/** `stop`: what was copied once is the other host's; neither a restart nor an undo may send it again. */
export function forgetQueue(context: StageContext, host: MailHost, id: string): Step {
  return {
    id,
    title: `Forget the queue on ${called(host)} that was copied away`,
    async done() {
      const look = await host.read(
        script('[ -z "$(find "$1/queue" -type f -print -quit 2>/dev/null)" ]', [host.folder], {
          allow: [0, 1],
          purpose: 'look for a copied queue',
        }),
      );
      return look.code === 0 && context.migration.freeze.mode === 'hold';
    },
    do: async () => {
      await host.edit('queue-drop', [], { purpose: 'forget the copied queue' });
      return undefined;
    },
  };
}

/** The target is not served from and may be written to again: the freeze had made it read-only. */
function unseal({ target }: StageContext): Step {
  return always('unseal', `Let the mailboxes on ${called(target)} be written`, async () => {
    await target.edit('undo-kind', ['freeze', 'seal'], { purpose: 'make the stores writable' });
    return undefined;
  });
}

/** Trees on both hosts: a mailbox that only one of them has counts too. */
async function trees(context: StageContext) {
  const forth = { ...context, source: context.target, target: context.source };
  const [here, there, unreadable] = await Promise.all([
    contents(context),
    contents(forth),
    context.system.unreadable?.(context) ?? [],
  ]);
  const wanted = [...new Set([...here.stores, ...there.stores, ...there.carried])];
  const items = await classify(context.source, wanted);
  const missing = items.filter((item) => item.kind === 'missing').map((item) => item.path);
  return {
    items: items.filter((item) => item.kind !== 'missing'),
    missing,
    stores: [...new Set([...here.stores, ...there.stores])],
    bookkeeping: [...new Set([...here.bookkeeping, ...there.bookkeeping, ...unreadable])],
    unreadable,
  };
}

async function copyBack(context: StageContext, live: boolean): Promise<string> {
  const { source, target, migration } = context;
  const { items, missing, stores, unreadable } = await trees(context);
  // What NEW never had, or has no more: OLD keeps it, and whoever reads the record knows.
  for (const path of missing)
    context.log.warning(`${source.label}: ${path} is not there; OLD keeps its own`);
  const queue = live ? [] : await classify(source, [`${source.folder}/queue`]);
  const copied = await transferPass({
    source,
    target,
    migration: migration.name,
    items: [...items, ...queue],
    stores,
    live,
    log: (line) => context.log.info(line),
    exclude: unreadable,
  });
  return `${copied}${leftBehind(context, unreadable)}`;
}

function leftBehind(context: StageContext, unreadable: readonly string[]): string {
  if (unreadable.length === 0) return '';
  const text = `${unreadable.join(', ')} stay on ${called(context.source)}, whose programs are of another version: ${called(context.target)} goes on with its own and makes them anew`;
  context.log.warning(text);
  return `; ${text}`;
}

async function compareBack(context: StageContext): Promise<string> {
  const { source, target, migration } = context;
  const { items, bookkeeping } = await trees(context);
  const manifests = await demandEqual(
    source,
    target,
    items.map((item) => item.path),
    migration.options.verify,
    bookkeeping,
  );
  for (const { path, digest, entries } of manifests) {
    await context.note({ step: 'manifest-back', data: { path, digest, entries } });
  }
  const entries = manifests.reduce((sum, manifest) => sum + manifest.entries, 0);
  return `${entries} entries in ${manifests.length} trees are equal (${migration.options.verify})${howTimesWereCompared(manifests)}`;
}
