import type { UidChange } from './evidence.ts';
import type { Snapshot } from './store.ts';

/**
 * Compares what the UID lists said in the freeze with what they say at the end. Every file that had
 * a UID and is still in its folder must have the same one, under the same UIDVALIDITY; else mail
 * programs fetch it again or take one message for another (RFC 9051 section 2.3.1.1).
 */
export function compareUidLists(before: Snapshot, after: Snapshot): readonly UidChange[] {
  const now = new Map(after.folders.map((folder) => [key(folder), folder]));
  const files = Map.groupBy(after.messages, key);
  const changes: UidChange[] = [];
  for (const was of before.folders) {
    const { mailbox, folder } = was;
    const is = now.get(key(was));
    const there = new Set(files.get(key(was))?.map(({ base }) => base));
    const differs = (what: string, from: string, to: string) =>
      changes.push({ mailbox, folder, what, before: from, after: to, seenBy: 'uidlist' });
    if (!is) {
      differs('UIDVALIDITY', String(was.uidValidity), 'no UID list');
      continue;
    }
    if (is.uidValidity !== was.uidValidity) {
      differs('UIDVALIDITY', String(was.uidValidity), String(is.uidValidity));
    }
    for (const [base, uid] of was.uids) {
      const newUid = is.uids.get(base);
      if (newUid === uid || (newUid === undefined && !there.has(base))) continue;
      differs(base, String(uid), newUid === undefined ? 'none' : String(newUid));
    }
  }
  return changes;
}

function key({ mailbox, folder }: { mailbox: string; folder: string }): string {
  return `${mailbox}\n${folder}`;
}
