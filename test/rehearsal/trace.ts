import type { LabHost } from '../lab/lab.ts';

/**
 * What a host's mail log says of a message: the lines that name its Message-ID, and all lines of
 * every queue id that it had there. For a person who asks where a message of the account went.
 */
export async function trace(host: LabHost, messageId: string): Promise<string> {
  const { stdout } = await host.sh(script, [messageId]);
  return stdout.trim();
}

/** The traces of the first few of the account's findings on all hosts, and what is still queued. */
export async function traces(
  hosts: readonly LabHost[],
  findings: readonly { readonly messageId: string }[],
  limit = 3,
): Promise<string> {
  const parts: string[] = [];
  for (const host of hosts.filter(({ running }) => running)) {
    for (const { messageId } of findings.slice(0, limit)) {
      parts.push(`== ${host.name}: ${messageId}\n${await trace(host, messageId)}`);
    }
    const { stdout } = await host.sh('postqueue -p | tail -n 20');
    parts.push(`== ${host.name}: queue\n${stdout.trim()}`);
  }
  return parts.join('\n');
}

// The log goes through one awk: a queue id is known from its "message-id=" line on.
const script = `journalctl --no-pager -o short-precise | awk -v wanted="$1" '
  index($0, wanted) {
    print
    if (match($0, /: [0-9A-Za-z]+: message-id=/)) ids[substr($0, RSTART, index(substr($0, RSTART + 2), ":") + 2)] = 1
    next
  }
  { for (id in ids) if (index($0, id)) { print; break } }'`;
