import type { Step } from '../../engine/step.ts';
import { UserError } from '../../errors.ts';
import { command, script } from '../../hosts/command.ts';
import { called, type MailContext } from '../mail-system.ts';
import { doorSteps } from '../postfix-dovecot/door.ts';
import { missingOwners, ownersOf } from '../postfix-dovecot/owners.ts';
import { fenceSteps, prepareSteps } from '../postfix-dovecot/prepare.ts';
import { readCheckout } from './checkout.ts';
import { runCmdeploy } from './cmdeploy.ts';
import { keepFingerprint } from './fingerprint.ts';
import { carriedBy, demandRelay, noCreateFile, readRelay, storesOf } from './relay.ts';
import { fencedUnits } from './units.ts';

/** On NEW: the revision that our own run of `cmdeploy` has installed and configured. */
const configuredMark = 'relay-configured';

/**
 * NEW is fenced before anything is installed, so what Debian's packages start by themselves does not
 * start. Then it becomes a relay, whose users the passes need; then the door for late mail, which
 * goes into the configuration that is there by now.
 */
export function prepareRelay(context: MailContext): readonly Step[] {
  const steps = prepareSteps(
    context,
    async () => ownersOf(context, await movedTrees(context)),
    context.migration.provision === 'cmdeploy' ? [install(context)] : [],
    fencedUnits,
  );
  return steps.flatMap((step) =>
    step.id === 'fence' ? [step, closedToAccounts(context)] : [step],
  );
}

/** For a rollback that fences NEW again. */
export function fenceRelay(context: MailContext): readonly Step[] {
  return [...fenceSteps(context, fencedUnits), closedToAccounts(context)];
}

/** The door on the host that takes service; a rollback needs it on OLD. */
export function relayDoor(context: MailContext): readonly Step[] {
  return [owners(context), ...doorSteps(context)];
}

/**
 * A client that came to an empty NEW would get an empty account under its own name, in front of the
 * real one. Nothing listens there before `activate`; this holds should somebody start it by hand.
 */
function closedToAccounts(context: MailContext): Step {
  const { new: target } = context;
  return {
    id: 'no-accounts',
    title: 'Let no account be made on NEW until it is activated',
    done: async () => {
      const look = await target.read(
        script('[ -e "$1" ]', [noCreateFile], { allow: [0, 1], purpose: 'look for the bar' }),
      );
      return look.code === 0;
    },
    do: async () => {
      await target.edit('file', ['fence', 'nocreate', noCreateFile, '644', 'root:root'], {
        stdin: `# mail-cutover ${context.migration.name}: until the mailboxes have come from the old host\n`,
        purpose: 'bar new accounts',
      });
      return undefined;
    },
  };
}

function install(context: MailContext): Step {
  const { new: target, runner } = context;
  return {
    id: 'cmdeploy',
    title: 'Make a relay of NEW: cmdeploy, stages install and configure',
    async done() {
      const { revision } = await readCheckout(runner.checkout);
      const mark = await target.read(
        script('cat "$1" 2>/dev/null || :', [`${target.folder}/${configuredMark}`], {
          purpose: 'look what cmdeploy has done',
        }),
      );
      return (
        revision !== '' &&
        mark.stdout.toString('utf8').trim() === revision &&
        (await readRelay(target)) !== undefined
      );
    },
    async do() {
      const { revision } = await readCheckout(runner.checkout);
      await keepFingerprint(target);
      const said = await runCmdeploy(context, target, 'install,configure');
      await stopWhatStarted(context);
      await target.edit('put', [configuredMark], {
        stdin: revision,
        purpose: 'note what cmdeploy has done',
      });
      return said;
    },
  };
}

/** The fence keeps units from starting; one that got past it (another name, another version) is told. */
async function stopWhatStarted({ new: target }: MailContext): Promise<void> {
  await target.change(command(['systemctl', 'daemon-reload']));
  const result = await target.read(
    script(
      'for unit; do if systemctl is-active --quiet "$unit"; then printf "%s\\n" "$unit"; fi; done',
      fencedUnits,
      { purpose: 'look what cmdeploy has started' },
    ),
  );
  const running = result.stdout.toString('utf8').trim().split('\n').filter(Boolean);
  if (running.length > 0)
    await target.change(command(['systemctl', 'stop', ...running], { purpose: 'stop it' }));
}

async function movedTrees(context: MailContext): Promise<readonly string[]> {
  const { ini } = await demandRelay(context.source);
  return [...storesOf(ini), ...carriedBy(ini)];
}

function owners(context: MailContext): Step {
  const { source, target } = context;
  return {
    id: 'owners',
    title: `Check that every owner of mail on ${called(source)} exists on ${called(target)}`,
    done: async () => false,
    do: async () => {
      const wanted = await ownersOf(context, await movedTrees(context));
      const missing = await missingOwners(context, wanted);
      if (missing.length > 0)
        throw new UserError(
          `${target.label}: these owners of mail on ${called(source)} don't exist: ${missing.join(', ')}. Create them (their numbers may differ), then run this stage again. Nothing was changed`,
        );
      return `${wanted.length} owners, by name`;
    },
  };
}
