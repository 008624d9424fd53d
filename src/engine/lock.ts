import { UserError } from '../errors.ts';
import type { HostFiles, LockOptions } from './host-files.ts';

/** Seconds until a lock that nobody renews may be taken over; renewed three times as often. */
const leaseSeconds = 90;

/** The lock of this run, on both hosts. */
export interface Lock {
  readonly number: number;
  release(): Promise<void>;
}

/**
 * Takes the lock on both hosts, OLD first, under one number that is larger than any before on
 * either. A second run is refused at once, naming the first; with `force` it takes the lock over, and
 * the first can change nothing any more, dead or not: the hosts refuse its number. With `keepsPasses` a
 * live pass of an earlier run goes on under the new number, for who takes the lock to adopt or end.
 */
export async function takeLock(
  hosts: readonly HostFiles[],
  holder: string,
  how: LockOptions = {},
): Promise<Lock> {
  const taken = new Map<HostFiles, number>();
  const release = async () => {
    await Promise.allSettled([...taken].map(([host, own]) => host.releaseLock(own)));
  };
  let number = 0;
  try {
    for (const host of hosts) {
      number = await takeOn(host, holder, number, how);
      taken.set(host, number);
    }
    for (const [host, own] of taken) {
      // The holder takes its own lock again, so that both hosts know the same number.
      if (own < number)
        taken.set(host, await takeOn(host, holder, number, { ...how, force: false }));
    }
  } catch (error) {
    await release();
    throw error;
  }
  for (const host of hosts) host.holdLock(number);
  let renewed: Promise<unknown> = Promise.resolve();
  const renewal = setInterval(
    () => {
      // A renewal that fails does no harm: the guard on the host has the last word.
      renewed = Promise.allSettled(hosts.map((host) => host.renewLock(number, leaseSeconds)));
    },
    (leaseSeconds * 1000) / 3,
  );
  renewal.unref();
  return {
    number,
    async release() {
      clearInterval(renewal);
      // One that came after the release would hold the lock for nobody.
      await renewed;
      await release();
      for (const host of hosts) host.holdLock(undefined);
    },
  };
}

async function takeOn(
  host: HostFiles,
  holder: string,
  minimum: number,
  how: LockOptions,
): Promise<number> {
  const answer = await host.takeLock(holder, leaseSeconds, minimum, how);
  if ('number' in answer) return answer.number;
  throw new UserError(
    `${host.label}: ${answer.heldBy} is at work on this migration. Wait until it has ended; if it died, its lock ends by itself within ${leaseSeconds} s, or at once with force-unlock: true`,
  );
}
