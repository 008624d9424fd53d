import { randomUUID } from 'node:crypto';

/** A message of the rehearsal: what is needed to make its bytes again for every attempt. */
export interface OutgoingMessage {
  /** With its angle brackets, unique in the world. */
  readonly messageId: string;
  readonly from: string;
  readonly recipients: readonly string[];
  readonly subject: string;
  /** Bytes of body, about. */
  readonly size: number;
}

export function newMessageId(domain: string): string {
  return `<${randomUUID()}@${domain}>`;
}

/** The bytes that go after DATA: header and a body of printable lines, CRLF throughout. */
export function render(message: OutgoingMessage, now = new Date()): Buffer {
  const header = [
    `Message-ID: ${message.messageId}`,
    `Date: ${now.toUTCString().replace('GMT', '+0000')}`,
    `From: <${message.from}>`,
    `To: ${message.recipients.map((recipient) => `<${recipient}>`).join(', ')}`,
    `Subject: ${message.subject}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    '',
  ].join('\r\n');
  return Buffer.concat([Buffer.from(header), filler(message.size)]);
}

const line = Buffer.from(
  `${'The quick brown fox jumps over the lazy dog. '.repeat(2).slice(0, 76)}\r\n`,
);

function filler(size: number): Buffer {
  const lines = Math.max(1, Math.ceil(size / line.length));
  return Buffer.alloc(lines * line.length, line);
}
