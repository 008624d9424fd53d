import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { askedOnce } from '../../hosts/asked-once.ts';
import { command, quote, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext } from '../mail-system.ts';
import { stopAsking, takeBackLate } from './asking.ts';
import { type Dovecot, noProtocols, readDovecot, sessionProcesses } from './dovecot.ts';
import { dovecotUnits, names, postfixUnits } from './names.ts';
import { localDomains, type Postfix, readPostfix, submissionServices, words } from './postfix.ts';
import { deliveryAgents, dovecotProcesses, waitUntilNothing } from './waiting.ts';

/** Group of undo records on the host that is frozen; hostctl's `thaw` takes it back. */
const group = 'freeze';

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
        const [sessions, isClosed] = await Promise.all([
          openSessions(source),
          protocolsClosed(source),
        ]);
        return sessions === '' && isClosed;
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
  const { hold: transport, late, routes } = names(migration);
  const ofTarget: MailContext = { ...context, source: target };
  return [
    {
      id: 'end-forward',
      title: `Let mail wait on ${called(target)} instead of sending it on`,
      done: async () => !(await has(target, 'forwarding')),
      do: async () => {
        const table = await target.read(
          command(['cat', '--', routes], { purpose: 'read the routes' }),
        );
        const destination = nowhere(transport);
        await stopAsking(target);
        await target.edit('master', [group, late, `${late}/unix`, holdEntry(late)], {
          purpose: 'send nothing on',
        });
        await route(
          ofTarget,
          await demandPostfix(target),
          redirected(table.stdout.toString('utf8'), destination),
          destination,
        );
        await reloadPostfix(target);
        await untilLoaded(ofTarget);
        const taken = await takeBackLate(target, context);
        await target.edit('remove', ['forwarding'], { purpose: 'note the end of the forward' });
        return taken;
      },
    },
  ];
}

/** Whether a mark of ours stands on the host. */
export async function has(host: MailHost, mark: string): Promise<boolean> {
  const result = await host.read(
    script('[ -e "$1" ]', [`${host.folder}/${mark}`], {
      allow: [0, 1],
      purpose: `look for ${mark}`,
    }),
  );
  return result.code === 0;
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
        await waitUntilNothing(source, 'if postfix status 2>/dev/null; then echo postfix; fi', {
          seconds: 60,
          what: 'Postfix is down',
          cure: `Look at \`systemctl status postfix@-\` on ${called(source)}`,
        });
        return undefined;
      },
      undo: async () => {
        await source.edit('undo', [group]);
      },
    },
  ];
}

/**
 * Stops units in one edit, so that each is on record as it was before any of them stopped: Debian's
 * `postfix.service` takes `postfix@-.service` down, and starts well where that one can't.
 */
export async function stopUnits(
  host: MailHost,
  undoGroup: string,
  units: readonly string[],
): Promise<void> {
  await host.edit('stop', [undoGroup, ...units.flatMap((unit) => [`stop-${unit}`, unit])], {
    purpose: 'stop the mail services',
  });
}

/** Units that do not start while `marker` stands in the folder of the migration. */
export async function fence(
  host: MailHost,
  undoGroup: string,
  marker: 'frozen' | 'fenced',
  context: MailContext,
  units: readonly string[],
): Promise<void> {
  const condition = `# ${context.migration.name}: this server is being moved, see \`${host.hostctl} status\`.\n[Unit]\nConditionPathExists=!${host.folder}/${marker}\n`;
  const files = units.flatMap((unit) => [
    `fence-${unit}`,
    names(context.migration).dropIn(unit, marker),
  ]);
  await host.edit('files', [undoGroup, '644', 'root:root', ...files], {
    stdin: condition,
    purpose: 'fence the services',
  });
  await greet(host, undoGroup, context);
  await host.change(command(['systemctl', 'daemon-reload']));
}

/** The line at login. It asks the host itself each time, so that it is never out of date. */
export async function greet(
  host: MailHost,
  undoGroup: string,
  context: MailContext,
): Promise<void> {
  await host.edit(
    'file',
    [undoGroup, 'greeting', names(context.migration).greeting(undoGroup), '644', 'root:root'],
    {
      stdin: `# mail-cutover: says at login why mail stands still here. Only root may look.\nif [ -x ${host.hostctl} ]; then ${host.hostctl} greeting; fi\n`,
      purpose: 'leave a line at login',
    },
  );
}

export async function fenced(
  host: MailHost,
  marker: 'frozen' | 'fenced',
  context: MailContext,
  units: readonly string[],
): Promise<boolean> {
  const files = units.map((unit) => names(context.migration).dropIn(unit, marker));
  const result = await host.read(
    script('for file; do [ -e "$file" ] || exit 1; done', [`${host.folder}/${marker}`, ...files], {
      allow: [0, 1],
      purpose: 'look at the fence',
    }),
  );
  return result.code === 0;
}

export async function runningUnits(host: MailHost, units: readonly string[]): Promise<string> {
  return running(
    host,
    'for unit; do if systemctl is-active --quiet "$unit"; then printf "%s\\n" "$unit"; fi; done',
    units,
  );
}

/** The routes table and the class transports: every local recipient goes to `destination`. */
export async function route(
  context: MailContext,
  postfix: Postfix,
  table: string,
  destination: string,
  others: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { source, migration } = context;
  const file = names(migration).routes;
  await source.edit('file', [group, 'routes', file, '644', 'root:root'], {
    stdin: table,
    purpose: 'write the routes',
  });
  const settings: Readonly<Record<string, string>> = {
    transport_maps: withTable(postfix.parameters.get('transport_maps') ?? '', file),
    local_transport: destination,
    virtual_transport: destination,
    // Nothing bounces for its age while it can't be delivered; taken back with the freeze.
    maximal_queue_lifetime: '100d',
    bounce_queue_lifetime: '100d',
    delay_warning_time: '0h',
    ...others,
  };
  await source.edit('postconf', [group, ...Object.entries(settings).flat()], {
    purpose: 'set the routes',
  });
}

/** regexp_table(5); patterns are matched without regard to case. */
export function routesTable(domains: readonly string[], destination: string): string {
  const lines = domains.map((domain) => {
    const literal = domain.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
    // ".example.org" in transport(5) means every name below example.org.
    return `/@${domain.startsWith('.') ? '.+' : ''}${literal}$/ ${destination}\n`;
  });
  return `# mail-cutover: every address that this host delivered itself.\n${lines.join('')}`;
}

/** The same table with another destination: the addresses are those of the freeze. */
export function redirected(table: string, destination: string): string {
  return table
    .replace(/^\/\^\/ .*\n/m, '')
    .replace(/^(\/\S+\/) .*$/gm, (_, pattern: string) => `${pattern} ${destination}`);
}

/**
 * And everything else goes there too: a host that is to be switched off must not keep a message for
 * days because its destination does not answer.
 */
export function redirectedWhole(table: string, destination: string): string {
  return `${redirected(table, destination)}${rest} ${destination}\n`;
}

const rest = '/^/';

function withTable(transportMaps: string, table: string): string {
  const ours = `regexp:${table}`;
  const others = transportMaps
    .split(/[\s,]+/)
    .filter((map) => map !== '' && map !== ours)
    .join(', ');
  return others === '' ? ours : `${ours}, ${others}`;
}

async function hold(context: MailContext): Promise<string> {
  const { source } = context;
  const postfix = await demandPostfix(source);
  const domains = await localDomains(source, postfix);
  const closed = submissionServices(postfix).map((service) => `${service}.inet`);
  const before = words(postfix.parameters.get('master_service_disable'));
  const { hold: transport } = names(context.migration);
  await greet(source, group, context);
  await source.edit('master', [group, 'hold', `${transport}/unix`, holdEntry(transport)], {
    purpose: 'set up the transport that holds',
  });
  const destination = nowhere(transport);
  await route(context, postfix, routesTable(domains, destination), destination, {
    master_service_disable: [...new Set([...before, ...closed])].join(' '),
  });
  await reloadPostfix(source);
  await untilLoaded(context);
  return `held: ${domains.length} domains; closed: ${closed.join(', ') || 'no submission service'}`;
}

export async function reloadPostfix(host: MailHost): Promise<void> {
  await host.change(command(['postfix', 'reload'], { purpose: 'reload Postfix' }));
}

export function routesTo(postfix: Postfix, context: MailContext, destination: string): boolean {
  const { parameters } = postfix;
  return (
    (parameters.get('transport_maps') ?? '').startsWith(
      `regexp:${names(context.migration).routes}`,
    ) &&
    (parameters.get('virtual_transport') ?? '').startsWith(destination) &&
    (parameters.get('local_transport') ?? '').startsWith(destination)
  );
}

/**
 * Whether the running queue manager is younger than the configuration: it reads that only when it
 * starts, and a reload makes it start again. By the change time: we set the other one back.
 */
export async function loaded(host: MailHost, context: MailContext): Promise<boolean> {
  return (await running(host, notLoaded, [names(context.migration).routes])) === '';
}

/** A reload is only asked for: the old queue manager may go on for a moment. */
export async function untilLoaded(context: MailContext): Promise<void> {
  await waitUntilNothing(context.source, notLoaded, {
    args: [names(context.migration).routes],
    seconds: 30,
    what: 'Postfix has loaded the routes',
    cure: `Look at the mail log on ${called(context.source)}, then run this stage again`,
  });
}

/** Prints a line unless a queue manager runs that is younger than the configuration and `$1`. */
const notLoaded = String.raw`
newest=$(stat -c %.Z /etc/postfix/main.cf /etc/postfix/master.cf "$1" 2>/dev/null | sort -n | tail -n 1)
boot=$(sed -n 's/^btime //p' /proc/stat)
young=
for process in $(find /proc/[0-9]*/exe -maxdepth 0 -lname '*/postfix/sbin/qmgr' -printf '%h\n' 2>/dev/null); do
  if awk -v boot="$boot" -v hz="$(getconf CLK_TCK)" -v newest="$newest" \
    '{ sub(/^.*\) /, ""); exit !(boot + 1 + $20 / hz > newest) }' "$process/stat"; then young=1; else young=; break; fi
done
[ -n "$young" ] || echo 'the old queue manager'`;

async function closeSessions(source: MailHost, dovecot: Dovecot | undefined): Promise<string> {
  if (!dovecot) return 'no Dovecot';
  // Not stopped: smtpd on port 25 dies without the auth and policy sockets that Dovecot serves.
  await source.edit('block', [group, 'protocols', dovecot.configFile], {
    stdin: noProtocols(dovecot),
    purpose: 'close the protocols',
  });
  await source.change(command(['doveadm', 'reload'], { purpose: 'reload Dovecot' }));
  // The reload is only asked for; sessions ended before it has happened would be opened again.
  await waitUntilNothing(source, servicesStill, {
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'Dovecot has closed its listeners',
    cure: `Look at the Dovecot log on ${called(source)}, then run this stage again`,
  });
  await source.change(
    script(
      `set -- ${sessionProcesses.map(quote).join(' ')}
       list() { ${dovecotProcesses}
       }
       list "$@" > /run/mail-cutover.sessions
       while read -r process program; do kill -TERM "\${process#/proc/}" 2>/dev/null || :; done < /run/mail-cutover.sessions
       rm -f /run/mail-cutover.sessions`,
      [],
      { purpose: 'end the sessions' },
    ),
  );
  await waitUntilNothing(source, dovecotProcesses, {
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'all sessions are closed',
    cure: `Look at these processes on ${called(source)}, then run this stage again`,
  });
  return 'IMAP, POP3, ManageSieve and LMTP closed';
}

/** Prints those of the arguments that Dovecot's master still has as a service (doveadm-service(1)). */
const servicesStill = `services=$(doveadm service status)
for wanted; do
  if printf '%s\\n' "$services" | grep -qx "name: $wanted"; then printf '%s\\n' "$wanted"; fi
done`;

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

async function running(host: MailHost, look: string, args: readonly string[]): Promise<string> {
  const result = await host.read(script(look, args, { purpose: 'look at the processes' }));
  return result.stdout.toString('utf8').trim();
}

export async function demandPostfix(host: MailHost): Promise<Postfix> {
  const postfix = await readPostfix(host);
  if (!postfix)
    throw new UserError(
      `${host.label}: Postfix is not installed. Is this the right host, and the right mail-system?`,
    );
  return postfix;
}
