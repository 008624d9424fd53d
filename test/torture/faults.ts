import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab, LabHost } from '../lab/lab.ts';
import { run, waitFor } from '../lab/process.ts';
import type { Fault, FaultKind } from './drawing.ts';
import { folder } from './watch.ts';

/** What a fault may do to the run of a stage that it happens in. */
export interface Victim {
  /** As if the runner's machine had gone. */
  kill(): void;
  /** As GitHub cancels a job: SIGINT, SIGTERM, SIGKILL; the post step runs. */
  cancel(): void;
  suspend(): void;
  wake(): void;
  /** Another run of the same stage, which takes over; resolves when it has ended. */
  takeOver(): Promise<void>;
  /** Resolves when the stage has ended. */
  readonly ended: Promise<void>;
}

/**
 * Makes a fault happen. Resolves when it is over and what it broke is mended, which may be long
 * after the stage has ended. False: there was nothing to break.
 */
export type Inject = (fault: Fault, lab: Lab, victim: Victim) => Promise<boolean>;

export const inject: Readonly<Record<FaultKind, Inject>> = {
  async 'runner-killed'(_fault, _lab, victim) {
    victim.kill();
    return true;
  },
  async cancelled(_fault, _lab, victim) {
    victim.cancel();
    await victim.ended;
    return true;
  },
  /** The lock's lease runs out while the runner sleeps; another run comes; then it wakes. */
  async 'runner-suspended'(fault, lab, victim) {
    victim.suspend();
    try {
      await leaseOver(lab, fault.lasts % 10 === 0);
      const other = victim.takeOver();
      await Promise.race([other, sleep(fault.lasts % 4000)]);
      victim.wake();
      await other;
    } finally {
      victim.wake();
    }
    return true;
  },
  /** Every SSH session on the host ends at once, by a reset or by the death of its sshd. */
  async 'ssh-cut'(fault, lab) {
    const host = lab.host(fault.host);
    if (!host.running) return false;
    if (fault.lasts % 2 === 0) await resetConnections(host);
    else await host.sh('pkill -KILL -f "^sshd: [a-z]+@notty" || :');
    return true;
  },
  async 'runner-link-cut'(fault, lab) {
    const host = lab.host(fault.host);
    await host.cutOffFrom('bridge');
    await sleep(fault.lasts);
    await host.reconnectTo('bridge');
    return true;
  },
  async 'hosts-link-cut'(fault, lab) {
    const [here, there] =
      fault.host === 'old' ? (['old', 'new'] as const) : (['new', 'old'] as const);
    await lab.host(here).cutOffFrom(there);
    await sleep(fault.lasts);
    await lab.host(here).reconnectTo(there);
    return true;
  },
  async 'host-crashed'(fault, lab) {
    const host = lab.host(fault.host);
    await host.powerCut();
    await sleep(fault.lasts % 3000);
    await host.boot();
    return true;
  },
  async 'host-rebooted'(fault, lab) {
    await lab.host(fault.host).reboot();
    return true;
  },
  /** What the host was told arrives and is done; what it answers does not. */
  async 'reply-lost'(fault, lab) {
    const host = lab.host(fault.host);
    await host.cutOffFrom('bridge');
    await sleep(300 + (fault.lasts % 700));
    await resetConnections(host);
    await host.reconnectTo('bridge');
    return true;
  },
  async 'disk-full'(fault, lab, victim) {
    const host = lab.host(fault.host);
    if (!host.running) return false;
    // Not `fill`, which wants the very last byte gone: something on the host may free one meanwhile.
    await host.sh('cat /dev/zero > /var/tmp/fill; sync');
    // Past the end of the stage too: what it does about its failure meets a full disk.
    await Promise.race([victim.ended, sleep(fault.lasts)]);
    await host.empty();
    return true;
  },
  async 'dns-down'(fault, lab) {
    const dns = lab.host('dns');
    await dns.powerCut();
    await sleep(fault.lasts);
    await dns.boot();
    return true;
  },
  async 'dns-late'(fault, lab) {
    const dns = lab.host('dns');
    await dns.sh('pkill -STOP named');
    await sleep(Math.min(fault.lasts, 8000));
    await dns.sh('pkill -CONT named');
    return true;
  },
  /** The limit of whatever freeze there is lies in the past, and its timer notices. */
  async 'limit-passed'(_fault, lab) {
    let any = false;
    for (const side of ['old', 'new'] as const) {
      const host = lab.host(side);
      if (!host.running) continue;
      const { stdout } = await host.sh(passLimit, [folder]);
      any ||= stdout.includes('passed');
    }
    return any;
  },
};

/** Written as hostctl writes it, and the timer brought forward: waiting would take a minute. */
const passLimit = `set -eu
[ -e "$1/frozen" ] && [ -e "$1/deadline" ] || exit 0
timer=mail-cutover-orchard-thaw.timer
[ "$(systemctl is-active "$timer")" = active ] || exit 0
printf '%s' "$(($(date +%s) - 5))" > "$1/deadline"
sed -i "s/^OnCalendar=.*/OnCalendar=$(date -u -d '+1 seconds' '+%Y-%m-%d %H:%M:%S UTC')/" "/etc/systemd/system/$timer"
systemctl daemon-reload
systemctl restart "$timer"
printf 'passed\\n'`;

/** The lease is over: by waiting for it, or by its time written back on both hosts. */
async function leaseOver(lab: Lab, really: boolean): Promise<void> {
  const hosts = (['old', 'new'] as const).map((side) => lab.host(side));
  if (!really) {
    for (const host of hosts) await host.sh(`cd ${folder}/lock 2>/dev/null && printf 0 > expires`);
    return;
  }
  await waitFor('the lease is over', 120, async () => {
    const over = await Promise.all(
      hosts.map(async (host) => {
        const { stdout } = await host.sh(
          `[ "$(cat ${folder}/lock/expires 2>/dev/null || echo 0)" -le "$(date +%s)" ] && echo over`,
        );
        return stdout.trim() === 'over';
      }),
    );
    await sleep(500);
    return over.every(Boolean);
  });
}

/** Ends TCP connections of sshd without a word that could still arrive (ss(8), -K). */
async function resetConnections(host: LabHost): Promise<void> {
  await run(['ip', 'netns', 'exec', host.name, 'ss', '-K', 'sport', '=', ':22']);
}
