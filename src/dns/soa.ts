/**
 * The data of a reply's SOA record as it is on the wire, in the text that zone files have for any data
 * (RFC 3597 section 5). `dns-packet` decodes it too, but not so that it could be written again: a dot
 * within the first label of the mailbox (RFC 1035 section 8) looks like one between labels.
 */
export function soaData(reply: Buffer): string | undefined {
  let at = headerLength;
  for (let left = reply.readUInt16BE(4); left > 0; left -= 1) at = nameAt(reply, at).end + 4;
  for (let left = reply.readUInt16BE(6); left > 0; left -= 1) {
    const { end } = nameAt(reply, at);
    const data = end + 10;
    if (reply.readUInt16BE(end) === soaType) return anyData(wholeData(reply, data));
    at = data + reply.readUInt16BE(data - 2);
  }
  return undefined;
}

const headerLength = 12;
const soaType = 6;
/** Serial, refresh, retry, expire and minimum (RFC 1035 section 3.3.13). */
const numbersLength = 20;
const mostPointers = 64;

/** Both names in full, since pointers mean nothing elsewhere, and the numbers. */
function wholeData(reply: Buffer, at: number): Buffer {
  const server = nameAt(reply, at);
  const mailbox = nameAt(reply, server.end);
  const numbers = reply.subarray(mailbox.end, mailbox.end + numbersLength);
  return Buffer.concat([server.name, mailbox.name, numbers]);
}

function anyData(data: Buffer): string {
  return `\\# ${data.length} ${data.toString('hex')}`;
}

/** A name in full, and where it ends; it may be continued elsewhere (RFC 1035 section 4.1.4). */
function nameAt(reply: Buffer, start: number): { readonly name: Buffer; readonly end: number } {
  const labels: Buffer[] = [];
  let end: number | undefined;
  let pointers = 0;
  for (let at = start; ; ) {
    const length = reply.readUInt8(at);
    if (length >= 0xc0) {
      end ??= at + 2;
      pointers += 1;
      if (pointers > mostPointers) throw new RangeError('a name in a DNS reply that has no end');
      at = reply.readUInt16BE(at) & 0x3fff;
      continue;
    }
    labels.push(reply.subarray(at, at + 1 + length));
    at += 1 + length;
    if (length === 0) return { name: Buffer.concat(labels), end: end ?? at };
  }
}
