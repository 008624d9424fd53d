import { UserError } from '../errors.ts';

/** A resource record set (RFC 2181 section 5): all values of one name and type, with their TTL. */
export interface RRset {
  /** Lower case, no final dot. */
  readonly name: string;
  readonly type: string;
  /** Seconds. */
  readonly ttl: number;
  /** Presentation format, sorted; empty when the RRset does not exist. */
  readonly values: readonly string[];
}

/** One replacement: `before` is what must be there now, `after` what shall be there. */
export interface RRsetChange {
  readonly before: RRset;
  readonly after: RRset;
}

/**
 * One zone at one provider. A new provider implements this and is one file.
 */
export interface DnsProvider {
  /** The zone's name, lower case, no final dot. */
  readonly zone: string;
  /** Reads an RRset where the zone is edited; an RRset that does not exist has no values and TTL 0. */
  read(name: string, type: string): Promise<RRset>;
  /**
   * Compare-and-swap: makes all changes if every `before` is still what the zone holds (values, not
   * TTL), else none. A change whose `after` is there already counts as made, so this can be repeated.
   * Throws `DnsDrift` if the zone holds something else, `UserError` if refused. Returns when the
   * place where the zone is edited shows every `after`, values and TTL.
   *
   * `confirm` throws if this run may change nothing any more. It is called after a look at the zone,
   * and what is sent then is refused if anything in the zone has changed since that look. So a run that
   * takes over, and changes the zone, has nothing to fear of one that sleeps and wakes: that one looked
   * before, and is refused here, or looks after, and is stopped by `confirm`.
   */
  change(changes: readonly RRsetChange[], confirm: () => Promise<void>): Promise<void>;
  /**
   * Asks every authoritative server that can be found for the RRset, without recursion, and says
   * in a line each which of them answer otherwise, or can't be judged; an empty list is proof.
   */
  lagging(expected: RRset): Promise<readonly string[]>;
  /**
   * Asks the provider whether its credential may make the changes of the migration file, in a way
   * that can't change the zone. Throws `UserError` if not. Absent where there is no such way.
   */
  verifyAccess?(): Promise<void>;
}

/** The zone no longer holds what the plan saw; nothing was changed. */
export class DnsDrift extends UserError {
  override readonly name = 'DnsDrift';
}
