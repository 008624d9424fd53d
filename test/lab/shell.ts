/**
 * node test/lab/with-lab.ts node test/lab/shell.ts [--mailboxes N] [--messages N] [--dns bind|knot]
 *
 * Boots the lab with two mail servers and leaves it up with a shell.
 */
import { parseArgs } from 'node:util';
import { startMailLab } from './profile-postfix-dovecot.ts';
import { prompt } from './prompt.ts';

const { values } = parseArgs({
  options: {
    mailboxes: { type: 'string', default: '300' },
    messages: { type: 'string', default: '60' },
    dns: { type: 'string', default: 'bind' },
  },
});

const { lab } = await startMailLab({
  dnsServer: values.dns === 'knot' ? 'knot' : 'bind',
  mailboxes: Number(values.mailboxes),
  messagesPerMailbox: Number(values.messages),
});
try {
  process.exitCode = await prompt(lab);
} finally {
  await lab.stop();
}
