import { writeFileSync } from 'node:fs';
import { mustRun, run } from './process.ts';
import { network } from './world.ts';

/** A host's network: a namespace with one interface, plugged into the lab's bridge. */
export class Cable {
  readonly #name: string;
  readonly #v4: string;
  readonly #v6: string;

  constructor(name: string, v4: string, v6: string) {
    this.#name = name;
    this.#v4 = v4;
    this.#v6 = v6;
  }

  get namespace(): string {
    return `/run/netns/${this.#name}`;
  }

  /** The end of the cable at the bridge: what `tc` shapes and what is pulled. */
  get port(): string {
    return `v-${this.#name}`;
  }

  async lay(): Promise<void> {
    const { prefix } = network;
    const ip = (line: string) => mustRun(['ip', ...line.split(' ')]);
    const inside = (line: string) => ip(`-n ${this.#name} ${line}`);
    await ip(`netns add ${this.#name}`);
    await ip(`link add ${this.port} type veth peer name eth0 netns ${this.#name}`);
    await ip(`link set ${this.port} master lab0 up`);
    await inside('link set lo up');
    await inside(`address add ${this.#v4}/${prefix.v4} dev eth0`);
    await inside(`address add ${this.#v6}/${prefix.v6} dev eth0 nodad`);
    await inside('link set eth0 up');
  }

  async remove(): Promise<void> {
    await run(['ip', 'link', 'delete', this.port]);
    await run(['ip', 'netns', 'delete', this.#name]);
  }

  async pull(): Promise<void> {
    await mustRun(['ip', 'link', 'set', this.port, 'down']);
  }

  async plug(): Promise<void> {
    await mustRun(['ip', 'link', 'set', this.port, 'up']);
  }

  /** Drops what this host sends to `address`, and with it every answer: a partition between two. */
  async block(address: string): Promise<void> {
    await mustRun(['ip', '-n', this.#name, 'route', 'replace', 'blackhole', address]);
  }

  async unblock(address: string): Promise<void> {
    await run(['ip', '-n', this.#name, 'route', 'delete', 'blackhole', address]);
  }

  /** This host can open no connection to that port any more; the other way it goes on. */
  async forbid(address: string, port: number): Promise<void> {
    await mustRun(this.#rule('add', address, port));
  }

  /** Whether it was forbidden or not. */
  async permit(address: string, port: number): Promise<void> {
    await run(this.#rule('delete', address, port));
  }

  #rule(word: 'add' | 'delete', address: string, port: number): string[] {
    const family = address.includes(':') ? '-6' : '-4';
    const words = `to ${address} ipproto tcp dport ${port} prohibit`;
    return ['ip', family, '-n', this.#name, 'rule', word, ...words.split(' ')];
  }
}

/** Bridged frames must not pass the caller's packet filter, where the machine sends them there. */
export function openBridge(): void {
  for (const family of ['iptables', 'ip6tables']) {
    try {
      writeFileSync(`/proc/sys/net/bridge/bridge-nf-call-${family}`, '0');
    } catch {
      // The module is not loaded: nothing to switch off.
    }
  }
}
