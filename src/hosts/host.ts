import type { Command, Result } from './command.ts';

/** OLD is moved from, NEW is moved to. */
export type Role = 'old' | 'new';

/**
 * One of the two mail hosts. Reading needs no lock; every change goes through the guard on the host,
 * which refuses a lock number older than the newest that it has seen.
 */
export interface Host {
  readonly role: Role;
  /** As the migration file names it, for messages. */
  readonly address: string;
  /** Port of its sshd there. */
  readonly port: number;
  /** Addresses that it has for others, where they are not on its interfaces (NAT). */
  readonly publicAddresses?: readonly string[];
  /** Runs a command that changes nothing. A non-zero exit throws unless the command allows it. */
  read(command: Command): Promise<Result>;
  /** Runs a command that changes the host, under the lock's number. */
  change(command: Command): Promise<Result>;
  /**
   * Opens a TCP port on the runner's loopback that ends at `port` of `address` as the host itself
   * sees it. Close it when done.
   */
  tunnel(address: string, port: number): Promise<Tunnel>;
  /**
   * Opens a TCP port on the host's own loopback that ends at a port of the runner's. It lasts as long as
   * the connection to the host. Close it when done.
   */
  tunnelBack(port: number): Promise<Tunnel>;
  close(): Promise<void>;
}

/** A port that leads elsewhere for as long as it is open. */
export interface Tunnel {
  readonly port: number;
  close(): Promise<void>;
}
