import type { Account } from './account.ts';
import type { Traffic } from './traffic.ts';

/** The numbers of `rehearsal.json` that come from the traffic and the account. */
export interface Figures {
  readonly sent: number;
  readonly delivered: number;
  readonly seeded: number;
  readonly lost: number;
  readonly doubled: number;
  readonly doubledByLostReply: number;
  readonly bounced: number;
  readonly uidChanges: number;
  readonly refusedAsExpected: number;
  readonly pending: number;
  readonly misfiled: number;
  readonly flagChanges: number;
  readonly reachedNewByDns: number;
  readonly smtpRefusedSeconds: number;
  readonly imapAwaySeconds: { readonly max: number; readonly median: number };
}

export function figures(account: Account, traffic: Traffic): Figures {
  return {
    sent: account.sent,
    delivered: account.delivered,
    seeded: account.seeded,
    lost: account.lost.length,
    doubled: account.doubled.length,
    doubledByLostReply: account.doubledByLostReply.length,
    bounced: account.bounced.length,
    uidChanges: account.uidChanges.length,
    refusedAsExpected: account.refusedAsExpected,
    pending: account.pending.length,
    misfiled: account.misfiled.length,
    flagChanges: account.flagChanges.length,
    reachedNewByDns: traffic.ledger.reachedNewByDns,
    smtpRefusedSeconds: traffic.prober.refusedSeconds,
    imapAwaySeconds: traffic.clients.away,
  };
}
