import { createHash } from 'node:crypto';
import type { Migration } from '../../config/schema.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { me, movedNames, readControl } from './control.ts';

/** In the folder of the migration: what the fingerprint was before `prepare`. */
const kept = 'fingerprint';

/** A stable text of the configuration that a reviewer approves, as it was before our own edits. */
export async function fingerprint(host: MailHost, migration: Migration): Promise<string> {
  const before = await host.read(
    script('if [ -e "$1" ]; then cat "$1"; fi', [`${host.folder}/${kept}`], {
      purpose: 'look for the fingerprint from before',
    }),
  );
  return before.stdout.toString('utf8').trim() || fingerprintNow(host, migration);
}

export async function keepFingerprint(host: MailHost, migration: Migration): Promise<void> {
  await host.edit('put', [kept], {
    stdin: await fingerprint(host, migration),
    purpose: 'keep the fingerprint',
  });
}

async function fingerprintNow(host: MailHost, migration: Migration): Promise<string> {
  const control = await readControl(host, migration);
  const text = JSON.stringify([
    me(control),
    movedNames(control),
    control.files.get('rcpthosts') ?? null,
    control.files.get('morercpthosts') ?? null,
  ]);
  return createHash('sha256').update(text).digest('hex');
}
