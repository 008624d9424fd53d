import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { rsyncList } from '../../transfer/rsync-pass.ts';
import { called, type MailContext } from '../mail-system.ts';
import { freeHomes, openRole, releaseLocal } from './activate.ts';
import { pathOf } from './control.ts';
import { holdLocal, sticky, waitingLocally } from './freeze.ts';
import { readHomes, storesOf } from './homes.ts';
import { newNames } from './names.ts';
import { ask, tell } from './program.ts';
import { until } from './until.ts';

/*
 * A late pass brings to NEW what was delivered on OLD after the freeze, and only adds. What counts as
 * late is told by the list of names that the freeze left, not by a pattern on the host's name.
 *
 * Each batch has a number. OLD keeps its list; NEW gets it whole, under a name of its own, then puts
 * each message into place once, then says that the number is done; only then OLD adds the list to
 * what it has sent. So wherever a runner dies, the next one goes on with the same batch.
 */

/** `transfer` with `pass: late`: the sticky bit on, the pass, the sticky bit off again. */
export function lateSteps(context: MailContext): readonly Step[] {
  const { source } = context;
  return [
    {
      id: 'late',
      title: `Bring what was delivered on ${called(source)} since the freeze to ${called(context.target)}`,
      done: async () => false,
      do: async () => `${await latePass(context)} messages`,
    },
  ];
}

/** One pass; how many messages it brought. Deliveries wait in OLD's queue while it lasts. */
export async function latePass(context: MailContext): Promise<number> {
  const { source } = context;
  const hold = sticky(context);
  if (!(await hold.done())) await hold.do();
  await until(source, () => ask(source, 'agents'), {
    seconds: 300,
    what: 'no delivery is under way',
    cure: 'A program in a .qmail file hangs: look at it, then run this stage again',
  });
  const count = await bring(context);
  await releaseLocal(source);
  return count;
}

/** The batches themselves, with nothing being delivered on the source. */
async function bring(context: MailContext): Promise<number> {
  const { source, target, migration, log } = context;
  const stores = migration.stores ?? storesOf(await readHomes(source, migration));
  let sum = 0;
  for (;;) {
    const [sent, placed] = await Promise.all([last(source), last(target)]);
    const number = sent + 1;
    if (placed < number) {
      const count = await makeList(source, number, stores);
      if (count === 0) break;
      sum += count;
      const into = `${target.folder}/late/${number}`;
      if (!(await has(target, `late/${number}`))) {
        await rsyncList({
          source,
          target,
          migration: migration.name,
          list: `${source.folder}/late/${number}.list`,
          into: `${into}.part`,
        });
        await target.change(
          script('sync; mv -T -- "$1.part" "$1"; sync', [into], { purpose: 'close the batch' }),
        );
      }
      await tell(target, ['place', into, String(number)]);
      log.info(`${count} late messages are in place`);
    }
    await source.change(
      script(
        `cd -- "$1/late"
         sed 's/:2,[^/]*$//; s!/\\(new\\|cur\\)/\\([^/]*\\)$!/\\2!' "$2.list" > brought
         sort -u brought seen > seen.new
         rm -f brought
         mv -f seen.new seen
         printf %s "$2" > last.new
         mv -f last.new last
         rm -f -- "$2.list"
         sync`,
        [source.folder, String(number)],
        { purpose: 'note what was brought' },
      ),
    );
  }
  return sum;
}

/** Number of the last batch that is done on this host. */
async function last(host: MailHost): Promise<number> {
  const result = await host.read(
    script('cat "$1" 2>/dev/null || printf 0', [`${host.folder}/late/last`], {
      purpose: 'look for the last late pass',
    }),
  );
  return Number(result.stdout.toString('utf8'));
}

/** Writes the list of a batch, unless a run before has; how many messages it has. */
async function makeList(
  host: MailHost,
  number: number,
  stores: readonly string[],
): Promise<number> {
  const result = await host.change(
    script(
      `umask 077
       base=$1; number=$2; shift 2
       mkdir -p "$base/late"
       list=$base/late/$number.list
       if [ ! -e "$list" ]; then
         [ -e "$base/late/seen" ] || { printf 'no list of the freeze\\n' >&2; exit 1; }
         "$base/bin/qmailctl" late-list "$base/late/seen" "$@" > "$list.new"
         sync
         mv -f -- "$list.new" "$list"
         # Before anything is copied: a longer list made anew would pass for what NEW has of this one.
         sync
       fi
       wc -l < "$list"
       if [ ! -s "$list" ]; then rm -f -- "$list"; fi`,
      [host.folder, String(number), ...stores],
      { timeout: 3600, purpose: 'look for late messages' },
    ),
  );
  return Number(result.stdout.toString('utf8').trim());
}

/**
 * Before service goes back: what OLD got after the freeze is brought to NEW first, since the copy
 * back makes OLD's mailboxes what NEW's are. `context` is the turned one. From here on OLD's local
 * deliveries wait, whatever modes the copy gives its homes.
 */
export function beforeReturn(context: MailContext): readonly Step[] {
  const { source: fresh, target: old, migration } = context;
  return [
    {
      id: 'names-back',
      title: 'Check that OLD knows every name that NEW takes mail for',
      done: async () => false,
      do: async () => {
        const names = await newNames(fresh, old, migration);
        if (names.length > 0)
          throw new UserError(
            `${fresh.label}: it takes mail for ${names.join(', ')} by now, which ${old.label} never did, so it would bounce there. Take these names out of locals and virtualdomains on NEW and send HUP to qmail-send, then run rollback again; or stay on NEW`,
          );
        return undefined;
      },
    },
    holdLocal(old),
    {
      id: 'catch-up',
      title: 'Bring what was delivered on OLD since the freeze to NEW',
      done: async () => false,
      do: async () => {
        await until(old, () => ask(old, 'agents'), {
          seconds: 300,
          what: 'no delivery is under way',
          cure: 'A program in a .qmail file hangs: look at it, then run rollback again',
        });
        const count = await bring({ ...context, source: old, target: fresh });
        const waiting = await waitingLocally(old, pathOf(migration));
        return `${count} messages${waiting > 0 ? `; ${waiting} wait in OLD's queue and stay there` : ''}`;
      },
    },
    {
      id: 'deliver-queue',
      title: 'Let NEW deliver what waits in its queue',
      done: async () =>
        (await ask(fresh, 'running', 'send')) !== '' && !(await has(fresh, 'stuck')),
      do: async () => {
        if (await has(fresh, 'stuck')) await freeHomes({ ...context, new: fresh });
        await openRole(fresh, 'send');
        return undefined;
      },
    },
  ];
}
