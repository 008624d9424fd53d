import { setTimeout as sleep } from 'node:timers/promises';
import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import type { MailContext } from '../mail-system.ts';
import { releaseLocal } from './activate.ts';
import { readHomes, storesOf } from './homes.ts';
import { latePass } from './late.ts';
import { ask, tell } from './program.ts';
import { queueStatus } from './queue.ts';

/** What there is on OLD at one time. */
export interface Look {
  /** Milliseconds of a clock that only goes on. */
  readonly at: number;
  /** Messages in its queue that are for the moved names. */
  readonly messages: number;
  readonly oldestSeconds: number;
  /** Messages in its Maildirs that NEW does not have yet. */
  readonly late: number;
  /** Connections to its port 25. */
  readonly connections: number;
}

/** A message that can't leave OLD: after this long a person has to look. */
const stuckSeconds = 900;
/**
 * control/timeoutsmtpd of qmail-smtpd(8): who says nothing for so long is cut off. Where a connection is open at
 * every look for longer, they are others each time, and none of them brings mail.
 */
const silentSeconds = 1200;

/** Judges from looks, one after the other, whether mail has stopped coming to OLD. */
export class Quiet {
  readonly #began: number;
  readonly #milliseconds: number;
  #since: number;

  constructor(seconds: number, began: number) {
    this.#began = began;
    this.#since = began;
    this.#milliseconds = seconds * 1000;
  }

  /**
   * `quiet`: queue and connections have run dry. A connection holds the end up only while it is open:
   * what it brings is a message in the queue then; strangers who try every address would else go on
   * for ever, and so would they if there are always some.
   */
  judge(look: Look): 'quiet' | 'not yet' | 'stuck' {
    if (look.messages > 0 || look.late > 0) this.#since = look.at;
    const isLong = look.at - this.#began > stuckSeconds * 1000;
    if (look.messages > 0 && isLong && look.oldestSeconds > stuckSeconds) return 'stuck';
    const wanted = this.#milliseconds + (look.connections === 0 ? 0 : silentSeconds * 1000);
    return look.at - this.#since >= wanted ? 'quiet' : 'not yet';
  }
}

/** `drain`: late passes until OLD is quiet. */
export function drainSteps(context: MailContext): readonly Step[] {
  return [
    {
      id: 'late-until-quiet',
      title: 'Bring what is still delivered on OLD, pass by pass, until OLD is quiet',
      done: async () => false,
      do: () => untilQuiet(context),
    },
  ];
}

async function untilQuiet(context: MailContext): Promise<string> {
  const { old, migration, log } = context;
  const seconds = migration.options['drain-quiet-seconds'];
  const quiet = new Quiet(seconds, performance.now());
  const say = everySeconds(10, (line) => log.info(line));
  let brought = 0;
  let open = 0;
  await releaseLocal(old);
  for (;;) {
    const look = await lookAt(context);
    const verdict = quiet.judge(look);
    if (verdict === 'stuck')
      throw new UserError(
        `${old.label}: ${look.messages} messages for the moved names still wait there, the oldest for ${Math.round(look.oldestSeconds / 60)} min. Look at qmail-qread on OLD, and at the log of qmail-send there for why, then run drain again`,
      );
    open = look.connections;
    if (verdict === 'quiet') break;
    if (look.messages > 0) {
      say(`${look.messages} messages for the moved names wait on OLD`);
      await tell(old, ['alrm']);
    } else if (look.late > 0 && (await ask(old, 'agents')) === '') {
      const count = await latePass(context);
      log.info(`late pass: ${count} messages`);
      brought += count;
    } else if (look.connections > 0) {
      say(`connections to port 25 of OLD that are open: ${look.connections}`);
    }
    await sleep(1000);
  }
  const still =
    open === 0
      ? 'no connection to its port 25 is open'
      : `connections to its port 25 that are always open (${open} now) bring nothing`;
  return `OLD was quiet for ${seconds} s, and ${still}; ${brought} messages came by late passes`;
}

async function lookAt(context: MailContext): Promise<Look> {
  const { old, migration } = context;
  const { messages, oldestSeconds } = await queueStatus(old, migration);
  return {
    at: performance.now(),
    messages,
    oldestSeconds,
    // A walk over all Maildirs: not while mail is coming.
    late: messages > 0 ? 0 : await lateMessages(context),
    connections: Number(await ask(old, 'connected', '25')),
  };
}

/** How many messages on OLD are late, without holding anything up. */
async function lateMessages({ old, migration }: MailContext): Promise<number> {
  const stores = migration.stores ?? storesOf(await readHomes(old, migration));
  const listed = await ask(old, 'late-list', `${old.folder}/late/seen`, ...stores);
  return listed === '' ? 0 : listed.split('\n').length;
}

/** Says a line only when the last one is so long ago. */
function everySeconds(seconds: number, say: (line: string) => void): (line: string) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (performance.now() - last < seconds * 1000) return;
    last = performance.now();
    say(line);
  };
}
