import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../errors.ts';
import type { MailHost } from '../../hosts/mail-host.ts';

/** Looks again and again until nothing is in the way. */
export async function until(
  host: MailHost,
  look: () => Promise<string>,
  options: { readonly seconds: number; readonly what: string; readonly cure: string },
): Promise<void> {
  const end = performance.now() + options.seconds * 1000;
  for (;;) {
    const left = await look();
    if (left === '') return;
    if (performance.now() > end)
      throw new UserError(
        `${host.label}: not so after ${options.seconds} s: ${options.what}. Still there: ${left.split('\n').slice(0, 5).join(', ')}. ${options.cure}`,
      );
    await sleep(200);
  }
}
