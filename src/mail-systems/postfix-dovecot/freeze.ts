import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command, quote, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { MailContext } from '../mail-system.ts';
import { readDovecot, sessionProcesses } from './dovecot.ts';
import { dovecotUnits, names, postfixUnits } from './names.ts';
import { localDomains, type Postfix, readPostfix, submissionServices, words } from './postfix.ts';
import { deliveryAgents, dovecotProcesses, waitUntilNothing } from './waiting.ts';

/** Group of undo records on OLD; hostctl's `thaw` takes it back. */
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
export function holdSteps(context: MailContext): readonly Step[] {
  const { old } = context;
  return [
    {
      id: 'hold-deliveries',
      title: 'Hold all local mail in the queue of OLD, close submission',
      done: async () =>
        routesTo(await demandPostfix(old), context, `${names(context.migration).hold}:`) &&
        (await loaded(old, context)),
      do: () => hold(context),
      undo: async () => {
        await old.edit('undo', [group]);
      },
    },
    {
      id: 'finish-deliveries',
      title: 'Wait until no delivery agent on OLD holds a message',
      done: async () => (await running(old, deliveryAgents, [])) === '',
      do: async () => {
        await waitUntilNothing(old, deliveryAgents, {
          seconds: deliverySeconds,
          what: 'no delivery agent holds a message',
          cure: 'A pipe or filter hangs: look at it, then run freeze again',
        });
        return undefined;
      },
    },
    {
      id: 'close-sessions',
      title: 'Close IMAP, POP3, ManageSieve and LMTP on OLD',
      done: async () => (await openSessions(old)) === '' && (await protocolsClosed(old)),
      do: () => closeSessions(old),
    },
  ];
}

/** `stop`: OLD's mail services are down; other servers keep the mail and try again. */
export function stopSteps(context: MailContext): readonly Step[] {
  const { old, migration } = context;
  const units = [...dovecotUnits, ...postfixUnits];
  return [
    {
      id: 'stop-services',
      title: 'Stop Postfix and Dovecot on OLD and keep them from starting',
      done: async () =>
        (await runningUnits(old, units)) === '' && (await fenced(old, migration.name, units)),
      do: async () => {
        for (const unit of units) {
          await old.edit('stop', [group, `stop-${unit}`, unit], { purpose: `stop ${unit}` });
        }
        await fence(old, group, 'frozen', context, units);
        await waitUntilNothing(old, 'if postfix status 2>/dev/null; then echo postfix; fi', {
          seconds: 60,
          what: 'Postfix is down',
          cure: 'Look at `systemctl status postfix@-` on OLD',
        });
        return undefined;
      },
      undo: async () => {
        await old.edit('undo', [group]);
      },
    },
  ];
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
  for (const unit of units) {
    await host.edit(
      'file',
      [undoGroup, `fence-${unit}`, names(context.migration).dropIn(unit), '644', 'root:root'],
      {
        stdin: condition,
        purpose: `fence ${unit}`,
      },
    );
  }
  await host.change(command(['systemctl', 'daemon-reload']));
}

export async function fenced(
  host: MailHost,
  migration: string,
  units: readonly string[],
): Promise<boolean> {
  const result = await host.read(
    script(
      'for unit; do [ -e "/etc/systemd/system/$unit.d/$MIGRATION.conf" ] || exit 1; done'.replace(
        '$MIGRATION',
        `mail-cutover-${migration}`,
      ),
      units,
      { allow: [0, 1], purpose: 'look at the fence' },
    ),
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
  const { old, migration } = context;
  const file = names(migration).routes;
  await old.edit('file', [group, 'routes', file, '644', 'root:root'], {
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
  await old.edit('postconf', [group, ...Object.entries(settings).flat()], {
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
  return table.replace(/^(\/\S+\/) .*$/gm, (_, pattern: string) => `${pattern} ${destination}`);
}

function withTable(transportMaps: string, table: string): string {
  const ours = `regexp:${table}`;
  const others = transportMaps
    .split(/[\s,]+/)
    .filter((map) => map !== '' && map !== ours)
    .join(', ');
  return others === '' ? ours : `${ours}, ${others}`;
}

async function hold(context: MailContext): Promise<string> {
  const { old } = context;
  const postfix = await demandPostfix(old);
  const domains = await localDomains(old, postfix);
  const closed = submissionServices(postfix).map((service) => `${service}.inet`);
  const before = words(postfix.parameters.get('master_service_disable'));
  const { hold: transport } = names(context.migration);
  await old.edit('master', [group, 'hold', `${transport}/unix`, holdEntry(transport)], {
    purpose: 'set up the transport that holds',
  });
  const destination = nowhere(transport);
  await route(context, postfix, routesTable(domains, destination), destination, {
    master_service_disable: [...new Set([...before, ...closed])].join(' '),
  });
  await reloadPostfix(old);
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
  await waitUntilNothing(context.old, notLoaded, {
    args: [names(context.migration).routes],
    seconds: 30,
    what: 'Postfix has loaded the routes',
    cure: 'Look at the mail log on OLD, then run this stage again',
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

async function closeSessions(old: MailHost): Promise<string> {
  const dovecot = await readDovecot(old);
  if (!dovecot) return 'no Dovecot';
  // Not stopped: smtpd on port 25 dies without the auth and policy sockets that Dovecot serves.
  await old.edit('block', [group, 'protocols', dovecot.configFile], {
    stdin: 'protocols = none',
    purpose: 'close the protocols',
  });
  await old.change(command(['doveadm', 'reload'], { purpose: 'reload Dovecot' }));
  // The reload is only asked for; sessions ended before it has happened would be opened again.
  await waitUntilNothing(old, servicesStill, {
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'Dovecot has closed its listeners',
    cure: 'Look at the Dovecot log on OLD, then run freeze again',
  });
  await old.change(
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
  await waitUntilNothing(old, dovecotProcesses, {
    args: sessionProcesses,
    seconds: sessionSeconds,
    what: 'all sessions are closed',
    cure: 'Look at these processes on OLD, then run freeze again',
  });
  return 'IMAP, POP3, ManageSieve and LMTP closed';
}

/** Prints those of the arguments that Dovecot's master still has as a service (doveadm-service(1)). */
const servicesStill = `services=$(doveadm service status)
for wanted; do
  if printf '%s\\n' "$services" | grep -qx "name: $wanted"; then printf '%s\\n' "$wanted"; fi
done`;

function openSessions(old: MailHost): Promise<string> {
  return running(old, dovecotProcesses, sessionProcesses);
}

async function protocolsClosed(old: MailHost): Promise<boolean> {
  const result = await old.read(
    script('doveconf -h protocols', [], { purpose: 'look at the protocols' }),
  );
  return result.stdout.toString('utf8').trim() === 'none';
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
