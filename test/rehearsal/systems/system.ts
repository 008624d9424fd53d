import type { StageName } from '../../../src/actions/stages.ts';
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

/** What a look at the hosts all the while came to. */
export interface Watched {
  readonly faults: readonly string[];
  /** How many looks there were of which kind. */
  readonly figures: Readonly<Record<string, number>>;
}

/** What the rehearsal must know of one mail system; the rest of it is the same for all. */
export interface RehearsedSystem {
  /** How OLD freezes where `--freeze` does not say. */
  readonly freeze: RehearsalOptions['freeze'];
  /** Who has a mailbox, and what mail comes. */
  readonly population: Population;
  /** Dovecot logs every session and delivery, so the rehearsal can prove that no two of them overlap. */
  readonly logsServing?: true;
  /** Boots OLD, with so much mail, and NEW, a name server and a resolver. */
  start(options: RehearsalOptions): Promise<Lab>;
  /** Fields of the migration file in which it is not that of `test/e2e/migration.ts`. */
  migration(scene: Scene): Record<string, unknown>;
  /** Where the mailboxes are, below the file tree of a host. */
  places(root: string, plain: number): readonly MailboxPlace[];
  /** Inputs that a stage takes besides the usual ones. */
  inputs?(scene: Scene, stage: StageName): Promise<Readonly<Record<string, string>>>;
  /** Shell text that prints how many messages wait in a host's queue. Default: Postfix's. */
  readonly queueLength?: string;
  /** Tries what is deferred in the queues at once. */
  nudge?(scene: Scene): Promise<unknown>;
  /** Looks at the hosts from before the first stage until the end; the function ends it and tells. */
  watch?(scene: Scene): () => Promise<Watched>;
  /** A look while both hosts stand still and hold the same. Each line that comes back is a fault. */
  frozen?(scene: Scene): Promise<readonly string[]>;
  /** A look at the end, when NEW serves and all is counted. Each line that comes back is a fault. */
  settled?(scene: Scene, traffic: Traffic): Promise<readonly string[]>;
}
