import type { Step } from '../../engine/step.ts';
import { askedOnce } from '../../hosts/asked-once.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { stopAsking, takeBackLate } from './asking.ts';
import { type Dovecot, noProtocols, readDovecot, sessionProcesses } from './dovecot.ts';
import { fence, fenced, greet, runningUnits, stopUnits } from './fence.ts';
import { dovecotUnits, names, postfixUnits } from './names.ts';
import { demandPostfix, localDomains, submissionServices, words } from './postfix.ts';
import { load, loaded, redirected, route, routesTable, routesTo } from './routes.ts';
import {
  deliveryAgents,
  dovecotProcesses,
  running,
  untilPostfixIsDown,
  waitUntilNothing,
} from './waiting.ts';

/**
 * error(8) under the name `retry`, which defers whatever it is handed. Not the stock service of that
 * name: smtpd(8) answers 450 for a recipient whose transport is called `retry`, and mail would wait
 * at its senders.
 */
const holdEntry = (name: string) => `${name} unix - - y - - error -n retry`;
const nowhere = (name: string) => `${name}:4.3.2 mailbox is being moved`;

const deliverySeconds = 120;
const sessionSeconds = 60;

/**
 * `hold`: OLD goes on accepting on port 25 and keeps everything in its queue. `defer_transports`
 * would not do: `postqueue -f` by any local user gets round it. A route to a transport that can't
 * deliver survives flush, ETRN, reload and restart.
 */
export function holdSteps(
  context: MailContext,
  /** Shell text that prints the delivery agents that may still write into mailboxes. */
  agents: string = deliveryAgents,
): readonly Step[] {
  const { source } = context;
  // While the host still delivers: what comes after that is downtime.
  const dovecot = askedOnce(() => readDovecot(source));
  return [
    {
      id: 'hold-deliveries',
      title: `Hold all local mail in the queue of ${called(source)}, close submission`,
      done: async () =>
        routesTo(await demandPostfix(source), context, `${names(context.migration).hold}:`) &&
        (await loaded(source, context)),
      async do() {
        await dovecot();
        return hold(context);
      },
      undo: async () => {
        await source.edit('undo', [group]);
      },
    },
    finishDeliveries(source, agents),
    {
      id: 'close-sessions',
      title: `Close IMAP, POP3, ManageSieve and LMTP on ${called(source)}`,
      done: async () => {
        const [sessions, isClosed, listeners] = await Promise.all([
          openSessions(source),
          protocolsClosed(source),
          running(source, servicesYet, sessionProcesses),
        ]);
        return sessions === '' && isClosed && listeners === '';
      },
      do: async () => closeSessions(source, await dovecot()),
    },
  ];
}

/**
 * `hold`, on a host that has forwarded: what comes waits in its queue again. Before a host may take
 * service, so that two opposite forwards never meet.
 */
export function endForwardSteps(context: MailContext): readonly Step[] {
  const { target, migration } = context;
  if (migration.freeze.mode === 'stop') return [];
  const { hold: transport, late, routes: file } = names(migration);
  const ofTarget: MailContext = { ...context, source: target };
  return [
    {
      id: 'end-forward',
      title: `Let mail wait on ${called(target)} instead of sending it on`,
      done: async () => !(await has(target, 'forwarding')),
      do: async () => {
        const table = await target.read(
          command(['cat', '--', file], { purpose: 'read the routes' }),
        );
        const destination = nowhere(transport);
        await stopAsking(target);
        const routes = route(
          ofTarget,
          await demandPostfix(target),
          redirected(table.stdout.toString('utf8'), destination),
          destination,
        );
        await target.edits(
          [{ words: ['master', group, late, `${late}/unix`, holdEntry(late)] }, ...routes],
          { purpose: 'send nothing on' },
        );
        await load(ofTarget);
        const taken = await takeBackLate(target, context);
        await target.edit('remove', ['forwarding'], { purpose: 'note the end of the forward' });
        return taken;
      },
    },
  ];
}

function finishDeliveries(source: MailHost, agents = deliveryAgents): Step {
  return {
    id: 'finish-deliveries',
    title: `Wait until no delivery agent on ${called(source)} holds a message`,
    done: async () => (await running(source, agents, [])) === '',
    do: async () => {
      await waitUntilNothing(source, agents, {
        seconds: deliverySeconds,
        what: 'no delivery agent holds a message',
        cure: 'A pipe or filter hangs: look at it, then run freeze again',
      });
      return undefined;
    },
  };
}

/**
 * `stop`: the mail services are down; other servers keep the mail and try again. Deliveries are held
 * and waited for first: one that was cut off between the mailbox and its reply would be made again.
 */
export function stopSteps(context: MailContext): readonly Step[] {
  const { source } = context;
  const units = [...postfixUnits, ...dovecotUnits];
  return [
    {
      // While they run: it says only what may start, and systemd takes its time to read it.
      id: 'bar-services',
      title: `Keep Postfix and Dovecot on ${called(source)} from starting once they are stopped`,
      done: () => fenced(source, 'frozen', context, units),
      do: async () => {
        await fence(source, group, 'frozen', context, units);
        return undefined;
      },
      undo: async () => {
        await source.edit('undo', [group]);
      },
    },
    {
      id: 'hold-deliveries',
      title: `Hold all local mail in the queue of ${called(source)} until it is stopped`,
      done: async () => (await runningUnits(source, postfixUnits)) === '',
      do: () => hold(context),
    },
    finishDeliveries(source),
    {
      id: 'stop-services',
      title: `Stop Postfix and Dovecot on ${called(source)}`,
      done: async () => (await runningUnits(source, units)) === '',
      do: async () => {
        await stopUnits(source, group, units);
        await untilPostfixIsDown(source);
        return undefined;
      },
      undo: async () => {
        await source.edit('undo', [group]);
      },
    },
  ];
}

async function hold(context: MailContext): Promise<string> {
  const { source } = context;
  const postfix = await demandPostfix(source);
  const domains = await localDomains(source, postfix);
  const closed = submissionServices(postfix).map((service) => `${service}.inet`);
  const before = words(postfix.parameters.get('master_service_disable'));
  const { hold: transport } = names(context.migration);
  await greet(source, group, context);
  const destination = nowhere(transport);
  const routes = route(context, postfix, routesTable(domains, destination), destination, {
    master_service_disable: [...new Set([...before, ...closed])].join(' '),
  });
  await source.edits(
    [{ words: ['master', group, 'hold', `${transport}/unix`, holdEntry(transport)] }, ...routes],
    { purpose: 'set the routes to where nothing is delivered' },
  );
  await load(context);
  return `held: ${domains.length} domains; closed: ${closed.join(', ') || 'no submission service'}`;
}

async function closeSessions(source: MailHost, dovecot: Dovecot | undefined): Promise<string> {
  if (!dovecot) return 'no Dovecot';
  // Not stopped: smtpd on port 25 dies without the auth and policy sockets that Dovecot serves.
  await source.edit('block', [group, 'protocols', dovecot.configFile], {
    stdin: noProtocols(dovecot),
    purpose: 'close the protocols',
  });
  // The reload is only asked for; sessions ended before it has happened would be opened again.
  await waitUntilNothing(source, servicesStill, {
    after: 'doveadm reload',
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'Dovecot has closed its listeners',
    cure: `Look at the Dovecot log on ${called(source)}, then run this stage again`,
  });
  await waitUntilNothing(source, dovecotProcesses, {
    after: endSessions,
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'all sessions are closed',
    cure: `Look at these processes on ${called(source)}, then run this stage again`,
  });
  return 'IMAP, POP3, ManageSieve and LMTP closed';
}

/** Asks those whose program is among the arguments to end. */
const endSessions = `list() { ${dovecotProcesses}
}
list "$@" > /run/mail-cutover.sessions
while read -r process program; do kill -TERM "\${process#/proc/}" 2>/dev/null || :; done < /run/mail-cutover.sessions
rm -f /run/mail-cutover.sessions`;

/** Prints those of the arguments that Dovecot's master still has as a service (doveadm-service(1)). */
const servicesStill = `services=$(doveadm service status)
for wanted; do
  if printf '%s\\n' "$services" | grep -qx "name: $wanted"; then printf '%s\\n' "$wanted"; fi
done`;

/** The same of a Dovecot that may be down. A reload that was never asked for leaves listeners open. */
const servicesYet = `doveadm service status > /dev/null 2>&1 || exit 0
${servicesStill}`;

function openSessions(host: MailHost): Promise<string> {
  return running(host, dovecotProcesses, sessionProcesses);
}

async function protocolsClosed(host: MailHost): Promise<boolean> {
  const result = await host.read(
    // Without -h, which 2.4 refuses for a name that some protocol has too.
    script('doveconf protocols', [], { purpose: 'look at the protocols' }),
  );
  return /^protocols =\s*(?:none)?\s*$/.test(result.stdout.toString('utf8'));
}
