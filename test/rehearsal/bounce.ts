import { type Head, messageIdOf, parseHead } from './head.ts';

/** What a non-delivery report says (RFC 3464). */
export interface BounceReport {
  /** Of the message that was not delivered; undefined when the report does not return its header. */
  readonly messageId: string | undefined;
  readonly recipient: string;
  readonly diagnostic: string;
}

/** Whether a message is a delivery status report, of whatever outcome (RFC 6522). */
export function isReport(head: Head): boolean {
  const type = head.get('content-type')?.toLowerCase() ?? '';
  return type.startsWith('multipart/report') && type.includes('delivery-status');
}

/**
 * The failures that a delivery status report names: one for each recipient with `Action: failed`.
 * Reports of delay, relay or success name none.
 */
export function parseBounces(report: Buffer): readonly BounceReport[] {
  const text = report.toString('latin1').replaceAll('\r\n', '\n');
  const status = partOfType(text, 'message/delivery-status');
  if (status === undefined) return [];
  const returned = partOfType(text, 'message/rfc822') ?? partOfType(text, 'text/rfc822-headers');
  const messageId =
    returned === undefined ? undefined : messageIdOf(parseHead(Buffer.from(returned, 'latin1')));
  return status
    .split(/\n{2,}/)
    .map((block) => parseHead(Buffer.from(block, 'latin1')))
    .filter((fields) => fields.get('action')?.toLowerCase() === 'failed')
    .map((fields) => ({
      messageId,
      recipient: addressIn(fields.get('original-recipient') ?? fields.get('final-recipient') ?? ''),
      diagnostic: fields.get('diagnostic-code') ?? fields.get('status') ?? '',
    }));
}

/** The body of the first MIME part with that type, by its own header; boundary lines end it. */
function partOfType(text: string, type: string): string | undefined {
  const boundary = text.match(/boundary="?([^"\n;]+)"?/i)?.[1];
  if (boundary === undefined) return undefined;
  for (const part of text.split(`\n--${boundary}`).slice(1)) {
    const start = part.indexOf('\n');
    const end = part.indexOf('\n\n', start);
    if (end < 0) continue;
    const head = parseHead(Buffer.from(part.slice(start + 1, end), 'latin1'));
    if (head.get('content-type')?.toLowerCase().startsWith(type)) return part.slice(end + 2);
  }
  return undefined;
}

/** `rfc822; someone@example.org` to the address. */
function addressIn(field: string): string {
  return field
    .slice(field.indexOf(';') + 1)
    .trim()
    .replace(/^<|>$/g, '')
    .toLowerCase();
}
