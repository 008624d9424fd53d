import { join } from 'node:path';
import type { StageName } from '../../src/actions/stages.ts';
import type { FreezeMode } from '../../src/config/schema.ts';
import { Migration } from '../e2e/migration.ts';
import { Lab } from '../lab/lab.ts';
import { all } from '../lab/process.ts';
import { provision } from '../lab/profile-postfix-dovecot.ts';
import { domains, mailName, network, special, tsig } from '../lab/world.ts';
import { labPlaces } from '../rehearsal/layout.ts';
import { readStore, type Snapshot } from '../rehearsal/store.ts';
import { type Beginning, beginnings } from './drawing.ts';
import { mailboxes } from './load.ts';

/** Seconds that caches may keep an answer: before `prepare`, and after it. */
const ttl = { before: 3, lowered: 1 } as const;

/** A disk that can be filled; in memory, so that a fresh one costs nothing. */
const diskSize = '400m';

/** The hosts of many runs, one after the other: each begins with fresh disks. */
export class World {
  readonly lab: Lab;
  /** Layers of both hosts by where a run begins, the newest first. */
  readonly #layers = new Map<string, Layers>();

  private constructor(lab: Lab) {
    this.lab = lab;
    this.#layers.set('fresh', layersOf(lab));
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
  async reset(from: Beginning = 'fresh', freezeMode: FreezeMode = 'hold'): Promise<void> {
    await this.#begin(from, freezeMode, diskSize);
  }

  async #begin(from: Beginning, freezeMode: FreezeMode, size?: string): Promise<void> {
    await this.#renew(await this.#layersFor(from, freezeMode), size);
    if (from !== 'fresh') await pointZone(this.lab, from === 'active' ? 'new' : 'old');
  }

  /** Runs the stages up to there once, and keeps what they made of both hosts. */
  async #layersFor(from: Beginning, freezeMode: FreezeMode): Promise<Layers> {
    const { lab } = this;
    const name = from === 'fresh' ? from : `${from}-${freezeMode}`;
    const known = this.#layers.get(name);
    if (known) return known;
    await this.#begin(beginnings[beginnings.indexOf(from) - 1] ?? 'fresh', freezeMode);
    const migration = await this.migration(freezeMode);
    try {
      for (const [stage, inputs] of stagesTo[from]) await migration.must(stage, inputs);
    } finally {
      await migration.remove();
    }
    for (const side of ['old', 'new'] as const)
      await lab.host(side).keepAs(join(lab.folder, 'layers', `${side}-${name}`));
    const layers = layersOf(lab);
    this.#layers.set(name, layers);
    return layers;
  }

  async #renew(layers: Layers, size: string | undefined): Promise<void> {
    const { lab } = this;
    await all(
      lab.hosts.map(async (host) => {
        await host.powerCut();
        await mend(lab, host.name);
        const { name } = host;
        if (name === 'old' || name === 'new') host.layers = layers[name];
        await host.renew(name === 'old' || name === 'new' ? size : undefined);
      }),
    );
    await lab.bootAll();
  }

  /** The migration file of a run. */
  migration(freezeMode: FreezeMode): Promise<Migration> {
    return Migration.create(this.lab, {
      // A frozen OLD is kept for many runs: only the fault lets its limit pass.
      freeze: { mode: freezeMode, 'max-minutes': 1440 },
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

interface Layers {
  readonly old: readonly string[];
  readonly new: readonly string[];
}

function layersOf(lab: Lab): Layers {
  return { old: lab.host('old').layers, new: lab.host('new').layers };
}

/** What brings the hosts from one beginning to the next. */
const stagesTo: Readonly<
  Record<Beginning, readonly (readonly [StageName, Record<string, string>])[]>
> = {
  fresh: [],
  copied: [
    ['prepare', {}],
    ['transfer', { pass: 'live' }],
  ],
  transferred: [
    ['freeze', {}],
    ['transfer', { pass: 'final' }],
  ],
  active: [
    ['activate', {}],
    ['dns-cutover', {}],
  ],
};

/** What `prepare` and `dns-cutover` do to the zone, which begins anew with every run. */
async function pointZone(lab: Lab, side: 'old' | 'new'): Promise<void> {
  const lines = [
    `server ${network.dns.v4}`,
    `zone ${domains.virtual}`,
    `update delete ${mailName} A`,
    `update delete ${mailName} AAAA`,
    `update add ${mailName} ${ttl.lowered} A ${network[side].v4}`,
    `update add ${mailName} ${ttl.lowered} AAAA ${network[side].v6}`,
    'send',
  ];
  await lab
    .host('dns')
    .mustSh('nsupdate -y "$1"', [`${tsig.algorithm}:${tsig.name}:${tsig.secret}`], {
      stdin: `${lines.join('\n')}\n`,
    });
}

/** Plugs a host in again, whatever was done to its cable. */
export async function mend(lab: Lab, name: 'old' | 'new' | 'dns' | 'resolver'): Promise<void> {
  const host = lab.host(name);
  await host.reconnect();
  for (const other of ['bridge', 'old', 'new'] as const) await host.reconnectTo(other);
}
