import type { Lab, LabHost } from '../lab/lab.ts';
import { domains } from '../lab/world.ts';

/*
 * Who served or wrote which mailbox when, as the mail programs of both hosts logged it. All hosts of
 * the lab share one kernel clock, and journald notes it in microseconds for each line.
 */

/** One line of a host's journal. */
export interface LogLine {
  /** Milliseconds since 1970, with fractions. */
  readonly at: number;
  readonly boot: string;
  readonly program: string;
  readonly pid: string;
  readonly text: string;
}

/** A time in which one host served one mailbox: a session, or a single delivery (from = to). */
export interface Serving {
  readonly host: string;
  readonly mailbox: string;
  readonly from: number;
  readonly to: number;
  /** What it was: a word and the process. */
  readonly what: string;
}

export interface Overlap {
  readonly mailbox: string;
  readonly first: Serving;
  readonly second: Serving;
}

/** Every session and delivery that the logs of a host tell of. */
export function servings(host: string, lines: readonly LogLine[]): readonly Serving[] {
  const all: Serving[] = [];
  const open = new Map<string, Serving>();
  const lastOfBoot = new Map<string, number>();
  for (const { at, boot } of lines) lastOfBoot.set(boot, at);
  for (const line of lines) {
    const { at, boot } = line;
    // systemd says so when no process of the unit is left: no session has outlived it.
    if (line.program === 'systemd' && /^Stopped dovecot\.service/.test(line.text)) {
      for (const [key, session] of open) {
        if (!key.startsWith(`${boot} `)) continue;
        all.push({ ...session, to: at });
        open.delete(key);
      }
      continue;
    }
    const point = (user: string, what: string) =>
      all.push({ host, mailbox: mailboxOf(user), from: at, to: at, what });
    const login = /^(imap|pop3)-login: (?:Info: )?Login: user=<([^>]*)>.*\bmpid=(\d+)/.exec(
      line.text,
    );
    if (login) {
      const [, what = '', user = '', pid = ''] = login;
      // Until it says that it ended, and else until the host did.
      const to = lastOfBoot.get(boot) ?? at;
      open.set(`${boot} ${pid}`, {
        host,
        mailbox: mailboxOf(user),
        from: at,
        to,
        what: `${what} ${pid}`,
      });
      continue;
    }
    const end =
      /^(imap|pop3)\([^)]*\)<(\d+)><[^>]*>: (?:Info: )?(?:Logged out|Disconnected|Connection closed|Server shutting down)/.exec(
        line.text,
      );
    if (end) {
      const key = `${boot} ${end[2]}`;
      const session = open.get(key);
      if (session) {
        all.push({ ...session, to: at });
        open.delete(key);
      }
      continue;
    }
    const saved =
      /^(lmtp|lda)\(([^)]*)\)<\d+><[^>]*>: (?:Info: )?(?:sieve: )?msgid=.*(?:saved mail|stored mail into mailbox)/.exec(
        line.text,
      );
    if (saved) point(saved[2] ?? '', saved[1] ?? '');
    const file = /to=<([^>]*)>.*\brelay=virtual,.*status=sent \(delivered to maildir\)/.exec(
      line.text,
    );
    if (file) point(file[1] ?? '', 'virtual');
  }
  all.push(...open.values());
  return all;
}

/** Pairs of times in which two hosts served one mailbox at once. */
export function overlaps(all: readonly Serving[]): readonly Overlap[] {
  const found: Overlap[] = [];
  for (const [mailbox, servingsOfOne] of Map.groupBy(all, ({ mailbox }) => mailbox)) {
    const sorted = servingsOfOne.toSorted((a, b) => a.from - b.from);
    /** Of each host, what has lasted longest so far. */
    const longest = new Map<string, Serving>();
    for (const second of sorted) {
      for (const [host, first] of longest) {
        if (host !== second.host && first.to >= second.from) found.push({ mailbox, first, second });
      }
      const known = longest.get(second.host);
      if (!known || known.to < second.to) longest.set(second.host, second);
    }
  }
  return found;
}

/** What the logs of both hosts prove: whom each has served how often, and where both did at once. */
export interface ServedApart {
  /** Sessions and deliveries. */
  readonly old: number;
  readonly new: number;
  /** Mailboxes that both had in the end, one after the other. */
  readonly moved: number;
  /** One line each; empty logs prove nothing, so they are a fault too. */
  readonly faults: readonly string[];
}

/** Holds all servings since a time (ms since 1970) against each other. */
export async function servedApart(lab: Lab, since: number): Promise<ServedApart> {
  const all = await readServing(lab, since);
  const count = (side: string) => all.filter(({ host }) => host === side).length;
  const counts = { old: count('old'), new: count('new') };
  const moved = [...changesOfSide(all).values()].filter((changes) => changes > 0).length;
  return {
    ...counts,
    moved,
    faults: [
      ...(counts.old > 0 && counts.new > 0 && moved > 0
        ? []
        : [`the logs tell of ${counts.old} servings on OLD and ${counts.new} on NEW: no proof`]),
      ...overlaps(all).map(overlapInWords),
    ],
  };
}

/** Where two hosts served one mailbox, in a line. */
export function overlapInWords({ mailbox, first, second }: Overlap): string {
  return `two servers of ${mailbox}: ${first.host} until ${new Date(first.to).toISOString()} (${first.what}), ${second.host} from ${new Date(second.from).toISOString()} (${second.what})`;
}

/** How often service of a mailbox went from one host to the other, by mailbox. */
export function changesOfSide(all: readonly Serving[]): ReadonlyMap<string, number> {
  const changes = new Map<string, number>();
  for (const [mailbox, servingsOfOne] of Map.groupBy(all, ({ mailbox }) => mailbox)) {
    const hosts = servingsOfOne.toSorted((a, b) => a.from - b.from).map(({ host }) => host);
    changes.set(mailbox, hosts.filter((host, at) => at > 0 && host !== hosts[at - 1]).length);
  }
  return changes;
}

/** All servings of both mail hosts since a time (ms since 1970). */
export async function readServing(lab: Lab, since: number): Promise<readonly Serving[]> {
  const [old, target] = await Promise.all(
    (['old', 'new'] as const).map(async (side) =>
      servings(side, await readLog(lab.host(side), since)),
    ),
  );
  return [...(old ?? []), ...(target ?? [])];
}

/** The mail programs' lines of a host's journal, in the order of time. */
export async function readLog(host: LabHost, since: number): Promise<readonly LogLine[]> {
  const { stdout } = await host.sh(
    `journalctl --no-pager -o json --output-fields=_SOURCE_REALTIME_TIMESTAMP,SYSLOG_IDENTIFIER,_PID,MESSAGE --since "@$1" -t systemd -t dovecot -t postfix/virtual -t postfix/lmtp -t postfix/local -t postfix/smtp -t postfix/qmgr -t postfix/cleanup -t postfix/smtpd -t postfix/pipe -t postfix/error`,
    [String(Math.floor(since / 1000))],
  );
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((text) => parseLine(text))
    .filter((line) => line !== undefined)
    .sort((a, b) => a.at - b.at);
}

function parseLine(text: string): LogLine | undefined {
  const entry = JSON.parse(text) as Record<string, unknown>;
  const message = entry.MESSAGE;
  if (typeof message !== 'string') return undefined;
  const micros = Number(entry._SOURCE_REALTIME_TIMESTAMP ?? entry.__REALTIME_TIMESTAMP);
  return {
    at: micros / 1000,
    boot: String(entry._BOOT_ID ?? ''),
    program: String(entry.SYSLOG_IDENTIFIER ?? ''),
    pid: String(entry._PID ?? ''),
    text: message,
  };
}

/** A login name as an address: system users log in by their name alone as well. */
function mailboxOf(user: string): string {
  const name = user.toLowerCase();
  return name.includes('@') ? name : `${name}@${domains.local}`;
}
