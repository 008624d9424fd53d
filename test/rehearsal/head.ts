/** The header fields of a message that the account needs. Field names in lower case; first one wins. */
export type Head = ReadonlyMap<string, string>;

/** Parses the header of a message from its first bytes (RFC 5322 section 2.2, unfolded). */
export function parseHead(start: Buffer): Head {
  const text = start.toString('latin1').replaceAll('\r\n', '\n');
  const end = text.indexOf('\n\n');
  const lines = (end < 0 ? text : text.slice(0, end)).replace(/\n[ \t]+/g, ' ').split('\n');
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).trim().toLowerCase();
    if (!fields.has(name)) fields.set(name, line.slice(colon + 1).trim());
  }
  return fields;
}

/** The Message-ID with its angle brackets; undefined where there is none. */
export function messageIdOf(head: Head): string | undefined {
  return head.get('message-id')?.match(/<[^<>\s]+>/)?.[0];
}
