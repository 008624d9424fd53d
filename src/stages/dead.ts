import type { Step } from '../engine/step.ts';
import { UserError } from '../errors.ts';
import { command } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { has } from '../hosts/marks.ts';
import { called } from '../mail-systems/mail-system.ts';
import type { StageContext } from './stage.ts';
import { always } from './steps.ts';

/**
 * A host that is off for good, by the word of whoever runs the stage: it can't release what it owns,
 * and nobody can look whether it still serves. The word goes on record.
 */
export function declareDead(context: StageContext, dead: MailHost, loss: string): Step {
  return always(
    'declare-dead',
    `Go on without ${called(dead)}, which was declared dead`,
    async () => {
      await demandSilence(dead);
      context.log.warning(loss);
      await context.note({ step: 'declare-dead', text: loss, data: { host: dead.role } });
      return loss;
    },
  );
}

/**
 * The first steps of a stage after `activate` went on without OLD: none where both hosts live. Throws
 * where NEW is declared dead, because then there is only the way back.
 */
export function withoutOld(context: StageContext, stage: string): readonly Step[] {
  const { dead, old } = context;
  if (dead === 'new')
    throw new UserError(
      `${stage} is about a NEW that serves, and NEW was declared dead. Run rollback`,
    );
  return dead === 'old'
    ? [
        declareDead(
          context,
          old,
          'What OLD still held in its queue is lost; it must never run again',
        ),
      ]
    : [];
}

/** The other host takes service without a release. */
export function takeAlone(host: MailHost): Step {
  return {
    id: 'take',
    title: `${called(host)} takes service`,
    done: async () => (await has(host, 'owner')) && !(await has(host, 'released')),
    do: async () => `taken at ${await host.take()}`,
  };
}

/** One that answers is not dead, and would go on serving. */
async function demandSilence(dead: MailHost): Promise<void> {
  try {
    await dead.read(command(['true'], { purpose: 'look whether it is dead' }));
  } catch {
    return;
  }
  throw new UserError(
    `${dead.label}: it answers, so it is not dead, and might go on serving. Leave declare-dead empty`,
  );
}
