import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has, mark, unmark } from '../../hosts/marks.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { pathOf, readControl, remainingLocals, routesTo, writeControl } from './control.ts';
import { databaseStep } from './database-steps.ts';
import { readHomes } from './homes.ts';
import { namesOf, noteNames } from './names.ts';
import { ask, tell } from './program.ts';
import { until } from './until.ts';

/** Ports by which users reach their mailboxes. */
export const mailboxPorts = [110, 143, 993, 995] as const;

const agentSeconds = 300;
const localSeconds = 120;
const sessionSeconds = 60;

/**
 * snapshot, the article's way: the sticky bit on every home, so that mail waits in the local queue.
 * redirect, Brian Glenn's: nothing is local any more and the remote queue stands still. The way back
 * is always by redirect, so that nothing is trapped on NEW.
 */
export function freezeSteps(context: MailContext): readonly Step[] {
  const isBack = context.source.role === 'new';
  return isBack || context.migration.qmail?.strategy === 'redirect'
    ? redirect(context, isBack)
    : snapshot(context);
}

function snapshot(context: MailContext): readonly Step[] {
  return [sticky(context), agents(context), closeMailboxes(context)];
}

function redirect(context: MailContext, isBack: boolean): readonly Step[] {
  return [
    redirectStep(context),
    ...databaseStep(context),
    finishLocal(context, isBack),
    ...(isBack ? [holdLocal(context.source)] : [sticky(context)]),
    agents(context),
    closeMailboxes(context),
  ];
}

/** dot-qmail(5): mail for a home with the sticky bit waits, 4.2.1, and bounces only after `queuelifetime`. */
export function sticky(context: MailContext): Step {
  const { source } = context;
  return {
    id: 'sticky',
    title: `Set the sticky bit on every home on ${called(source)}, so that its mail waits in the queue`,
    done: async () => (await bare(source, await homePaths(context))) === 0,
    do: async () => {
      const homes = await homePaths(context);
      await tell(source, ['sticky', group, 'sticky'], homes.map((home) => `${home}\0`).join(''));
      return `${homes.length} homes`;
    },
  };
}

async function homePaths({ source, migration }: MailContext): Promise<readonly string[]> {
  return (await readHomes(source, migration)).homes.map(({ path }) => path);
}

/** How many of the folders lack the sticky bit. */
async function bare(host: MailHost, homes: readonly string[]): Promise<number> {
  const result = await host.read(
    script(
      'while IFS= read -r home; do if [ -d "$home" ] && [ ! -k "$home" ]; then printf x; fi; done',
      [],
      { stdin: homes.map((home) => `${home}\n`).join(''), purpose: 'look at the sticky bits' },
    ),
  );
  return result.stdout.length;
}

function agents({ source }: MailContext): Step {
  return {
    id: 'finish-deliveries',
    title: `Wait until no delivery is under way on ${called(source)}`,
    done: async () => (await ask(source, 'agents')) === '',
    do: async () => {
      await until(source, () => ask(source, 'agents'), {
        seconds: agentSeconds,
        what: 'no delivery is under way',
        cure: 'A program in a .qmail file hangs: look at it, then run freeze again',
      });
      return undefined;
    },
  };
}

/**
 * The order makes each moment safe, also if qmail-send(8) starts again by itself: the route first,
 * since without it a name that has left `locals` bounces with 5.4.6; then the remote queue stands;
 * then the names go. `locals` and `virtualdomains` are never missing or half written.
 */
function redirectStep(context: MailContext): Step {
  const { source, target, migration } = context;
  return {
    id: 'redirect',
    title: `Keep all mail for the moved names in the remote queue of ${called(source)}, routed to ${called(target)}`,
    done: () => has(source, 'redirected'),
    do: async () => {
      const names = await redirectControl(context);
      await writeControl(source, group, 'concurrencyremote', '0\n');
      await withoutNames(context);
      await tell(source, ['restart', 'send']);
      await mark(source, 'redirected');
      return `${names.length} names, routed to ${relay(context)}${migration.qmail?.variant === 'mysql' ? '; tables follow' : ''}`;
    },
  };
}

/** Routes for every name that moves; noted on the host, for a thaw without a runner. */
export async function redirectControl(context: MailContext): Promise<readonly string[]> {
  const { source, migration } = context;
  const control = await readControl(source, migration);
  // Those of both hosts: whoever serves takes mail for either (stage zero of the article).
  const names = await namesOf(source, migration);
  await noteNames(source, migration, names);
  await writeControl(source, group, 'smtproutes', routesTo(control, names, relay(context)));
  return names;
}

/** Nothing is local on the source any more, so that its mail goes by the routes. */
export async function withoutNames({ source, migration }: MailContext): Promise<void> {
  const control = await readControl(source, migration);
  await writeControl(source, group, 'virtualdomains', '');
  await writeControl(source, group, 'locals', remainingLocals(control));
}

/** qmail-remote(8) takes an address as it is, or asks for a name's. */
export function relay({ target, migration }: MailContext): string {
  return migration[target.role]['public-addresses']?.[0] ?? target.address;
}

/** What was found to be local before stays so: it is delivered now, as long as OLD's stores may change. */
function finishLocal(context: MailContext, isBack: boolean): Step {
  const { source, migration, log } = context;
  const left = () => waitingLocally(source, pathOf(migration));
  return {
    id: 'finish-local',
    title: `Deliver what waits in the local queue of ${called(source)}`,
    done: async () => (await left()) === 0,
    do: async () => {
      await tell(source, ['alrm']);
      const end = performance.now() + localSeconds * 1000;
      let count = await left();
      let still = 0;
      // What is deferred again and again waits for its user, not for us.
      while (count > 0 && still < 10 && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        const now = await left();
        still = now === count && (await ask(source, 'agents')) === '' ? still + 1 : 0;
        count = now;
      }
      if (count === 0) return 'the local queue is empty';
      if (isBack)
        throw new UserError(
          `${source.label}: ${count} messages in its local queue can't be delivered now, and would stay behind. Look at qmail-qread there (a full disk, a .qmail file?), then run rollback again`,
        );
      log.warning(
        `${source.label}: ${count} messages in its local queue can't be delivered now; late passes bring them`,
      );
      return `${count} messages wait for a late pass`;
    },
  };
}

/** Messages that are local already, or not looked at yet. */
export async function waitingLocally(host: MailHost, path: string): Promise<number> {
  const result = await host.read(
    script('find "$1/queue/local" "$1/queue/todo" -type f -printf x 2>/dev/null || :', [path], {
      purpose: 'look at the local queue',
    }),
  );
  return result.stdout.length;
}

/** qmail-send(8), concurrencylocal 0: local deliveries are put on hold, whatever becomes of the homes. */
export function holdLocal(host: MailHost): Step {
  return {
    id: 'hold-local',
    title: `Put local deliveries on ${called(host)} on hold`,
    done: () => has(host, 'held-local'),
    do: async () => {
      await writeControl(host, group, 'concurrencylocal', '0\n');
      await tell(host, ['restart', 'send']);
      await mark(host, 'held-local');
      return undefined;
    },
  };
}

/** The sticky bit stops deliveries only: POP3, IMAP and webmail still move and delete (dot-qmail(5)). */
function closeMailboxes({ source }: MailContext): Step {
  return {
    id: 'close-sessions',
    title: `Close POP3 and IMAP on ${called(source)}`,
    done: async () => (await openMailboxes(source)) === '',
    do: async () => {
      await tell(source, ['close', group, 'pop']);
      await tell(source, ['end-sessions']);
      await until(source, () => openMailboxes(source), {
        seconds: sessionSeconds,
        what: 'POP3 and IMAP are closed',
        cure: 'A server for mailboxes that is not supervised by daemontools, runit or systemd? Stop it, then run freeze again',
      });
      return 'closed, and nobody is logged in';
    },
  };
}

async function openMailboxes(host: MailHost): Promise<string> {
  const [services, ports, sessions] = await Promise.all([
    ask(host, 'running', 'pop'),
    ask(host, 'listening', ...mailboxPorts.map(String)),
    ask(host, 'sessions'),
  ]);
  return [
    services,
    ports.replace(/^/gm, ports === '' ? '' : 'port '),
    sessions.replace(/^/gm, sessions === '' ? '' : 'process '),
  ]
    .filter((text) => text !== '')
    .join('\n');
}

/** Before a host may take service: it forwards no more, so that two opposite forwards never meet. */
export function endForwardSteps({ target }: MailContext): readonly Step[] {
  return [
    {
      id: 'end-forward',
      title: `Let mail wait on ${called(target)} instead of sending it on`,
      done: async () => !(await has(target, 'forwarding')),
      do: async () => {
        await writeControl(target, group, 'concurrencyremote', '0\n');
        await tell(target, ['restart', 'send']);
        await mark(target, 'held-remote');
        await unmark(target, 'forward-ready');
        await unmark(target, 'forwarding');
        return undefined;
      },
    },
  ];
}
