/**
 * Bytes of the world outside (a path, a line that a program wrote) as text for one line of a log:
 * UTF-8 stays as it is; control characters and bytes that are no UTF-8 become `\x..`.
 */
export function printable(bytes: Buffer | string): string {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  const text = buffer.toString('utf8');
  const isText = Buffer.from(text).equals(buffer);
  return (isText ? text : invalidEscaped(buffer)).replace(/\p{C}|[\u2028\u2029]/gu, (character) =>
    [...Buffer.from(character)].map(escaped).join(''),
  );
}

/** Byte sequences of UTF-8 (RFC 3629 section 4), or one byte that is none, seen as latin1. */
const sequence =
  /[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\x80-\xff]/g;

function invalidEscaped(buffer: Buffer): string {
  const text = buffer
    .toString('latin1')
    .replace(sequence, (bytes) => (bytes.length > 1 ? bytes : `\\x${hex(bytes.charCodeAt(0))}`));
  return Buffer.from(text, 'latin1').toString('utf8');
}

function escaped(byte: number): string {
  return byte === 0x0a ? '\\n' : `\\x${hex(byte)}`;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
