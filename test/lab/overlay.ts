import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun } from './process.ts';

/**
 * A host's file system: an overlay of its own changes over layers that it shares. `upper` and `work`
 * lie in one folder, which is a tmpfs of its own when the disk has a limit.
 */
export class Disk {
  readonly #folder: string;
  readonly #base: string;
  #limited = false;
  #mounted = false;
  /** Layers under the changes, the newest first, without the base. */
  #layers: readonly string[] = [];

  constructor(folder: string, base: string) {
    this.#folder = folder;
    this.#base = base;
    mkdirSync(this.root, { recursive: true });
  }

  get root(): string {
    return join(this.#folder, 'root');
  }

  get layers(): readonly string[] {
    return this.#layers;
  }

  get mounted(): boolean {
    return this.#mounted;
  }

  get limited(): boolean {
    return this.#limited;
  }

  get #changes(): string {
    return join(this.#folder, 'changes');
  }

  /** Mounts what is there, with the changes made so far. */
  async mount(): Promise<void> {
    if (this.#mounted) return;
    const upper = join(this.#changes, 'upper');
    const work = join(this.#changes, 'work');
    for (const folder of [upper, work]) mkdirSync(folder, { recursive: true });
    const lower = [...this.#layers, this.#base].join(':');
    const options = `redirect_dir=on,index=off,metacopy=off,lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    await mustRun(['mount', '-t', 'overlay', '-o', options, 'overlay', this.root]);
    this.#mounted = true;
  }

  async unmount(): Promise<void> {
    if (!this.#mounted) return;
    await mustRun(['umount', this.root]);
    this.#mounted = false;
  }

  /**
   * Throws all changes away and mounts a fresh disk over `layers`.
   * @param size limit as tmpfs takes it ("64m"); unlimited when left out
   */
  async renew(layers: readonly string[], size?: string): Promise<void> {
    await this.discard();
    this.#layers = layers;
    if (size !== undefined) {
      mkdirSync(this.#changes, { recursive: true });
      await mustRun(['mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', this.#changes]);
      this.#limited = true;
    }
    await this.mount();
  }

  /** Throws all changes away. */
  async discard(): Promise<void> {
    await this.unmount();
    if (this.#limited) await mustRun(['umount', this.#changes]);
    this.#limited = false;
    rmSync(this.#changes, { recursive: true, force: true });
  }

  /** Moves the changes to `target` and takes that as the topmost layer; leaves the disk unmounted. */
  async freeze(target: string): Promise<readonly string[]> {
    if (this.#limited) throw new Error('a disk with a limit can not become a layer');
    await this.unmount();
    mkdirSync(join(target, '..'), { recursive: true });
    renameSync(join(this.#changes, 'upper'), target);
    rmSync(this.#changes, { recursive: true, force: true });
    this.#layers = [target, ...this.#layers];
    return this.#layers;
  }
}
