import type { Edit, MailHost } from '../../hosts/mail-host.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { names } from './names.ts';
import type { Postfix } from './postfix.ts';
import { running, waitUntilNothing } from './waiting.ts';

/** The routes table and the class transports: every local recipient goes to `destination`. */
export function route(
  { migration }: MailContext,
  postfix: Postfix,
  table: string,
  destination: string,
  others: Readonly<Record<string, string>> = {},
): readonly Edit[] {
  const file = names(migration).routes;
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
  return [
    { words: ['file', group, 'routes', file, '644', 'root:root'], stdin: table },
    { words: ['postconf', group, ...Object.entries(settings).flat()] },
  ];
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

/**
 * Reloads Postfix. That is only asked for: the old queue manager may go on for a moment, and what is flushed
 * meanwhile goes by what that one has read.
 */
export async function load(context: MailContext): Promise<void> {
  await waitUntilNothing(context.source, oldStill, {
    after: `before=" $(echo $(${queueManagers})) "\npostfix reload`,
    seconds: 30,
    what: 'Postfix has loaded the routes',
    cure: `Look at the mail log on ${called(context.source)}, then run this stage again`,
  });
}

const queueManagers = String.raw`find /proc/[0-9]*/exe -maxdepth 0 -lname '*/postfix/sbin/qmgr' -printf '%h\n' 2>/dev/null || :`;

/** Prints a line unless a queue manager runs, and none that is in `$before`. By number: no clock tells it as surely. */
const oldStill = String.raw`
now=$(${queueManagers})
[ -n "$now" ] || echo 'no queue manager'
for process in $now; do
  case $before in *" $process "*) echo 'the old queue manager' ;; esac
done`;

/** Prints a line unless a queue manager runs that is younger than the configuration and `$1`. */
const notLoaded = String.raw`
newest=$(stat -c %.Z /etc/postfix/main.cf /etc/postfix/master.cf "$1" 2>/dev/null | sort -n | tail -n 1)
boot=$(sed -n 's/^btime //p' /proc/stat)
young=
for process in $(${queueManagers}); do
  if awk -v boot="$boot" -v hz="$(getconf CLK_TCK)" -v newest="$newest" \
    '{ sub(/^.*\) /, ""); exit !(boot + 1 + $20 / hz > newest) }' "$process/stat"; then young=1; else young=; break; fi
done
[ -n "$young" ] || echo 'the old queue manager'`;
