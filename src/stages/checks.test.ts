import { expect, it } from 'vitest';
import type { MailHost } from '../hosts/mail-host.ts';
import { rootLogin } from './checks.ts';

/** A host whose sshd says this of itself. */
function host(label: string, says: string): MailHost {
  return { label, read: async () => ({ stdout: Buffer.from(says) }) } as unknown as MailHost;
}

async function found(old: string, target: string) {
  const hosts = { old: host('OLD', `port 22\n${old}\n`), new: host('NEW', `port 22\n${target}\n`) };
  return (await rootLogin(hosts)).map(({ severity, text }) => `${severity}: ${text.slice(0, 45)}`);
}

const no = 'permitrootlogin no';
const byKey = 'permitrootlogin without-password';

it('NEW has to let root in by a key; OLD had better', async () => {
  expect(await found(byKey, byKey)).toEqual([]);
  expect(await found('', '')).toEqual([]);
  expect(await found(no, byKey)).toEqual(['warns: OLD: sshd lets root in by no key (PermitRootL']);
  expect(await found(byKey, no)).toEqual(['blocks: NEW: sshd lets root in by no key (PermitRootL']);
});
