import { script } from './command.ts';
import type { MailHost } from './mail-host.ts';

/**
 * Whether a mark of ours stands on the host: a file in the folder of the migration that is there or not,
 * such as `frozen`, `released`, `owner`.
 */
export async function has(host: MailHost, name: string): Promise<boolean> {
  const result = await host.read(
    script('[ -e "$1" ]', [`${host.folder}/${name}`], {
      allow: [0, 1],
      purpose: `look for ${name}`,
    }),
  );
  return result.code === 0;
}

/** Sets a mark, with the time in it. */
export async function mark(host: MailHost, name: string): Promise<void> {
  await host.edit('put', [name], { stdin: new Date().toISOString(), purpose: `note ${name}` });
}

/** Takes a mark away; one that is not there is no fault. */
export async function unmark(host: MailHost, name: string): Promise<void> {
  await host.edit('remove', [name], { purpose: `forget ${name}` });
}
