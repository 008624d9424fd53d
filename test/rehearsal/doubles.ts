import type { LabHost } from '../lab/lab.ts';
import type { Finding } from './account.ts';
import { type LogLine, readLog } from './serving.ts';

/*
 * RFC 1047: a server that has taken a message and dies, or loses the connection, before its reply is
 * heard makes its client send the message again. No software that keeps to SMTP or LMTP can avoid
 * it, so such a copy is told apart, by the log lines of the client and of the server, and counted.
 */

/** A copy that was made twice, with the line that shows that the first reply was not heard. */
export async function explainDoubles(
  hosts: readonly LabHost[],
  doubled: readonly Finding[],
): Promise<{ readonly explained: readonly string[]; readonly rest: readonly Finding[] }> {
  const explained: string[] = [];
  const rest: Finding[] = [];
  if (doubled.length === 0) return { explained, rest };
  const logs = new Map<string, readonly LogLine[]>();
  for (const host of hosts) logs.set(host.name, await readLog(host, 0));
  for (const finding of doubled) {
    const lines = unheardReplies(logs, finding);
    if (lines.length >= finding.found - finding.expected) {
      explained.push(`${finding.messageId} in ${finding.mailbox}: ${lines.join(' | ')}`);
    } else rest.push(finding);
  }
  return { explained, rest };
}

/** One line for each transaction of the message whose server took it and whose client never knew. */
export function unheardReplies(
  logs: ReadonlyMap<string, readonly LogLine[]>,
  { messageId, mailbox }: Pick<Finding, 'messageId' | 'mailbox'>,
): readonly string[] {
  const found: string[] = [];
  for (const [host, lines] of logs) {
    const ids = queueIds(lines, messageId);
    for (const line of lines) {
      const [, id = ''] = /^([0-9A-Za-z]+): /.exec(line.text) ?? [];
      if (ids.has(id) && clientInDoubt.test(line.text)) found.push(`${host}: ${line.text}`);
    }
    found.push(...diedBeforeReply(host, lines, ids, messageId, mailbox));
  }
  return found;
}

/** Postfix's own words for a reply that was not heard after the message had been sent. */
const clientInDoubt =
  /status=deferred.*(?:sending end of data|message may be sent more than once)|may be sent more than once/;

/** Deliveries that the store has, and that Postfix had no time to note before its host died. */
function diedBeforeReply(
  host: string,
  lines: readonly LogLine[],
  ids: ReadonlySet<string>,
  messageId: string,
  mailbox: string,
): readonly string[] {
  const found: string[] = [];
  const user = mailbox.split('@')[0] ?? '';
  for (const [, ofBoot] of Map.groupBy(lines, ({ boot }) => boot)) {
    const isLastBoot = ofBoot.at(-1) === lines.at(-1);
    if (isLastBoot) continue;
    const stored = ofBoot.filter(
      ({ text }) =>
        text.includes(messageId) &&
        /^(?:lmtp|lda)\(/.test(text) &&
        text.includes(`(${user}`) &&
        /saved mail|stored mail/.test(text),
    );
    const noted = ofBoot.filter(({ text }) => {
      const [, id = ''] = /^([0-9A-Za-z]+): /.exec(text) ?? [];
      return ids.has(id) && text.includes(`to=<${user}@`) && text.includes('status=sent');
    });
    for (const line of stored.slice(noted.length)) found.push(`${host} died after: ${line.text}`);
  }
  return found;
}

function queueIds(lines: readonly LogLine[], messageId: string): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { text } of lines) {
    const [, id] = /^([0-9A-Za-z]+): message-id=(.*)$/.exec(text) ?? [];
    if (id !== undefined && text.includes(messageId)) ids.add(id);
  }
  return ids;
}
