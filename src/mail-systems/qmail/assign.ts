import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext } from '../mail-system.ts';
import { pathOf } from './control.ts';
import { readHomes } from './homes.ts';
import { tell } from './program.ts';

/**
 * Both ways: an account that was made on NEW since it serves goes back too.
 *
 * users/assign has numbers of users and groups in it, which differ between the hosts: it is written
 * anew for the target, by names, and qmail-newu(8) makes the table that qmail-lspawn(8) reads.
 */
export function assignSteps(context: MailContext): readonly Step[] {
  const { source, target, migration } = context;
  const file = `${pathOf(migration)}/users/assign`;
  const wanted = async () => {
    const { assign } = await readHomes(source, migration);
    return assign === undefined
      ? undefined
      : translated(assign, await numbers(source, target, assign));
  };
  return [
    {
      id: 'assign',
      title: `Write users/assign on ${called(target)}, with its own numbers`,
      done: async () => {
        const text = await wanted();
        return text === undefined || text === translated(await content(target, file), new Map());
      },
      do: async () => {
        const text = await wanted();
        if (text === undefined) return 'none';
        await target.edit('file', ['accounts', 'assign', file, '644', 'root:root'], {
          stdin: text,
        });
        await tell(target, ['newu', 'accounts', pathOf(migration)]);
        return `${text.split('\n').length - 2} assignments`;
      },
    },
  ];
}

async function content(host: MailHost, file: string): Promise<string> {
  const result = await host.read(
    script('if [ -e "$1" ]; then cat -- "$1"; fi', [file], { purpose: 'read users/assign' }),
  );
  return result.stdout.toString('utf8');
}

type Numbers = ReadonlyMap<string, string>;

/** From a number on the source to the number of the same name on the target; keys `u5000`, `g5000`. */
async function numbers(source: MailHost, target: MailHost, assign: string): Promise<Numbers> {
  const keys = new Set<string>();
  for (const line of assignments(assign)) {
    const [, , uid = '', gid = ''] = line.split(':');
    keys.add(`u${uid}`).add(`g${gid}`);
  }
  return sameNames(source, target, [...keys]);
}

/** For each key the number that the same user (`u…`) or group (`g…`) has on the target. */
export async function sameNames(
  source: MailHost,
  target: MailHost,
  keys: readonly string[],
): Promise<Numbers> {
  const named = await source.read(
    script(
      `for key; do
         case $key in u*) base=passwd ;; *) base=group ;; esac
         getent $base "\${key#?}" | cut -d: -f1 | sed "s/^/$key /"
       done`,
      keys,
      { purpose: 'look for the names of numbers' },
    ),
  );
  const names = named.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ') as [string, string]);
  const there = await target.read(
    script(
      `while read -r key name; do
         case $key in u*) base=passwd ;; *) base=group ;; esac
         getent $base "$name" | cut -d: -f3 | sed "s/^/$key /"
       done`,
      [],
      {
        stdin: names.map((pair) => `${pair.join(' ')}\n`).join(''),
        purpose: 'look for the same names',
      },
    ),
  );
  const found = new Map(
    there.stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ') as [string, string]),
  );
  const missing = names.filter(([key]) => !found.has(key)).map(([, name]) => name);
  if (missing.length > 0)
    throw new UserError(
      `${target.label}: ${[...new Set(missing)].join(', ')} does not exist there, but has mail on ${called(source)}. Create it (its number may differ), then run this stage again`,
    );
  return found;
}

function assignments(text: string): readonly string[] {
  const all = text.split('\n');
  const end = all.indexOf('.');
  return (end < 0 ? all : all.slice(0, end)).filter((line) => /^[=+]/.test(line));
}

/** The same assignments with other numbers. One whose number has no name keeps it. */
export function translated(text: string, map: Numbers): string {
  const written = assignments(text).map((line) => {
    const fields = line.split(':');
    fields[2] = map.get(`u${fields[2]}`) ?? fields[2] ?? '';
    fields[3] = map.get(`g${fields[3]}`) ?? fields[3] ?? '';
    return `${fields.join(':')}\n`;
  });
  return `${written.join('')}.\n`;
}
