import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import { CommandFailed } from '../hosts/mail-host.ts';
import { has } from '../hosts/marks.ts';
import { finishedGroup, turned } from '../mail-systems/mail-system.ts';
import { endPasses } from '../transfer/ending.ts';
import { fenceSteps, restoreSteps } from './addresses.ts';
import { declareDead, takeAlone } from './dead.ts';
import { moveAddress } from './dns-cutover.ts';
import { thaw } from './freeze.ts';
import { handOver } from './ownership.ts';
import { demandRoom, forgetQueue, returnSteps } from './returning.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

/** From any state back to "OLD serves, nothing lost". */
export async function rollback(context: StageContext): Promise<Stage> {
  const { declareDead: dead } = context.inputs;
  if (dead === 'old')
    throw new UserError(
      'rollback goes back to OLD, which can not be dead. Make NEW work: run activate',
    );
  if (dead === 'new') return goBackAlone(context);
  return (await has(context.new, 'opened')) ? bringBack(context) : takeBack(context);
}

/** NEW is dead: OLD serves with what it has. */
async function goBackAlone(context: StageContext): Promise<Stage> {
  const { old, new: dead, system } = context;
  const handedOver = await has(old, 'released');
  const queue =
    context.migration.freeze.mode === 'stop'
      ? '. What had waited in its queue is sent again, since nobody can say what NEW has sent of it'
      : '';
  const loss = handedOver
    ? `OLD takes service back without NEW: what came to NEW since it was activated, and was changed there, is lost${queue}`
    : 'OLD had not given service away: nothing is lost';
  return {
    action: 'rollback',
    steps: [
      declareDead(context, dead, loss),
      ...(handedOver
        ? [...(await system.steps('end-forward', turned(context))), takeAlone(old)]
        : []),
      oldServes(context),
      ...addressBack(context),
      ...(handedOver ? await system.steps('take-back-late', context) : []),
    ],
  };
}

/** NEW has served: everything that it got comes back first. */
async function bringBack(context: StageContext): Promise<Stage> {
  const { new: target, migration } = context;
  const back = turned(context);
  await demandRoom(back);
  return {
    action: 'rollback',
    steps: [
      ...(await returnSteps(back)),
      oldServes(context),
      ...addressBack(context),
      ...(await context.system.steps('forward', back)),
      ...(context.system.carry?.(back) ?? []),
      forgetQueue(context, target, 'drop-new-queue'),
      always('close-door', 'Take down what NEW had for the mail of OLD', async () => {
        await target.edit('undo', ['door'], { purpose: 'take the door down' });
        await target.edit('remove', ['passwords'], { purpose: 'forget the passwords noted' });
        await target.edit('remove', ['opened'], { purpose: 'note that NEW has given all back' });
        return migration.freeze.mode === 'hold'
          ? 'NEW sends what still comes to it on to OLD'
          : 'NEW is down; other servers try again and find OLD';
      }),
      ...(await context.system.steps('take-back-late', context)),
      ...(await context.system.steps('after-rollback', context)),
    ],
    onFailure: () => serveOn(back),
  };
}

/** Cut off before the point of return: NEW is the owner still, and goes on serving. */
async function serveOn(back: StageContext): Promise<void> {
  const { source, target, migration } = back;
  await endPasses(source, target, migration.name);
  if (await has(source, 'released')) return;
  if (!(await has(source, 'frozen'))) return;
  await thaw(back, source);
  // OLD sends late mail on again, if it had been told to wait.
  for (const step of await back.system.steps('forward', turned(back))) {
    if (!(await step.done())) await step.do();
  }
}

/** NEW has served nobody: nothing is there to be brought back. */
async function takeBack(context: StageContext): Promise<Stage> {
  const { old, new: target } = context;
  const [handedOver, taken, returned, fenced] = await Promise.all([
    has(old, 'released'),
    has(target, 'owner'),
    has(target, 'released'),
    has(target, 'fenced'),
  ]);
  // Of an earlier attempt too: those copies lie on NEW still, and a server of them would be a second one.
  const holdsCopies = context.history().some((entry) => entry.stage === 'transfer live');
  const mustFence = handedOver || taken || returned || holdsCopies;
  return {
    action: 'rollback',
    steps: [
      always('end-passes', 'End what passes have left on both hosts', async () => {
        await endPasses(old, target, context.migration.name);
        return undefined;
      }),
      // After a rollback that brought mail back NEW sends on what comes: it stays as it is.
      ...(mustFence && (fenced || taken || !returned)
        ? await context.system.steps('fence', context)
        : []),
      ...(handedOver || taken ? handOver(turned(context)) : []),
      oldServes(context),
      ...addressBack(context),
      ...(returned && !fenced && !taken ? [] : [undoNew(context, mustFence)]),
      ...(handedOver || taken ? await context.system.steps('take-back-late', context) : []),
      ...(await context.system.steps('after-rollback', context)),
    ],
  };
}

function undoNew(context: StageContext, keepFence: boolean): Step {
  const { new: target } = context;
  const groups = ['probe', 'door', 'configuration', 'accounts', ...(keepFence ? [] : ['fence'])];
  return always('undo-new', 'Take back what was changed on NEW', async () => {
    await target.edit('queue-drop', [], { purpose: 'forget the copied queue' });
    for (const group of groups) await target.edit('undo', [group], { purpose: `undo ${group}` });
    await target.edit('remove', ['passwords'], { purpose: 'forget the passwords noted' });
    if (!keepFence) await target.edit('remove', ['fenced']);
    return keepFence ? 'NEW stays fenced: it holds copies of the mailboxes' : undefined;
  });
}

function oldServes(context: StageContext): Step {
  return always('thaw', 'OLD serves again', async () => {
    await thaw(context, context.old);
    await liftFence(context);
    // NEW may stand in a cache of the mail system's as a host that does not answer. OLD serves by now,
    // and tries again by itself too: no reason to fail.
    await context.system.flush(context.old).catch((error: unknown) => {
      if (!(error instanceof CommandFailed)) throw error;
      context.log.warning(error.message);
    });
    return undefined;
  });
}

/** `finish` was cut off: it had closed OLD for good, and that is not so any more. */
async function liftFence({ old, system }: StageContext): Promise<void> {
  if (!(await has(old, 'fenced')) && !(await has(old, `undo/${finishedGroup}`))) return;
  const { units } = await system.writers(old);
  await old.edit('remove', ['fenced'], { purpose: 'lift the fence of OLD' });
  // Those that the freeze had stopped, too: they could not start behind the fence.
  await old.change(
    script(
      'for unit; do if systemctl is-enabled --quiet "$unit"; then systemctl start "$unit"; fi; done',
      units,
      { purpose: 'start the mail services' },
    ),
  );
  // Last: as long as it is there, a rollback that was cut off here begins here again.
  await old.edit('undo', [finishedGroup], { purpose: 'take the fence of OLD down' });
}

function addressBack(context: StageContext): readonly Step[] {
  const { migration } = context;
  const undo = migration['address-undo-command'];
  if (migration.cutover === 'dns') return [...fenceSteps(context), ...restoreSteps(context, 'all')];
  return context.state.cut && undo
    ? [
        always('move-address-back', 'Move the address back to OLD', () =>
          moveAddress(context, undo),
        ),
      ]
    : [];
}
