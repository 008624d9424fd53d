import { Migration } from '../e2e/migration.ts';
import { Lab } from '../lab/lab.ts';
import { all } from '../lab/process.ts';
import { provision } from '../lab/profile-postfix-dovecot.ts';
import { domains, mailName, network, special } from '../lab/world.ts';
import { labPlaces } from '../rehearsal/layout.ts';
import { readStore, type Snapshot } from '../rehearsal/store.ts';
import { mailboxes } from './load.ts';

/** Seconds that caches may keep an answer: before `prepare`, and after it. */
const ttl = { before: 3, lowered: 1 } as const;

/** A disk that can be filled; in memory, so that a fresh one costs nothing. */
const diskSize = '400m';

/** The hosts of many runs, one after the other: each begins with fresh disks. */
export class World {
  readonly lab: Lab;

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  static async start(log: (line: string) => void): Promise<World> {
    const lab = await Lab.start({ boot: false, ttl: ttl.before });
    try {
      await provision(lab, { mailboxes, messagesPerMailbox: 12, log });
      return new World(lab);
    } catch (error) {
      await lab.abandon();
      throw error;
    }
  }

  /** Fresh disks, whole cables, empty caches; everything up. */
  async reset(): Promise<void> {
    const { lab } = this;
    await all(
      lab.hosts.map(async (host) => {
        await host.powerCut();
        await mend(lab, host.name);
        await host.renew(host.name === 'old' || host.name === 'new' ? diskSize : undefined);
      }),
    );
    await lab.bootAll();
  }

  /** The migration file of a run. */
  migration(freezeMode: 'hold' | 'stop'): Promise<Migration> {
    return Migration.create(this.lab, {
      freeze: { mode: freezeMode, 'max-minutes': 10 },
      dns: [
        {
          zone: domains.virtual,
          provider: 'rfc2136',
          server: network.dns.v4,
          ttl: ttl.lowered,
          records: [
            { name: mailName, type: 'A', values: [network.new.v4] },
            { name: mailName, type: 'AAAA', values: [network.new.v6] },
          ],
        },
      ],
      probe: { mailbox: special.probe },
      options: { verify: 'sample', 'drain-quiet-seconds': 1 },
    });
  }

  places(side: 'old' | 'new') {
    return labPlaces(this.lab.host(side).root, mailboxes);
  }

  /** What the mailboxes of a host hold now. */
  inventory(side: 'old' | 'new'): Promise<Snapshot> {
    return readStore(this.places(side));
  }

  stop(): Promise<void> {
    return this.lab.stop();
  }
}

/** Plugs a host in again, whatever was done to its cable. */
export async function mend(lab: Lab, name: 'old' | 'new' | 'dns' | 'resolver'): Promise<void> {
  const host = lab.host(name);
  await host.reconnect();
  for (const other of ['bridge', 'old', 'new'] as const) await host.reconnectTo(other);
}
