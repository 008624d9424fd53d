import { randomUUID } from 'node:crypto';
import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { askedOnce } from '../../hosts/asked-once.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has } from '../../hosts/marks.ts';
import { called, type MailContext } from '../mail-system.ts';
import { asking, askingSettings, asks } from './asking.ts';
import { fingerprint, transportEntry } from './door.ts';
import { type Dovecot, readDovecot } from './dovecot.ts';
import { names } from './names.ts';
import { demandPostfix, type Postfix } from './postfix.ts';
import { moveQueue, opening, releaseQueue, spool } from './queue.ts';
import { load, loaded, redirectedWhole, route, routesTo } from './routes.ts';

const group = 'probe';
const probeSeconds = 60;

/** How NEW runs until it opens: what the world could reach is closed. */
export interface Closing {
  /** Units that must run before Dovecot and Postfix do. */
  readonly before: readonly string[];
  /** Undo records of the fence that can not wait until it is taken down (`unfenceStep`). */
  readonly barred: readonly string[];
  /** Settings of Dovecot. */
  readonly dovecot: string;
  /** Listeners of Postfix, on the loopback only, that are made for the probe: name and entry of master.cf(5). */
  readonly listeners: (postfix: Postfix) => ReadonlyMap<string, string>;
}

/** Nothing but deliveries: a probe by sendmail(1) needs no listener. */
export const onlyDeliveries: Closing = {
  before: [],
  barred: [],
  dovecot: 'protocols = lmtp',
  listeners: () => new Map(),
};

/**
 * On NEW, after ownership was taken: it starts with no public listener, a probe message goes
 * through, then the listeners open.
 */
export function activateSteps(
  context: MailContext,
  closing: Closing = onlyDeliveries,
  /** What else is done with a NEW that runs closed. */
  whileClosed: readonly Step[] = [],
): readonly Step[] {
  const { new: target, migration } = context;
  const stop = migration.freeze.mode === 'stop';
  const configured = askedOnce(() => Promise.all([readDovecot(target), demandPostfix(target)]));
  return [
    {
      id: 'start-closed',
      title: 'Start Dovecot and Postfix on NEW, reachable only for the probe',
      ahead: () => early(configured()),
      done: () => serving(target),
      do: async () => startClosed(context, closing, ...(await configured())),
    },
    {
      id: 'probe',
      title: migration.probe
        ? `Send a probe message to ${migration.probe.mailbox}`
        : 'Send no probe (none configured)',
      done: () => isOpen(target),
      do: async () => (migration.probe ? await probe(target, migration.probe.mailbox) : undefined),
    },
    ...whileClosed,
    ...(stop ? [releaseQueue(context)] : []),
    {
      id: 'open',
      title: 'Open NEW to the world',
      done: () => isOpen(target),
      do: async () => {
        await target.edits([opening(), { words: ['undo', group] }], {
          purpose: 'open the listeners',
        });
        // Down where a queue was released.
        if (stop) await startServices(target);
        return undefined;
      },
    },
  ];
}

/**
 * `hold`, on the source: what waits in its queue, and what still comes, goes on by the target's own
 * doors, and port 25 refuses a recipient only when the target does.
 */
export function forwardSteps(
  context: MailContext,
  /** Whose before-queue filter judges late mail. */
  filtering: 'source' | 'target' = 'target',
): readonly Step[] {
  const { source, target, migration } = context;
  if (migration.freeze.mode === 'stop') return [];
  const { transport, late } = names(migration);
  const destination = `${transport}:[${target.address}]:${migration['late-mail'].port}`;
  const asked = askedOnce(async () => {
    const [door, held, dovecot, [postfix, settings]] = await Promise.all([
      fingerprint(target, context),
      source.read(command(['cat', '--', names(migration).routes], { purpose: 'read the routes' })),
      readDovecot(source),
      demandPostfix(source).then((found) => Promise.all([found, askingSettings(context, found)])),
    ]);
    return { door, held: held.stdout.toString('utf8'), dovecot, postfix, settings };
  });
  return [
    {
      id: 'forward',
      title: `Send the mail that waits on ${called(source)} on to ${called(target)}, and ask ${called(target)} about recipients`,
      ahead: () => early(asked()),
      done: async () => {
        if (!(await has(source, 'forwarding'))) return false;
        const postfix = await demandPostfix(source);
        return (
          routesTo(postfix, context, `${transport}:`) &&
          asks(context, postfix) &&
          (await loaded(source, context))
        );
      },
      do: async () => {
        // Who owns never forwards, and who forwards never owns: a loop needs two that forward.
        if (!(await has(target, 'owner')))
          throw new UserError(
            `${target.label}: it does not own the mailboxes, so nothing may be sent on to it`,
          );
        const { door, held, dovecot, postfix, settings } = await asked();
        const transports = [transport, late].flatMap((name) => [
          name,
          `${name}/unix`,
          transportEntry(context, name, door),
        ]);
        await source.edits(
          [
            { words: ['begin-forward', destination] },
            asking(context, { postfix, dovecot }, filtering, transports),
            ...route(context, postfix, redirectedWhole(held, destination), destination, settings),
          ],
          { purpose: `send mail on to ${called(target)}` },
        );
        await load(context);
        return undefined;
      },
    },
    // A step of its own, and noted: nothing else shows that it was done, and what is deferred may wait for an hour.
    {
      id: 'flush',
      title: `Send at once what waits on ${called(source)}`,
      done: () => has(source, 'flushed'),
      do: async () => {
        await source.change(
          script('postqueue -f\nexec "$1" put flushed', [source.hostctl], {
            stdin: new Date().toISOString(),
            purpose: 'flush the queue',
          }),
        );
        return undefined;
      },
    },
  ];
}

/**
 * What had kept NEW's services from starting keeps them from nothing since its mark is gone. To take it away
 * takes systemd a while, in which nobody need wait for NEW.
 */
export function unfenceStep({ new: target }: MailContext): Step {
  return {
    id: 'unfence',
    title: 'Take down what kept the services of NEW from starting',
    done: async () => !(await has(target, 'undo/fence')),
    do: async () => {
      await target.edit('undo', ['fence', 'units'], { purpose: 'take the fence down' });
      return undefined;
    },
  };
}

/** Whoever needs the answer is told of a failure. */
function early(question: Promise<unknown>): void {
  question.catch(() => undefined);
}

/** Of the listeners of Postfix only the door stays, and what nobody but the host itself can reach. */
async function startClosed(
  context: MailContext,
  closing: Closing,
  dovecot: Dovecot | undefined,
  postfix: Postfix,
): Promise<string> {
  const { new: target, migration } = context;
  if (!dovecot)
    throw new UserError(
      `${target.label}: Dovecot is not installed. Install and configure it first`,
    );
  const listeners = closing.listeners(postfix);
  const made = [...listeners].flatMap(([name, entry]) => [`probe-${name}`, `${name}/inet`, entry]);
  const open = [...ownListeners(postfix), ...listeners.keys(), migration['late-mail'].port];
  const disabled = `${open.map((name) => `!${name}/inet`).join(' ')} inet`;
  const close = [
    { words: ['block', group, 'protocols', dovecot.configFile], stdin: closing.dovecot },
    ...(made.length > 0 ? [{ words: ['master', group, ...made] }] : []),
    { words: ['postconf', group, 'master_service_disable', disabled] },
  ];
  const { barred, before } = closing;
  const start = [
    ...(barred.length > 0 ? [{ words: ['undo-some', 'fence', ...barred] }] : []),
    // Those that did not run before NEW was fenced, too.
    ...(before.length > 0 ? [{ words: ['lift-fence', ...before] }] : []),
    { words: ['lift-fence', ...services] },
  ];
  const purpose = 'start the mail services behind closed listeners';
  // A release that was cut off: the queue must be in place before Postfix starts.
  if (migration.freeze.mode === 'stop' && (await has(target, 'opened'))) {
    await target.edits(close, { purpose: 'keep the listeners closed' });
    await moveQueue(target, await spool(target));
    await target.edits(start, { purpose });
  } else await target.edits([...close, ...start], { purpose });
  await demandServing(target);
  return `Dovecot ${dovecot.version} and Postfix are up, no public listener`;
}

const services = ['dovecot.service', 'postfix.service'];

async function startServices(target: MailHost): Promise<void> {
  await target.change(
    command(['systemctl', 'start', ...services], { purpose: 'start the mail services' }),
  );
  await demandServing(target);
}

async function demandServing(target: MailHost): Promise<void> {
  // Up to Debian 12 that start goes well also where Postfix itself, in another unit, does not.
  if (!(await serving(target)))
    throw new UserError(
      `${target.label}: Postfix or Dovecot does not run after its start. Look at \`journalctl -b -u dovecot -u 'postfix*'\` there, then run activate again, or rollback`,
    );
}

/** Inet services that filters on the host hand mail back to. */
function ownListeners({ services }: Postfix): readonly string[] {
  return [...services.keys()]
    .filter((key) => /^(?:127\.0\.0\.1|\[::1\]|localhost):.*\/inet$/.test(key))
    .map((key) => key.slice(0, -'/inet'.length));
}

async function serving(host: MailHost): Promise<boolean> {
  const result = await host.read(
    script('postfix status 2>/dev/null && systemctl is-active --quiet dovecot.service', [], {
      allow: [0, 1, 3, 4],
      purpose: 'look at the services',
    }),
  );
  return result.code === 0;
}

async function isOpen(host: MailHost): Promise<boolean> {
  return !(await closedForProbe(host)) && (await serving(host));
}

/** Whether only the probe can reach it yet. */
export async function closedForProbe(host: MailHost): Promise<boolean> {
  const result = await host.read(
    script('[ -d "$1" ]', [`${host.folder}/undo/${group}`], {
      allow: [0, 1],
      purpose: 'look at the listeners',
    }),
  );
  return result.code === 0;
}

/** Through Postfix into the mailbox, read back by Dovecot, removed. */
async function probe(host: MailHost, mailbox: string): Promise<string> {
  const id = `<${randomUUID()}@mail-cutover.probe>`;
  const message = `From: <${mailbox}>\nTo: <${mailbox}>\nSubject: mail-cutover probe\nMessage-ID: ${id}\nDate: ${new Date().toUTCString()}\n\nThis message proves that mail is delivered here. It is removed at once.\n`;
  const began = performance.now();
  const found = await host.change(
    script(
      `sendmail -i -f "$1" -- "$1"
       end=$(($(date +%s) + $3))
       until [ -n "$(doveadm search -u "$1" mailbox '*' header message-id "$2")" ]; do
         if [ "$(date +%s)" -ge "$end" ]; then
           postqueue -p >&2
           exit 75
         fi
         sleep 0.05
       done
       doveadm expunge -u "$1" mailbox '*' header message-id "$2"`,
      [mailbox, id, String(probeSeconds)],
      {
        stdin: message,
        allow: [0, 75],
        timeout: probeSeconds + 30,
        purpose: 'send, find and remove the probe',
      },
    ),
  );
  if (found.code === 75)
    throw new UserError(
      `${host.label}: the probe message did not reach ${mailbox} within ${probeSeconds} s. NEW is still closed. Look at the mail log on NEW, then run activate again, or rollback`,
    );
  return `delivered and read back in ${Math.round(performance.now() - began)} ms`;
}
