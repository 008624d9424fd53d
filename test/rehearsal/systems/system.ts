import type { Lab } from '../../lab/lab.ts';
import type { MailboxPlace } from '../layout.ts';
import type { RehearsalOptions } from '../options.ts';
import type { Population } from '../population.ts';
import type { Traffic } from '../traffic.ts';

/** A rehearsal whose hosts are up. */
export interface Scene {
  readonly lab: Lab;
  readonly options: RehearsalOptions;
}

/** What the rehearsal must know of one mail system; the rest of it is the same for all. */
export interface RehearsedSystem {
  /** How OLD freezes where `--freeze` does not say. */
  readonly freeze: RehearsalOptions['freeze'];
  /** Who has a mailbox, and what mail comes. */
  readonly population: Population;
  /** Boots OLD, with so much mail, and NEW, a name server and a resolver. */
  start(options: RehearsalOptions): Promise<Lab>;
  /** Fields of the migration file in which it is not that of `test/e2e/migration.ts`. */
  migration(scene: Scene): Record<string, unknown>;
  /** Where the mailboxes are, below the file tree of a host. */
  places(root: string, plain: number): readonly MailboxPlace[];
  /** Inputs that its stages take besides the usual ones. */
  inputs?(scene: Scene): Promise<Readonly<Record<string, string>>>;
  /** A look while both hosts stand still and hold the same. Each line that comes back is a fault. */
  frozen?(scene: Scene): Promise<readonly string[]>;
  /** A look at the end, when NEW serves and all is counted. Each line that comes back is a fault. */
  settled?(scene: Scene, traffic: Traffic): Promise<readonly string[]>;
}
