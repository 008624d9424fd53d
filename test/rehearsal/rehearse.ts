import { prompt } from '../lab/prompt.ts';
import type { Account } from './account.ts';
import { help, rehearsalOptions } from './options.ts';
import { showProgress } from './progress.ts';
import { killedAt, type Rehearsal, rehearse } from './run.ts';

/*
 * The main job: `npm run rehearse`. Runs inside the lab's namespaces (test/lab/with-lab.ts).
 */

const began = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  process.stderr.write(`${seconds}  ${line}\n`);
}

/** The account in a few lines; what is wrong is named, up to ten of each kind. */
function show(rehearsal: Rehearsal, account: Account): void {
  const faults = ['lost', 'doubled', 'bounced', 'uidChanges'] as const;
  say('');
  for (const name of [
    ...['sent', 'delivered', 'lost', 'doubled', 'bounced', 'uidChanges'],
    ...['heldInOldQueue', 'reachedNewByDns', 'smtpRefusedSeconds', 'downtimeSeconds'],
  ] as const) {
    say(`${name.padEnd(20)}${String(rehearsal[name as keyof Rehearsal])}`);
  }
  for (const [name, count] of Object.entries(rehearsal.looks)) say(`${name.padEnd(20)}${count}`);
  const { max, median } = rehearsal.imapAwaySeconds;
  say(`${'imapAwaySeconds'.padEnd(20)}${max} at most, ${median} in the middle`);
  for (const fault of faults) {
    for (const found of account[fault].slice(0, 10)) say(`${fault}: ${JSON.stringify(found)}`);
  }
  if (rehearsal.options.kill) say(killedAt(rehearsal.killed));
  for (const line of rehearsal.faults) say(line);
  say(rehearsal.clean ? 'the account is clean' : 'THE ACCOUNT IS NOT CLEAN');
}

try {
  const options = rehearsalOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(help);
  } else {
    const { rehearsal, account } = await rehearse(options, say, showProgress, async (lab) => {
      if (options.keep) await prompt(lab);
    });
    show(rehearsal, account);
    process.exitCode = rehearsal.clean ? 0 : 1;
  }
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
