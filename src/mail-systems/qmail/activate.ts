import { randomUUID } from 'node:crypto';
import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has, mark, unmark } from '../../hosts/marks.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { pathOf } from './control.ts';
import { redirectTables } from './database-steps.ts';
import { mailboxPorts, redirectControl, relay, waitingLocally, withoutNames } from './freeze.ts';
import { readHomes, storesOf } from './homes.ts';
import { restoreControl } from './prepare.ts';
import { ask, tell } from './program.ts';

const probeSeconds = 60;

/**
 * On NEW, after ownership was taken: homes are free, deliveries start, a probe message goes through;
 * then the ports open.
 */
export function activateSteps(context: MailContext): readonly Step[] {
  const { new: target, migration } = context;
  const isRedirect = migration.qmail?.strategy === 'redirect';
  return [
    {
      id: 'start-deliveries',
      title: isRedirect
        ? 'Release the queue of NEW: sticky bits off, qmail-send started'
        : 'Start deliveries on NEW, whose ports are closed still: sticky bits off, qmail-send started',
      done: async () =>
        (await ask(target, 'running', 'send')) !== '' && !(await has(target, 'stuck')),
      do: async () => {
        // What waits in NEW's queue is on no other host: from here on rollback must bring it back.
        if (isRedirect) await mark(target, 'opened');
        await freeHomes(context);
        await openRole(target, 'send');
        return undefined;
      },
    },
    {
      id: 'probe',
      title: migration.probe
        ? `Send a probe message to ${migration.probe.mailbox}`
        : 'Send no probe (none configured)',
      done: async () => !(await has(target, 'fenced')),
      do: async () => (migration.probe ? probe(context, migration.probe.mailbox) : undefined),
    },
    {
      id: 'open',
      title: 'Open NEW to the world: SMTP, POP3 and IMAP',
      done: async () => !(await has(target, 'fenced')) && (await has(target, 'opened')),
      do: async () => {
        if (!(await has(target, 'opened'))) await mark(target, 'opened');
        for (const role of ['smtpd', 'pop']) await openRole(target, role);
        await unmark(target, 'fenced');
        const open = await ask(target, 'listening', '25', ...mailboxPorts.map(String));
        return `ports ${open.split('\n').join(', ')}`;
      },
    },
  ];
}

/** Takes the fence of one kind of service away, and starts it whether or not it ran before. */
export async function openRole(host: MailHost, role: string): Promise<void> {
  const services = await ask(host, 'services');
  const keys = services
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([its]) => its === role)
    .map(([, , id = '']) => id.slice(id.lastIndexOf('/') + 1).replaceAll(/[^A-Za-z0-9.]/g, '-'));
  const records = keys.flatMap((key) =>
    ['service', 'down', 'run', 'unit'].map((kind) => `${kind}-${key}`),
  );
  for (const from of ['fence', group]) {
    if (records.length > 0) await host.edit('undo-some', [from, ...records]);
  }
  await tell(host, ['start', role]);
}

/** The bits came with the copy; only those that OLD's freeze had set are taken off. */
export async function freeHomes({ new: target, migration }: MailContext): Promise<void> {
  if (await has(target, 'stuck')) {
    await tell(target, ['free', `${target.folder}/stuck`]);
    await unmark(target, 'stuck');
    return;
  }
  const homes = (await readHomes(target, migration)).homes.map(({ path }) => `${path}\n`);
  await target.edit('put', ['stuck'], { stdin: homes.join('') });
  await tell(target, ['free', `${target.folder}/stuck`]);
  await unmark(target, 'stuck');
}

/** Before the final pass: which homes have the bit from us, for NEW, and what OLD held at the freeze, for late passes. */
export function noteStuck(context: MailContext): Step {
  const { source, target, migration } = context;
  return {
    id: 'note-frozen',
    title: `Note what ${called(source)} holds in the freeze`,
    done: async () => false,
    do: async () => {
      const homes = await readHomes(source, migration);
      const list = await source.read(
        script('cat "$1"/undo/freeze/*-sticky/before 2>/dev/null || :', [source.folder], {
          purpose: 'read which homes have the sticky bit',
        }),
      );
      await target.edit('put', ['stuck'], { stdin: list.stdout });
      const stores = migration.stores ?? storesOf(homes);
      return noteSeen(source, stores);
    },
  };
}

/** The names of all messages on the host at this time, as the list that late passes go by. */
async function noteSeen(host: MailHost, stores: readonly string[]): Promise<string> {
  await tell(host, ['note-seen', ...stores]);
  const counted = await host.read(
    script('wc -l < "$1"', [`${host.folder}/late/seen`], { purpose: 'count the messages' }),
  );
  return `${counted.stdout.toString('utf8').trim()} messages`;
}

/**
 * OLD, after ownership was taken: what waits in its remote queue goes to NEW, and what comes too. What
 * is in its local queue is delivered to its own Maildirs, where nothing serves it, for a late pass.
 */
export function forwardSteps(context: MailContext): readonly Step[] {
  const { source, target, migration } = context;
  return [
    {
      id: 'forward',
      title: `Send the mail that comes to ${called(source)} on to ${called(target)}`,
      done: async () => (await has(source, 'forwarding')) && (await has(source, 'forward-ready')),
      do: async () => {
        // Who owns never forwards, and who forwards never owns: a loop needs two that forward.
        if (!(await has(target, 'owner')))
          throw new UserError(
            `${target.label}: it does not own the mailboxes, so nothing may be sent on to it`,
          );
        await source.edit('begin-forward', [relay(context)], { purpose: 'note the forward' });
        const names = await redirectControl(context);
        await withoutNames(context);
        if (migration.qmail?.variant === 'mysql') await redirectTables(context);
        await tell(source, ['restore', group, 'concurrencyremote']);
        // What it has in memory of concurrencyremote goes only with a restart.
        const stands = (await has(source, 'redirected')) || (await has(source, 'held-remote'));
        await tell(source, [stands ? 'restart' : 'hup', 'send']);
        await unmark(source, 'held-remote');
        await tell(source, ['alrm']);
        await mark(source, 'forward-ready');
        return `${names.length} names to ${relay(context)}`;
      },
    },
    {
      id: 'release-local',
      title: `Deliver what waits in the local queue of ${called(source)} to its own Maildirs, for a late pass`,
      done: async () =>
        !(await has(source, 'frozen')) ||
        (!(await has(source, 'held-local')) &&
          (await waitingLocally(source, pathOf(migration))) === 0),
      do: async () => {
        await releaseLocal(source);
        return 'nothing serves them there; transfer with pass: late, or drain, brings them to NEW';
      },
    },
  ];
}

/** Late deliveries may land: stores writable, sticky bits off, the queue tried at once. */
export async function releaseLocal(host: MailHost): Promise<void> {
  await host.edit('undo-kind', ['freeze', 'seal'], { purpose: 'make the stores writable' });
  await tell(host, ['unsticky', group, 'sticky']);
  await tell(host, ['restore', group, 'concurrencylocal']);
  if (await has(host, 'held-local')) {
    await tell(host, ['restart', 'send']);
    await unmark(host, 'held-local');
  }
  await tell(host, ['alrm']);
}

/** Through qmail's queue into the Maildir, found there by its name, removed. */
async function probe({ new: target, migration }: MailContext, mailbox: string): Promise<string> {
  const id = `<${randomUUID()}@mail-cutover.probe>`;
  const stores = migration.stores ?? storesOf(await readHomes(target, migration));
  const message = `From: <${mailbox}>\nTo: <${mailbox}>\nSubject: mail-cutover probe\nMessage-ID: ${id}\nDate: ${new Date().toUTCString()}\n\nThis message proves that mail is delivered here. It is removed at once.\n`;
  await target.change(
    command([`${pathOf(migration)}/bin/qmail-inject`, '-f', mailbox, '--', mailbox], {
      stdin: message,
      purpose: 'send the probe',
    }),
  );
  const began = performance.now();
  const found = await target.change(
    script(
      `id=$1; seconds=$2; shift 2
       end=$(($(date +%s) + seconds))
       while :; do
         for store; do
           file=$(find "$store" -path '*/new/*' -type f -mmin -10 -exec grep -lF -- "$id" {} + 2>/dev/null | head -n 1)
           if [ -n "$file" ]; then rm -f -- "$file"; printf '%s' "$file"; exit 0; fi
         done
         [ "$(date +%s)" -lt "$end" ] || exit 75
         sleep 0.2
       done`,
      [id, String(probeSeconds), ...stores],
      { allow: [0, 75], timeout: probeSeconds + 60, purpose: 'look for the probe' },
    ),
  );
  if (found.code === 75)
    throw new UserError(
      `${target.label}: the probe message did not reach ${mailbox} within ${probeSeconds} s. NEW's mailboxes are still closed. Look at the log of qmail-send on NEW, then run activate again, or rollback`,
    );
  return `delivered and found in ${Math.round(performance.now() - began)} ms`;
}

/**
 * redirect, taken back before NEW was activated: mail that had reached NEW by then waits in its queue
 * and goes to OLD. NEW goes on sending what still comes, until prepare runs again.
 */
export function giveBackSteps(context: MailContext): readonly Step[] {
  const { new: target, old, migration } = context;
  if (migration.qmail?.strategy !== 'redirect') return [];
  const back: MailContext = { ...context, source: target, target: old };
  return [
    {
      id: 'give-back',
      title: 'Send what reached NEW back to OLD',
      done: async () => (await has(target, 'forwarding')) || !(await has(target, 'fenced')),
      do: async () => {
        await restoreControl(target);
        await redirectControl(back);
        await withoutNames(back);
        if (migration.qmail?.variant === 'mysql') await redirectTables(back);
        await openRole(target, 'send');
        await tell(target, ['alrm']);
        await target.edit('put', ['forwarding'], { stdin: relay(back) });
        return 'it goes to OLD, and so does what still comes';
      },
    },
  ];
}
