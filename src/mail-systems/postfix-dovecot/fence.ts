import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import type { MailContext } from '../mail-system.ts';
import { names } from './names.ts';
import { running } from './waiting.ts';

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
