import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runFolder } from './paths.ts';
import { run, waitFor } from './process.ts';

/** What a container is made of. */
export interface ContainerSpec {
  readonly name: string;
  readonly root: string;
  /** Path of the network namespace. */
  readonly namespace: string;
  readonly consoleLog: string;
  /** Boots systemd, or runs one program. */
  readonly program: 'systemd' | readonly string[];
}

/** systemd-nspawn's exit status when the system inside asked to be booted again. */
const rebootStatus = 133;

/** One running host: systemd-nspawn and the process 1 of the host inside it. */
export class Container {
  readonly #spec: ContainerSpec;
  #nspawn: ChildProcess | undefined;
  #off: Promise<void> = Promise.resolve();
  #boots = 0;

  constructor(spec: ContainerSpec) {
    this.#spec = spec;
  }

  get running(): boolean {
    return this.#nspawn !== undefined;
  }

  /** Counts every start, also those after a reboot from inside. */
  get boots(): number {
    return this.#boots;
  }

  start(): void {
    if (this.running) throw new Error(`host ${this.#spec.name} is running already`);
    this.#off = new Promise((resolve) => this.#launch(resolve));
  }

  #launch(whenOff: () => void): void {
    const child = spawn('sh', ['-c', launcher, 'sh', this.#cgroup(), ...this.#command()], {
      stdio: ['ignore', openSync(this.#spec.consoleLog, 'a'), openSync(this.#spec.consoleLog, 'a')],
      env: { ...process.env, SYSTEMD_NSPAWN_TMPFS_TMP: '0', SYSTEMD_LOG_TARGET: 'console' },
    });
    this.#nspawn = child;
    this.#boots += 1;
    child.on('exit', (code) => {
      if (code === rebootStatus) return this.#launch(whenOff);
      this.#nspawn = undefined;
      whenOff();
    });
  }

  /** A cgroup of its own, without which services of two hosts can't be restarted cleanly. */
  #cgroup(): string {
    const folder = `/sys/fs/cgroup/mail-cutover-lab-${basename(runFolder())}/${this.#spec.name}`;
    mkdirSync(folder, { recursive: true });
    return join(folder, 'cgroup.procs');
  }

  #command(): string[] {
    const { name, root, namespace, program } = this.#spec;
    return [
      ...['systemd-nspawn', '--quiet', `--directory=${root}`, `--machine=${name}`],
      ...['--register=no', '--keep-unit', `--network-namespace-path=${namespace}`],
      ...['--capability=CAP_NET_ADMIN', '--link-journal=no', '--resolv-conf=off'],
      ...['--timezone=off', '--console=pipe'],
      // A single program would report to a socket that its user may not use.
      ...(program === 'systemd'
        ? ['--boot']
        : ['--as-pid2', '/usr/bin/env', '-u', 'NOTIFY_SOCKET', ...program]),
    ];
  }

  /** Process id of the host's process 1, as the lab sees it. */
  async init(): Promise<number | undefined> {
    const nspawn = this.#nspawn?.pid;
    if (nspawn === undefined) return undefined;
    const found = await run(['pgrep', '--parent', String(nspawn)]);
    const pid = Number(found.stdout.split('\n')[0]);
    return pid > 0 && this.#isInside(pid) ? pid : undefined;
  }

  /** Whether systemd-nspawn has handed over to what runs inside. */
  #isInside(pid: number): boolean {
    if (this.#spec.program !== 'systemd') return existsSync(`/proc/${pid}/root/etc`);
    try {
      const isSystemd = readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'systemd';
      return isSystemd && existsSync(`/proc/${pid}/root/run/systemd/private`);
    } catch {
      return false;
    }
  }

  /** Waits until process 1 inside answers; its process id. */
  async waitForInit(): Promise<number> {
    let pid: number | undefined;
    await waitFor(`process 1 of host ${this.#spec.name}`, 60, async () => {
      if (!this.running) throw new Error(`host ${this.#spec.name} ended`);
      pid = await this.init();
      return pid !== undefined;
    });
    return pid ?? 0;
  }

  /** The end of the host's console, for messages. */
  lastWords(): string {
    const lines = readFileSync(this.#spec.consoleLog, 'utf8').trim().split('\n');
    return `its console ended with: ${lines.slice(-5).join(' | ')}`;
  }

  /** Shuts down cleanly. */
  async powerOff(): Promise<void> {
    if (this.#spec.program !== 'systemd') return this.powerCut();
    if (this.running) await this.waitForInit();
    this.#nspawn?.kill('SIGTERM');
    await this.off();
  }

  /**
   * Kills process 1, and with it everything inside at once. (A SIGKILL to systemd-nspawn would leave
   * the host running.)
   */
  async powerCut(): Promise<void> {
    while (this.running) {
      const pid = await this.init();
      if (pid === undefined) continue;
      process.kill(pid, 'SIGKILL');
      await this.off();
    }
  }

  /** Waits until the host has ended for good. */
  off(): Promise<void> {
    return this.#off;
  }
}

/**
 * Puts itself into the host's cgroup, then becomes systemd-nspawn. When the test process dies, the
 * host shuts down.
 */
const launcher = 'echo $$ >"$1"; shift; exec setpriv --pdeathsig TERM "$@"';

/** Makes sure a console log is there to be appended to. */
export function prepareConsole(file: string): void {
  writeFileSync(file, '');
}
