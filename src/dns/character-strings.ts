/** The character-strings of TXT and CAA records (RFC 1035 sections 3.3 and 5.1). */

const longest = 255;

/**
 * Strings of text: those in double quotes, with spaces between; or the whole text as one string
 * where it does not begin with a quote, as the forms of DNS providers take it. A string over 255
 * bytes, such as a DKIM key, is cut into pieces of 255. `undefined` where quotes or escapes are wrong.
 */
export function parseCharacterStrings(text: string): Buffer[] | undefined {
  if (!text.startsWith('"')) return cut(Buffer.from(text));
  const quoted = /"((?:[^"\\]|\\.)*)"(?:\s+|$)/suy;
  const strings: Buffer[] = [];
  while (quoted.lastIndex < text.length) {
    const match = quoted.exec(text);
    const bytes = match && bytesOf(match[1] ?? '');
    if (!bytes) return undefined;
    strings.push(...cut(bytes));
  }
  return strings;
}

/** One string in double quotes; every byte outside printable ASCII as `\DDD`, so always one line. */
export function quoteCharacterString(bytes: Buffer): string {
  const text = [...bytes].map((byte) => {
    const char = String.fromCharCode(byte);
    if (char === '"' || char === '\\') return `\\${char}`;
    return byte < 0x20 || byte > 0x7e ? `\\${String(byte).padStart(3, '0')}` : char;
  });
  return `"${text.join('')}"`;
}

function bytesOf(text: string): Buffer | undefined {
  const parts: Buffer[] = [];
  for (const [whole, code] of text.matchAll(/\\(\d{3}|[^\d])|[^\\]+|\\/gsu)) {
    if (whole === '\\') return undefined;
    if (code === undefined) parts.push(Buffer.from(whole));
    else if (code.length !== 3 || !/^\d{3}$/.test(code)) parts.push(Buffer.from(code));
    else if (Number(code) > 255) return undefined;
    else parts.push(Buffer.from([Number(code)]));
  }
  return Buffer.concat(parts);
}

function cut(bytes: Buffer): Buffer[] {
  if (bytes.length <= longest) return [bytes];
  return [bytes.subarray(0, longest), ...cut(bytes.subarray(longest))];
}
