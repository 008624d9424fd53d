import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { openBridge } from './cable.ts';
import { ensureIdentity, identityFile, identityFiles } from './identity.ts';
import { baseTree, type Suite } from './image.ts';
import { type HostName, type HostSetup, LabHost } from './lab-host.ts';
import { type Lock, lock } from './lock.ts';
import { authoritative, caching, type DnsServer, waitForNameServer } from './name-servers.ts';
import { runFolder } from './paths.ts';
import { all, mustRun } from './process.ts';
import { leftovers, sweep } from './sweep.ts';
import { network } from './world.ts';

export interface LabOptions {
  /** Default: all four. */
  readonly hosts?: readonly HostName[];
  /** What serves the zones. Default: bind. */
  readonly dnsServer?: DnsServer;
  /** Seconds that answers of the zones may be cached for, before a migration. */
  readonly ttl?: number;
  /** Debian release of NEW. Default: that of every other host, bookworm. */
  readonly newSuite?: Suite | undefined;
  /** Boot the hosts. Default: true; without, each host is off until its `boot`. */
  readonly boot?: boolean;
}

const everyHost: readonly HostName[] = ['dns', 'resolver', 'old', 'new'];

/**
 * Real hosts in the namespaces that `with-lab.ts` made. One lab at a time: a second `start` in the
 * same namespaces waits for the first one's `stop`.
 *
 *     const lab = await Lab.start({ hosts: ['old', 'new', 'dns', 'resolver'], dnsServer: 'bind' });
 *     const { code, stdout } = await lab.host('old').sh('postqueue -j');
 *     await lab.stop();
 */
export class Lab {
  readonly #lock: Lock;
  readonly #folder: string;
  readonly #hosts = new Map<HostName, LabHost>();
  readonly #snapshots = new Map<string, readonly string[]>();
  /** The runner's SSH key, made for this lab: may log in as root, admin, operator on OLD and NEW. */
  readonly sshKey: { readonly path: string; readonly text: string; readonly publicKey: string };

  private constructor(held: Lock, folder: string, keyFile: string) {
    this.#lock = held;
    this.#folder = folder;
    this.sshKey = {
      path: keyFile,
      text: readFileSync(keyFile, 'utf8'),
      publicKey: readFileSync(`${keyFile}.pub`, 'utf8').trim(),
    };
  }

  /** Makes the hosts and boots them, all at once. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const run = runFolder();
    if (!existsSync(baseTree(options.newSuite)))
      throw new Error('no base image; start this with with-lab.ts');
    const held = await lock(join(run, 'lab.lock'));
    const folder = join(run, 'lab');
    await sweep(folder);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    openBridge();
    await ensureIdentity();
    const keyFile = join(folder, 'runner-key');
    await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'runner', '-f', keyFile]);
    const lab = new Lab(held, folder, keyFile);
    return lab.#fill(options);
  }

  async #fill(options: LabOptions): Promise<Lab> {
    try {
      for (const name of options.hosts ?? everyHost) {
        this.#hosts.set(name, await LabHost.make(name, this.#setup(name, options)));
      }
      if (options.boot !== false) await this.bootAll();
      return this;
    } catch (error) {
      await this.abandon();
      throw error;
    }
  }

  #setup(name: HostName, options: LabOptions): HostSetup {
    const common = {
      folder: join(this.#folder, name),
      base: baseTree(name === 'new' ? options.newSuite : undefined),
      authorizedKey: this.sshKey.publicKey,
      snapshots: this.#snapshots,
    };
    const ready = (needsZone: boolean) => () => waitForNameServer(network[name].v4, needsZone);
    if (name === 'dns') {
      return {
        ...common,
        ...authoritative(options.dnsServer ?? 'bind', options.ttl),
        ready: ready(true),
      };
    }
    if (name === 'resolver') return { ...common, ...caching(), ready: ready(false) };
    return { ...common, program: 'systemd', furnish: () => {} };
  }

  /** Boots every host that is off. */
  async bootAll(): Promise<void> {
    const off = [...this.#hosts.values()].filter((host) => !host.running);
    await all(off.map((host) => host.boot()));
  }

  host(name: HostName): LabHost {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`this lab was started without the host "${name}"`);
    return host;
  }

  get hosts(): readonly LabHost[] {
    return [...this.#hosts.values()];
  }

  /** A folder for files of the caller's; gone after `stop`. */
  get folder(): string {
    return this.#folder;
  }

  /** The certificate authority behind both hosts' certificates, in PEM. */
  get ca(): { readonly path: string; readonly text: string } {
    const path = identityFile(identityFiles.ca);
    return { path, text: readFileSync(path, 'utf8') };
  }

  /** `stop` after a failure that matters more than one of `stop` itself. */
  async abandon(): Promise<void> {
    await this.stop().catch((error: Error) => console.error(`lab: ${error.message}`));
  }

  /** Ends every host and removes mounts, links and files. Throws if something is left. */
  async stop(): Promise<void> {
    await all([...this.#hosts.values()].map((host) => host.remove()));
    this.#hosts.clear();
    const left = await leftovers(this.#folder);
    rmSync(this.#folder, { recursive: true, force: true });
    await this.#lock.release();
    if (left.length > 0) throw new Error(`the lab left behind: ${left.join(', ')}`);
  }
}

export type { HostName, LabHost } from './lab-host.ts';
