import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.ts';
import { script } from '../hosts/command.ts';
import { printable } from '../hosts/printable.ts';
import { cachesForget } from './addresses.ts';
import { withoutOld } from './dead.ts';
import type { Stage, StageContext } from './stage.ts';
import { always } from './steps.ts';

const pollSeconds = 1;
/** A message that NEW refuses stays on OLD: after this long a person has to look. */
const stuckSeconds = 900;

/** Until nothing has come to OLD, and nothing has waited there, for a while. */
export async function drain(context: StageContext): Promise<Stage> {
  const dead = withoutOld(context, 'drain');
  if (dead.length > 0) return { action: 'drain', steps: dead };
  return {
    action: 'drain',
    steps: [
      ...(context.system.carry?.(context) ?? []),
      ...(await context.system.steps('drain', context)),
      ...(context.migration.cutover === 'dns'
        ? [
            always('caches', 'Look for how long caches may know the old address', () =>
              caches(context),
            ),
          ]
        : []),
      always('drain-queue', 'Send late mail on until OLD is quiet', () => untilQuiet(context)),
    ],
  };
}

async function untilQuiet(context: StageContext): Promise<string> {
  const { old, migration, system, log } = context;
  if (migration.freeze.mode === 'stop') return leftOver(context);
  const quiet = migration.options['drain-quiet-seconds'];
  let quietSince = performance.now();
  let most = 0;
  const began = performance.now();
  for (;;) {
    const status = await system.queue(old, context);
    if (status.messages > 0) {
      most = Math.max(most, status.messages);
      quietSince = performance.now();
      log.info(`${status.messages} messages wait on OLD, the oldest for ${status.oldestSeconds} s`);
      await system.flush(old);
      if (performance.now() - began > stuckSeconds * 1000 && status.oldestSeconds > stuckSeconds)
        throw new UserError(
          `${old.label}: ${status.messages} messages still wait there${await reason(context)}. Look at postqueue -p on OLD and the mail log on NEW, then run drain again`,
        );
    }
    if (performance.now() - quietSince >= quiet * 1000) break;
    await sleep(pollSeconds * 1000);
  }
  return `OLD's queue was empty for ${quiet} s${most > 0 ? `; up to ${most} messages had waited` : ''}`;
}

/**
 * `stop`: OLD's queue was copied, but programs on OLD may go on handing mail in. No failure: another drain would
 * find the same, NEW serves, and `finish` refuses as long as any lies there.
 */
async function leftOver(context: StageContext): Promise<string> {
  const { old, system, log } = context;
  const { messages } = await system.queue(old, context);
  if (messages === 0)
    return 'OLD is down, and nothing has come into its queue since that was copied';
  const text = `mail came into the queue of OLD after it was copied (messages: ${messages}), and nothing sends it on: hand it in on NEW yourself (\`postqueue -p\` on OLD lists them, \`postcat -q ID\` shows one) and delete them on OLD, or finish will refuse`;
  log.warning(`${old.label}: ${text}`);
  return text;
}

async function caches(context: StageContext): Promise<string> {
  const now = Date.now();
  const lines = cachesForget(context, context.entries()).map(({ zone, at }) => {
    const left = Math.ceil((at.getTime() - now) / 1000);
    return left > 0
      ? `${zone}: caches may know the old address for ${left} s more, until ${at.toISOString()}`
      : `${zone}: caches have forgotten the old address since ${at.toISOString()}`;
  });
  for (const line of lines) context.log.info(line);
  return lines.join('; ') || 'nothing was cut over';
}

/** Why the first message waits, as Postfix says it. */
async function reason({ old }: StageContext): Promise<string> {
  const result = await old.read(
    script(`postqueue -j | sed -n 's/.*"delay_reason": "\\([^"]*\\)".*/\\1/p' | sed -n 1p`, [], {
      purpose: 'read why mail waits',
    }),
  );
  const said = result.stdout.toString('utf8').trim();
  return said === '' ? '' : ` (${printable(said)})`;
}
