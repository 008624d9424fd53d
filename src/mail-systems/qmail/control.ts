import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { tell } from './program.ts';

/** Control files that this suite reads (qmail-control(9)). */
const read = [
  'me',
  'locals',
  'virtualdomains',
  'rcpthosts',
  'morercpthosts',
  'smtproutes',
  'queuelifetime',
  'concurrencyremote',
  'concurrencylocal',
  'defaultdelivery',
] as const;

export type ControlFile = (typeof read)[number];

/** What the administrator wrote; `undefined` where there is no such file, which is not the same as an empty one. */
export interface Control {
  readonly files: ReadonlyMap<ControlFile, string | undefined>;
  /** As the kernel has it: part of the name of every message that qmail-local(8) delivers. */
  readonly hostName: string;
}

/**
 * `before`: as it was before `freeze` changed it, from the undo records; `prepare`, too, adds names
 * that belong to the other host.
 */
const readScript = String.raw`
qmail=$1; base=$2; when=$3; shift 3
hostname
for name; do
  file=$qmail/control/$name
  if [ "$when" = before ]; then
    for group in freeze homing configuration accepted; do
      record=$(ls -d "$base/undo/$group"/[0-9][0-9][0-9][0-9]-control-"$name" 2>/dev/null || :)
      if [ -n "$record" ]; then
        if [ -s "$record/before" ]; then file=$base/undo/saved/$group-control-$name; else file=/nowhere; fi
      fi
    done
  fi
  if [ -e "$file" ]; then printf '%s\0present\0' "$name"; cat -- "$file"; printf '\0'
  else printf '%s\0absent\0\0' "$name"; fi
done`;

/** The control files as they are now, or as they were before we changed them. */
export async function readControl(
  host: MailHost,
  migration: Migration,
  when: 'now' | 'before' = 'before',
): Promise<Control> {
  const result = await host.read(
    script(readScript, [pathOf(migration), host.folder, when, ...read], {
      purpose: 'read the control files',
    }),
  );
  const text = result.stdout.toString('utf8');
  const end = text.indexOf('\n');
  const words = text.slice(end + 1).split('\0');
  const files = new Map<ControlFile, string | undefined>();
  for (const [index, name] of read.entries()) {
    files.set(name, words[3 * index + 1] === 'present' ? words[3 * index + 2] : undefined);
  }
  return { files, hostName: text.slice(0, end) };
}

/** Where qmail is, on both hosts. */
export function pathOf(migration: Migration): string {
  return migration.qmail?.path ?? '/var/qmail';
}

/** Lines that count: no comments, no trailing blanks (qmail-control(9)). */
export function lines(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split('\n')
    .map((line) => line.replace(/[ \t]+$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** The name of the server (qmail-control(9)). */
export function me(control: Control): string {
  return lines(control.files.get('me'))[0] ?? control.hostName;
}

/** No `locals` means `me` (qmail-send(8)); an empty one means that nothing is local. */
export function locals(control: Control): readonly string[] {
  const text = control.files.get('locals');
  return text === undefined ? [me(control)] : lines(text).map((name) => name.toLowerCase());
}

export interface VirtualDomain {
  readonly name: string;
  readonly prepend: string;
}

/** The lines of `virtualdomains` (qmail-send(8)). */
export function virtualDomains(control: Control): readonly VirtualDomain[] {
  return lines(control.files.get('virtualdomains')).map((line) => {
    const colon = line.indexOf(':');
    return {
      name: (colon < 0 ? line : line.slice(0, colon)).toLowerCase(),
      prepend: colon < 0 ? '' : line.slice(colon + 1),
    };
  });
}

/** Names that mean the host itself on every host. */
export const ownNames = /^(localhost|localhost\.localdomain|127\.0\.0\.1)$/;

/** Every name whose mail is delivered here, and so moves: locals and virtual domains. */
export function movedNames(control: Control): readonly string[] {
  const virtual = virtualDomains(control).filter(({ prepend }) => prepend !== '');
  const names = [...locals(control), ...virtual.map(({ name }) => name)];
  return [...new Set(names)].filter((name) => name !== '' && !ownNames.test(name)).sort();
}

/** What qmail-smtpd(8) takes mail for; suffixes begin with a dot. */
export function acceptedNames(control: Control): ReadonlySet<string> {
  const names = [
    ...lines(control.files.get('rcpthosts')),
    ...lines(control.files.get('morercpthosts')),
  ];
  return new Set(names.map((name) => name.toLowerCase()));
}

/** What stays local on a host whose names have gone. */
export function remainingLocals(control: Control): string {
  return locals(control)
    .filter((name) => ownNames.test(name))
    .map((name) => `${name}\n`)
    .join('');
}

/** smtproutes (qmail-remote(8)): every moved name goes to `relay`, before what was there. */
export function routesTo(control: Control, names: readonly string[], relay: string): string {
  const ours = names.map((name) => `${name}:${relay}\n`);
  const others = lines(control.files.get('smtproutes'))
    .filter((line) => !names.includes(line.slice(0, line.indexOf(':')).toLowerCase()))
    .map((line) => `${line}\n`);
  return [...ours, ...others].join('');
}

/** Replaces a control file by a rename; its owner and mode stay, and the undo record is kept. */
export async function writeControl(
  host: MailHost,
  group: string,
  name: ControlFile,
  text: string,
): Promise<void> {
  await tell(host, ['control', group, name], text);
}
