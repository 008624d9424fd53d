import { UserError } from '../../errors.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext } from '../mail-system.ts';
import { mailLocation, readDovecot } from './dovecot.ts';

/**
 * Indexes, caches and logs of Dovecot, which a later version may write in a way that an earlier one can't
 * read. Of a Maildir they are made anew; UIDs, keywords and subscriptions lie in files of their own.
 */
const indexes = ['dovecot.index*', 'dovecot.list.index*', 'dovecot.mailbox.log*'];

/** Formats whose flags are nowhere but in the index. */
const bound = /^(?:mdbox|sdbox|dbox):/;

/** See `MailSystem.unreadable`. Versions are compared by their series, 2.3 or 2.4. */
export async function unreadable({ source, target }: MailContext): Promise<readonly string[]> {
  const [there, here] = await Promise.all([series(source), series(target)]);
  if (there === here) return [];
  const dovecot = await readDovecot(target);
  const location = dovecot ? mailLocation(dovecot) : '';
  if (bound.test(location))
    throw new UserError(
      `${called(source)} runs Dovecot ${there} and ${called(target)} ${here}, which can't read the indexes of the former; in ${location.split(':')[0]} flags are nowhere else, so the way back would lose them. Upgrade Dovecot on ${called(target)}, then run this stage again. Nothing was changed`,
    );
  return indexes;
}

async function series(host: MailHost): Promise<string> {
  const result = await host.read(
    script('dovecot --version 2>/dev/null || :', [], { purpose: 'read the version of Dovecot' }),
  );
  return /^\d+\.\d+/.exec(result.stdout.toString('utf8'))?.[0] ?? '';
}
