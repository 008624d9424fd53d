import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { has, mark, unmark } from '../../hosts/marks.ts';
import type { MailContext } from '../mail-system.ts';
import { missingOwners, ownersOf } from '../postfix-dovecot/owners.ts';
import { assignSteps } from './assign.ts';
import {
  acceptedNames,
  type Control,
  lines,
  locals,
  me,
  movedNames,
  readControl,
  virtualDomains,
  writeControl,
} from './control.ts';
import { loadSteps } from './database-steps.ts';
import { keepFingerprint } from './fingerprint.ts';
import { mailboxPorts } from './freeze.ts';
import { homingStep } from './homing.ts';
import { namesOf, noteNames, noteOwnNames } from './names.ts';
import { ask, tell } from './program.ts';
import { until } from './until.ts';

/** Undo records on both hosts of what `prepare` adds to their control files. */
export const configuration = 'configuration';

/** The same of what a rollback leaves: with `redirect` NEW goes on taking mail, and sends it to OLD. */
const accepted = 'accepted';

/** NEW is closed to deliveries and knows the names; OLD and NEW take mail for each other. */
export function prepareSteps(
  context: MailContext,
  stores: () => Promise<readonly string[]>,
): readonly Step[] {
  const { old, target } = context;
  return [
    {
      id: 'fingerprint',
      title: 'Keep what the configuration was like',
      done: async () => (await has(old, 'fingerprint')) && (await has(target, 'fingerprint')),
      do: async () => {
        await keepFingerprint(old, context.migration);
        await keepFingerprint(target, context.migration);
        const names = await namesOf(old, context.migration);
        for (const host of [old, target]) await noteNames(host, context.migration, names);
        await noteOwnNames(target, context.migration);
        return undefined;
      },
    },
    homingStep(old),
    emptyQueue(context),
    ...fenceSteps(context),
    afterReturn(context),
    {
      id: 'owners',
      title: 'Check that every owner of mail on OLD exists on NEW',
      done: async () => false,
      do: async () => {
        const wanted = await ownersOf(context, await stores());
        const missing = await missingOwners(context, wanted);
        if (missing.length > 0)
          throw new UserError(
            `${target.label}: these owners of mail on OLD don't exist: ${missing.join(', ')}. Create them (their numbers may differ), then run prepare again`,
          );
        return `${wanted.length} owners, by name`;
      },
    },
    stageZeroNew(context),
    stageZeroOld(context),
    ...assignSteps(context),
    ...loadSteps(context),
  ];
}

/** NEW that has served before and gave all back sends on what still comes: that ends once nothing waits. */
function emptyQueue({ target }: MailContext): Step {
  return {
    id: 'empty-queue',
    title: 'Wait until NEW has sent on to OLD what still came to it',
    done: async () => !(await has(target, 'forwarding')) || (await has(target, 'fenced')),
    do: async () => {
      await tell(target, ['alrm']);
      await until(target, async () => ((await ask(target, 'waiting-home')) === '0' ? '' : 'mail'), {
        seconds: 60,
        what: 'its queue holds no mail for the moved names',
        cure: 'Look at qmail-qread on NEW, then run prepare again; OLD goes on serving',
      });
      return undefined;
    },
  };
}

const controlRecords = [
  'smtproutes',
  'concurrencyremote',
  'concurrencylocal',
  'virtualdomains',
  'locals',
].map((name) => `control-${name}`);

/** Its own control files again; what keeps its mailboxes closed stays. */
function afterReturn({ target }: MailContext): Step {
  return {
    id: 'dismantle',
    title: 'Take away what an earlier rollback left on NEW',
    done: async () => !(await has(target, 'forwarding')) && !(await has(target, 'frozen')),
    do: async () => {
      await restoreControl(target);
      for (const name of ['forwarding', 'frozen', 'thawed', 'thawing']) await unmark(target, name);
      return undefined;
    },
  };
}

/** What `freeze` changed in the control files is as it was; services stay closed. */
export async function restoreControl(host: MailHost): Promise<void> {
  await host.edit('undo-some', ['freeze', ...controlRecords, 'sticky', 'database']);
  for (const name of [
    'redirected',
    'held-local',
    'held-remote',
    'forward-ready',
    'tables-redirected',
  ])
    await unmark(host, name);
}

/**
 * NEW delivers nothing and opens no mailbox: qmail-send(8), POP3 and IMAP are down and do not start.
 * snapshot closes port 25 too. redirect leaves it open: what comes waits in NEW's queue, which is why
 * the addresses may change before NEW is activated.
 */
export function fenceSteps(context: MailContext): readonly Step[] {
  const { new: target, migration } = context;
  const takesMail = migration.qmail?.strategy === 'redirect';
  const closed = takesMail ? ['send', 'pop'] : ['send', 'pop', 'smtpd'];
  const ports = [...mailboxPorts, ...(takesMail ? [] : [25])].map(String);
  const open = async () => {
    const running = await Promise.all(closed.map((role) => ask(target, 'running', role)));
    return [...running, await ask(target, 'listening', ...ports)]
      .filter((text) => text !== '')
      .join('\n');
  };
  return [
    {
      id: 'fence',
      title: takesMail
        ? 'Fence NEW: it accepts mail and keeps it in its queue; nothing is delivered or served'
        : 'Fence NEW: nothing is accepted, delivered or served there until it is activated',
      done: async () => (await has(target, 'fenced')) && (await open()) === '',
      do: async () => {
        await mark(target, 'fenced');
        for (const role of closed) await tell(target, ['close', 'fence', role]);
        if (takesMail) await tell(target, ['start', 'smtpd']);
        await tell(target, ['end-sessions']);
        await until(target, open, {
          seconds: 60,
          what: 'the mail services are down',
          cure: 'One that is not supervised by daemontools, runit or systemd? Stop it, then run this stage again',
        });
        return undefined;
      },
      undo: async () => {
        await target.edit('remove', ['fenced']);
        await target.edit('undo', ['fence']);
      },
    },
  ];
}

interface Additions {
  readonly locals: readonly string[];
  readonly virtualdomains: readonly string[];
  readonly rcpthosts: readonly string[];
}

/** Stage zero of the article: NEW takes mail for every name that OLD has, its own names too. */
function stageZeroNew(context: MailContext): Step {
  const { old, new: target, migration } = context;
  const look = async () => {
    const [there, here] = await Promise.all([
      readControl(old, migration),
      readControl(target, migration, 'now'),
    ]);
    return { here, add: additions(there, here, await namesOf(old, migration)) };
  };
  return {
    id: 'stage-zero-new',
    title: 'Let NEW accept and deliver mail for every name of OLD',
    done: async () => Object.values((await look()).add).flat().length === 0,
    do: async () => {
      const { here, add } = await look();
      for (const name of ['rcpthosts', 'virtualdomains', 'locals'] as const) {
        if (add[name].length === 0) continue;
        const before = name === 'locals' ? locals(here) : lines(here.files.get(name));
        const text = [...before, ...add[name]].map((line) => `${line}\n`).join('');
        const stays = name === 'rcpthosts' && migration.qmail?.strategy === 'redirect';
        await writeControl(target, stays ? accepted : configuration, name, text);
      }
      return Object.entries(add)
        .filter(([, names]) => names.length > 0)
        .map(([file, names]) => `${file}: ${names.join(', ')}`)
        .join('; ');
    },
  };
}

/** `all`: those of tables too, which have hosts of their own to accept, but not on a host that gave back. */
function additions(there: Control, here: Control, all: readonly string[]): Additions {
  const virtual = new Set(virtualDomains(here).map(({ name }) => name));
  const local = new Set(locals(here));
  const taken = acceptedNames(here);
  const names = movedNames(there);
  const virtualThere = new Map(virtualDomains(there).map(({ name, prepend }) => [name, prepend]));
  return {
    locals: names.filter(
      (name) => !virtualThere.has(name) && !virtual.has(name) && !local.has(name),
    ),
    virtualdomains: names
      .filter((name) => virtualThere.has(name) && !virtual.has(name) && !local.has(name))
      .map((name) => `${name}:${virtualThere.get(name)}`),
    rcpthosts:
      here.files.get('rcpthosts') === undefined ? [] : all.filter((name) => !taken.has(name)),
  };
}

/** OLD takes mail for NEW's own name and sends it on, but never delivers it. */
function stageZeroOld(context: MailContext): Step {
  const { old, new: target, migration } = context;
  const lacking = async () => {
    const [there, here] = await Promise.all([
      readControl(old, migration, 'now'),
      readControl(target, migration),
    ]);
    const accepted = acceptedNames(there);
    return { there, names: [me(here)].filter((name) => !accepted.has(name)) };
  };
  return {
    id: 'stage-zero-old',
    title: "Let OLD accept mail for NEW's own name",
    done: async () => (await lacking()).names.length === 0,
    do: async () => {
      const { there, names } = await lacking();
      const text = [...lines(there.files.get('rcpthosts')), ...names].map((line) => `${line}\n`);
      await writeControl(old, configuration, 'rcpthosts', text.join(''));
      return names.join(', ');
    },
  };
}
