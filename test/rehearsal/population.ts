import { mailName, virtualUser } from '../lab/world.ts';

/** Who has a mailbox in a rehearsal, and what mail comes for them. */
export interface Population {
  /** Address of the plain mailbox number 1, 2 …. It is the login name too. */
  user(index: number): string;
  /** Whether there are aliases, a list, a sieve filter, a full mailbox and other domains as well. */
  readonly hasRoles: boolean;
  /** Name by which clients find the server. */
  readonly host: string;
  /** Whether port 25 takes mail without TLS. */
  readonly takesPlain: boolean;
}

/** The lab's virtual users, with everybody who has a role. */
export const orchard: Population = {
  user: virtualUser,
  hasRoles: true,
  host: mailName,
  takesPlain: true,
};
