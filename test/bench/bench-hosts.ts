import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Lock, takeLock } from '../../src/engine/lock.ts';
import { MailHost } from '../../src/hosts/mail-host.ts';
import { migrationFiles } from '../../src/hosts/migration-files.ts';
import { demandEqual } from '../../src/transfer/manifest.ts';
import { finalPass, passAndHold, transferPass } from '../../src/transfer/pass.ts';
import type { Lab } from '../lab/lab.ts';
import type { BenchDisk } from './bench-disk.ts';

const migration = 'bench';
export const store = '/srv/store';

/** Other work of the machine must not end a measurement. */
const patience = { timeout: 7200 };

/** Boots both hosts with these disks as `/srv`. */
export async function withDisks<T>(
  lab: Lab,
  disks: { readonly old: BenchDisk; readonly new: BenchDisk },
  work: () => Promise<T>,
): Promise<T> {
  const all = lab.hosts.map((host) => ({ host, disk: disks[host.name as 'old' | 'new'] }));
  try {
    for (const { host, disk } of all) {
      await host.renew();
      await disk.mount(join(host.root, 'srv'));
    }
    await lab.bootAll();
    return await work();
  } finally {
    for (const { host } of all) if (host.running) await host.powerCut();
    for (const { disk } of all) await disk.release();
  }
}

/** OLD and NEW, ours and the commands that people use, and how long each takes. */
export class BenchHosts {
  readonly #lab: Lab;
  readonly #source: MailHost;
  readonly #target: MailHost;
  readonly #isCold: boolean;
  /** Milliseconds there and back. */
  readonly #rtt: number;
  #relay: ChildProcess | undefined;

  constructor(lab: Lab, isCold: boolean, rtt: number) {
    this.#lab = lab;
    this.#isCold = isCold;
    this.#rtt = rtt;
    this.#source = this.#mailHost('old', 22, 'old');
    // A relay that makes the way long stands on OLD.
    this.#target = rtt === 0 ? this.#mailHost('new', 22, 'new') : this.#mailHost('new', far, 'old');
  }

  async open(): Promise<Lock> {
    const [old, target] = [this.#lab.host('old'), this.#lab.host('new')];
    if (this.#rtt > 0) this.#relay = await relay(this.#rtt / 2, target.address);
    const hosts = [this.#source, this.#target];
    for (const host of hosts) await host.install();
    const { stdout } = await old.sh(
      `ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench && cat /root/.ssh/bench.pub
       printf 'Host new\\nHostName %s\\nPort %s\\nIdentityFile /root/.ssh/bench\\nStrictHostKeyChecking accept-new\\n' "$1" "$2" > /root/.ssh/config`,
      [this.#target.address, String(this.#port)],
    );
    await target.mustSh('printf "%s\\n" "$1" >> /root/.ssh/authorized_keys', [stdout.trim()]);
    await old.mustSh('ssh new true 2>/dev/null');
    return takeLock(hosts.map(migrationFiles), 'bench');
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.close(), this.#target.close()]);
    this.#relay?.kill();
  }

  get #port(): number {
    return this.#rtt === 0 ? 22 : far;
  }

  /** Seconds of one pass of ours, as a stage runs it: key, connection, copy, sync, key removed. */
  ours(live: boolean): Promise<number> {
    return this.#pass(() => transferPass({ ...this.#options(), live }));
  }

  /** A live pass that leaves a connection open. */
  hold(): Promise<number> {
    return this.#pass(() => passAndHold({ ...this.#options(), live: true }));
  }

  /** Seconds of a final pass over the connection that is held open. */
  held(): Promise<number> {
    return this.#pass(() => finalPass(this.#options()));
  }

  #forgetCaches(): void {
    if (this.#isCold) writeFileSync('/proc/sys/vm/drop_caches', '3');
  }

  #pass(work: () => Promise<string>): Promise<number> {
    this.#forgetCaches();
    return seconds(async () => console.log(`  ${await work()}`));
  }

  #options() {
    return {
      source: this.#source,
      target: this.#target,
      migration,
      items: [{ path: store, kind: 'directory' as const }],
      stores: [store],
      live: false,
      log: (line: string) => console.log(`  ${line}`),
    };
  }

  compare(): Promise<number> {
    this.#forgetCaches();
    return seconds(() => demandEqual(this.#source, this.#target, [store], 'names'));
  }

  /** Seconds of a command on OLD, in its shell, with the sync that ours has in it too. */
  theirs(text: string): Promise<number> {
    this.#forgetCaches();
    return seconds(async () => {
      await this.run(text);
      await this.onTarget('sync -f /srv');
    });
  }

  /** Seconds of a command on NEW alone. */
  onTargetAlone(text: string): Promise<number> {
    this.#forgetCaches();
    return seconds(() => this.onTarget(text));
  }

  run(text: string, args: readonly string[] = []): Promise<string> {
    return this.#lab.host('old').mustSh(text, args, patience);
  }

  onTarget(text: string): Promise<string> {
    return this.#lab.host('new').mustSh(text, [], patience);
  }

  #mailHost(role: 'old' | 'new', port: number, reached: 'old' | 'new'): MailHost {
    const { hostKeys } = this.#lab.host(role);
    const { address } = this.#lab.host(reached);
    const config = { address, port, user: 'root', 'host-keys': [...hostKeys] };
    return new MailHost(role, config, migration, { key: this.#lab.sshKey.text });
  }
}

/** Port of the relay. */
const far = 2222;

/** On OLD: whatever comes to it goes on to NEW's sshd, and the answers back, each so much later. */
async function relay(milliseconds: number, address: string): Promise<ChildProcess> {
  const program = join(import.meta.dirname, 'relay.ts');
  const words = ['netns', 'exec', 'old', process.execPath, program];
  const child = spawn('ip', [...words, String(far), address, String(milliseconds)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}
