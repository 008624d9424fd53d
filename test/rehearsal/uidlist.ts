/** What a `dovecot-uidlist` says about a folder. */
export interface UidList {
  readonly uidValidity: number;
  /** Base name of the file (what stands before ":2,") to its UID. */
  readonly uids: ReadonlyMap<string, number>;
}

/**
 * Parses a `dovecot-uidlist`, version 3 ("3 V<uidvalidity> N<next uid> …", then
 * "<uid> <fields> :<file name>") and version 1 ("1 <uidvalidity> <next uid>", then "<uid> <file name>").
 */
export function parseUidList(text: string): UidList {
  const [header = '', ...lines] = text.split('\n');
  const [version, ...fields] = header.split(' ');
  if (version !== '1' && version !== '3') {
    throw new Error(`unknown version of dovecot-uidlist: ${header.slice(0, 40)}`);
  }
  const validity =
    version === '1' ? fields[0] : fields.find((field) => field.startsWith('V'))?.slice(1);
  const uidValidity = Number(validity);
  if (!Number.isInteger(uidValidity)) throw new Error(`no UIDVALIDITY in "${header}"`);
  const uids = new Map<string, number>();
  for (const line of lines) {
    const space = line.indexOf(' ');
    const name = version === '1' ? space : line.indexOf(' :', space - 1) + 1;
    const uid = Number(line.slice(0, space));
    if (space < 1 || name < 1 || !Number.isInteger(uid)) continue;
    uids.set(baseName(line.slice(name + 1)), uid);
  }
  return { uidValidity, uids };
}

/** The part of a Maildir file name that stays for the life of the message. */
export function baseName(fileName: string): string {
  const info = fileName.indexOf(':');
  return info < 0 ? fileName : fileName.slice(0, info);
}

/** The flag letters of a Maildir file name, sorted; keywords are small letters. */
export function flagLetters(fileName: string): string {
  const info = fileName.indexOf(':2,');
  return info < 0 ? '' : [...fileName.slice(info + 3)].sort().join('');
}
