import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Cable } from './cable.ts';
import { Container, prepareConsole } from './container.ts';
import { ensureHostKeys, hostKeyFingerprints } from './identity.ts';
import { Disk } from './overlay.ts';
import { mustRun, type Output, type RunOptions, run, waitFor } from './process.ts';
import { network } from './world.ts';

export type HostName = 'old' | 'new' | 'dns' | 'resolver';

export interface BootOptions {
  /** Start from a fresh disk over this snapshot (`snapshot(name)`), or over the bare image (''). */
  readonly layer?: string;
  /** Start from a fresh disk of this size, as tmpfs takes it ("64m"). */
  readonly disk?: string;
}

/** How a host is made; the lab's own. */
export interface HostSetup {
  readonly folder: string;
  readonly base: string;
  readonly program: 'systemd' | readonly string[];
  /** Public key that may log in as root, admin and operator. */
  readonly authorizedKey: string;
  /** Writes files of this host's own into its fresh, mounted, unbooted disk. */
  readonly furnish: (root: string) => Promise<void> | void;
  /** Resolves once the program answers; systemd hosts wait for their units and sshd. */
  readonly ready?: () => Promise<void>;
  /** Snapshots by name, shared by all hosts of the lab. */
  readonly snapshots: Map<string, readonly string[]>;
}

/** One host of the lab. Every method ends when what it says is so. */
export class LabHost {
  readonly name: HostName;
  readonly address: string;
  readonly address6: string;
  /** SHA256 fingerprints of its SSH host keys: ed25519, ecdsa, rsa. The same in every run. */
  readonly hostKeys: readonly string[];
  readonly #setup: HostSetup;
  readonly #disk: Disk;
  readonly #cable: Cable;
  readonly #container: Container;
  readonly #keys: string;
  #layers: readonly string[] = [];

  private constructor(name: HostName, setup: HostSetup, keys: string) {
    this.name = name;
    this.address = network[name].v4;
    this.address6 = network[name].v6;
    this.#setup = setup;
    this.#keys = keys;
    this.hostKeys = hostKeyFingerprints(keys);
    mkdirSync(setup.folder, { recursive: true });
    this.#disk = new Disk(setup.folder, setup.base);
    this.#cable = new Cable(name, this.address, this.address6);
    this.#container = new Container({
      name,
      root: this.#disk.root,
      namespace: this.#cable.namespace,
      consoleLog: this.consoleLog,
      program: setup.program,
    });
    prepareConsole(this.consoleLog);
  }

  /** Lays the cable; the host is off and its disk is fresh. */
  static async make(name: HostName, setup: HostSetup): Promise<LabHost> {
    const host = new LabHost(name, setup, await ensureHostKeys(name));
    await host.#cable.lay();
    return host;
  }

  /** Path of its file system as the caller sees it, while mounted (running, or after `renew`). */
  get root(): string {
    return this.#disk.root;
  }

  get consoleLog(): string {
    return join(this.#setup.folder, 'console.log');
  }

  get running(): boolean {
    return this.#container.running;
  }

  /** The bridge's end of its cable, for `tc`. */
  get port(): string {
    return this.#cable.port;
  }

  /** Sets what `reset` and the first boot start from: paths of layers, the newest first. */
  set layers(layers: readonly string[]) {
    this.#layers = layers;
  }

  get layers(): readonly string[] {
    return this.#layers;
  }

  /** A fresh disk, mounted and furnished but not booted. The host must be off. */
  async renew(size?: string): Promise<void> {
    if (this.running) throw new Error(`host ${this.name} is running`);
    await this.#disk.renew(this.#layers, size);
    await this.#personalize();
    await this.#setup.furnish(this.root);
  }

  async #personalize(): Promise<void> {
    const write = (path: string, text: string) => writeFileSync(join(this.root, path), text);
    write('etc/hostname', `${this.name}\n`);
    write('etc/hosts', `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${this.name}\n`);
    write('etc/machine-id', `${createHash('md5').update(this.name).digest('hex')}\n`);
    write('etc/resolv.conf', `nameserver ${network.resolver.v4}\noptions timeout:2 attempts:2\n`);
    cpSync(this.#keys, join(this.root, 'etc/ssh'), { recursive: true });
    if (this.#setup.program === 'systemd') await this.#authorize();
  }

  async #authorize(): Promise<void> {
    const homes = { root: '/root', admin: '/home/admin', operator: '/home/operator' };
    for (const [user, home] of Object.entries(homes)) {
      const script = `umask 077; mkdir -p "$2/.ssh"; cat >"$2/.ssh/authorized_keys"; chown -R $1: "$2/.ssh"`;
      const argv = ['chroot', this.root, 'sh', '-euc', script, 'sh', user, home];
      await mustRun(argv, { stdin: `${this.#setup.authorizedKey}\n` });
    }
  }

  /** Starts it: with the disk as it was, or with a fresh one if an option says so. */
  async boot(options: BootOptions = {}): Promise<void> {
    if (options.layer !== undefined) this.#layers = this.#snapshot(options.layer);
    const isFresh = options.layer !== undefined || options.disk !== undefined;
    if (isFresh || !this.#disk.mounted) await this.renew(options.disk);
    this.#container.start();
    await this.waitUntilUp();
  }

  #snapshot(name: string): readonly string[] {
    if (name === '') return [];
    const layers = this.#setup.snapshots.get(name);
    if (layers === undefined) throw new Error(`no snapshot is named "${name}"`);
    return layers;
  }

  /** Waits until all units are started and sshd answers; also after a reboot by someone else. */
  async waitUntilUp(): Promise<void> {
    try {
      await (this.#setup.ready ?? (() => this.#unitsReady()))();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${reason}; ${this.#container.lastWords()}`, { cause: error });
    }
  }

  async #unitsReady(): Promise<void> {
    await this.#container.waitForInit();
    await waitFor(`units of host ${this.name}`, 90, async () => {
      if (!this.running) throw new Error(`host ${this.name} ended`);
      const { stdout } = await this.sh('systemctl is-system-running --wait');
      return ['running', 'degraded'].includes(stdout.trim());
    });
    await waitFor(`sshd of host ${this.name}`, 30, async () => {
      const { stdout } = await this.sh('ss -Hltn "sport = :22"');
      return stdout !== '';
    });
  }

  /**
   * Runs shell text as root inside, with `args` as $1, $2 …, without SSH or network: works also
   * while the host is cut off.
   */
  async sh(text: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Output> {
    const pid = await this.#container.waitForInit();
    const environment = ['env', '-i', `PATH=${searchPath}`, 'HOME=/root', 'LANG=C.UTF-8'];
    const enter = ['nsenter', '--target', String(pid), '--all'];
    return run([...enter, ...environment, 'sh', '-c', text, 'sh', ...args], options);
  }

  /** Like `sh`; throws unless the exit code is 0. Returns standard output. */
  async mustSh(
    text: string,
    args: readonly string[] = [],
    options: RunOptions = {},
  ): Promise<string> {
    const output = await this.sh(`set -eu\n${text}`, args, options);
    if (output.code === 0) return output.stdout;
    throw new Error(`${this.name}: exit code ${output.code}: ${output.stderr || output.stdout}`);
  }

  /** Shuts down cleanly. The disk stays. */
  async powerOff(): Promise<void> {
    await this.#container.powerOff();
  }

  /** Ends everything inside at once, as a power cut does. The disk stays. */
  async powerCut(): Promise<void> {
    await this.#container.powerCut();
  }

  /** Reboots from inside and waits until it is up again. */
  async reboot(): Promise<void> {
    const before = this.#container.boots;
    await this.sh('systemctl reboot');
    await waitFor(`reboot of host ${this.name}`, 60, () => this.#container.boots > before);
    await this.waitUntilUp();
  }

  /** Pulls its cable: no packet in or out. */
  cutOff(): Promise<void> {
    return this.#cable.pull();
  }

  /** Plugs its cable in again. */
  reconnect(): Promise<void> {
    return this.#cable.plug();
  }

  /** Cuts it off from one other host, or from the caller (`bridge`); both stay reachable for others. */
  async cutOffFrom(other: HostName | 'bridge'): Promise<void> {
    for (const address of Object.values(network[other])) await this.#cable.block(address);
  }

  async reconnectTo(other: HostName | 'bridge'): Promise<void> {
    for (const address of Object.values(network[other])) await this.#cable.unblock(address);
  }

  /** It can open no connection to a port of the other host, at these of its addresses. */
  async keepFrom(other: HostName, port: number, families: readonly ('v4' | 'v6')[]): Promise<void> {
    for (const family of families) await this.#cable.forbid(network[other][family], port);
  }

  async letTo(other: HostName, port: number): Promise<void> {
    for (const address of Object.values(network[other])) await this.#cable.permit(address, port);
  }

  /** Fills the disk to the last byte (file /var/tmp/fill). Only with a limited disk (`boot`). */
  async fill(): Promise<void> {
    if (!this.#disk.limited) throw new Error('boot the host with { disk: "…m" } before filling it');
    await this.sh('cat /dev/zero > /var/tmp/fill; sync');
    if (statfsSync(this.root).bavail > 0) throw new Error(`the disk of ${this.name} is not full`);
  }

  async empty(): Promise<void> {
    await this.mustSh('rm -f /var/tmp/fill');
  }

  /** Back to its layer, up again; whatever happened since is gone. */
  async reset(): Promise<void> {
    await this.powerCut();
    await this.reconnect();
    await this.renew();
    await this.boot();
  }

  /**
   * Keeps the disk as it is now as a layer under `name` and leaves the host off; its next boot goes
   * on from there, and so does every `reset`.
   */
  async snapshot(name: string): Promise<void> {
    const target = join(this.#setup.folder, '..', 'layers', `${this.name}-${name}`);
    this.#setup.snapshots.set(name, await this.keepAs(target));
  }

  /** As `snapshot`, at a path of the caller's. Returns the layers, the newest first. */
  async keepAs(target: string): Promise<readonly string[]> {
    if (existsSync(target)) throw new Error(`${target} exists already`);
    await this.powerOff();
    this.#layers = await this.#disk.freeze(target);
    return this.#layers;
  }

  /** Takes it down for good: process, mounts, cable. */
  async remove(): Promise<void> {
    await this.powerCut();
    await this.#disk.discard();
    await this.#cable.remove();
  }
}

const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Whether a TCP port takes a connection now. */
export function answers(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: 1000 });
    const end = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}
