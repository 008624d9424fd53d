import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';

/** Whether a mark of ours stands on the host. */
export async function has(host: MailHost, name: string): Promise<boolean> {
  const result = await host.read(
    script('[ -e "$1" ]', [`${host.folder}/${name}`], {
      allow: [0, 1],
      purpose: `look for ${name}`,
    }),
  );
  return result.code === 0;
}

export async function mark(host: MailHost, name: string): Promise<void> {
  await host.edit('put', [name], { stdin: new Date().toISOString(), purpose: `note ${name}` });
}

export async function unmark(host: MailHost, name: string): Promise<void> {
  await host.edit('remove', [name], { purpose: `forget ${name}` });
}
