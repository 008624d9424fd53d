import { createHash } from 'node:crypto';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { qmailProgram } from './host-program.ts';

const digest = createHash('sha256').update(qmailProgram).digest('hex');

/** qmail-send(8) may take as long to end as the slowest delivery that is under way. */
const longest = 1400;

/** Runs a word of the host program that changes nothing; works where it is not installed. */
export async function ask(host: MailHost, ...words: readonly string[]): Promise<string> {
  const result = await host.read(
    command(['env', `MAIL_CUTOVER_BASE=${host.folder}`, 'sh', '-s', '--', ...words], {
      stdin: qmailProgram,
      purpose: `look at qmail (${words[0]})`,
    }),
  );
  return result.stdout.toString('utf8').trim();
}

/** Runs a word of the host program that changes the host, under the lock. */
export async function tell(
  host: MailHost,
  words: readonly string[],
  stdin?: string,
): Promise<string> {
  await install(host);
  const result = await host.change(
    command([`${host.folder}/bin/qmailctl`, ...words], {
      purpose: `qmail: ${words.join(' ')}`,
      timeout: longest,
      ...(stdin === undefined ? {} : { stdin }),
    }),
  );
  return result.stdout.toString('utf8').trim();
}

const installed = new WeakSet<MailHost>();

/** Puts the program in place, if it is not there as it should be. */
async function install(host: MailHost): Promise<void> {
  if (installed.has(host)) return;
  await host.change(
    script(
      `umask 077
       bin=$1/bin
       if [ "$(sha256sum < "$bin/qmailctl" 2>/dev/null | cut -d' ' -f1)" = "$2" ]; then exit 0; fi
       cat > "$bin/.qmailctl.$$"
       chmod 700 "$bin/.qmailctl.$$"
       mv -f "$bin/.qmailctl.$$" "$bin/qmailctl"`,
      [host.folder, digest],
      { stdin: qmailProgram, purpose: 'install qmailctl' },
    ),
  );
  installed.add(host);
}
