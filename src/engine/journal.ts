import { createHash } from 'node:crypto';
import { UserError } from '../errors.ts';
import type { HostFiles } from './host-files.ts';

/** Who runs a stage, where. */
export interface Run {
  /** GitHub login, or `user@host` from a laptop. */
  readonly actor: string;
  /** Run id and attempt, or `laptop`. */
  readonly run: string;
  readonly attempt: number;
  readonly commit: string;
}

export type EntryKind = 'stage-begin' | 'intent' | 'outcome' | 'stage-end' | 'note';

export interface EntryData {
  readonly kind: EntryKind;
  readonly stage: string;
  readonly step?: string;
  readonly ok?: boolean;
  /** A short line for people. Never a secret. */
  readonly text?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/**
 * What had become of undo records on each host when the line before was written, and is in no earlier line:
 * "GROUP/NNNN-NAME made SHA256", or "gone" with what it held by then, "GROUP/*" when its group is gone. See `report/undo-records.ts`.
 */
export type UndoNews = Readonly<Record<string, readonly string[]>>;

export interface Entry extends EntryData, Run {
  /** 1, 2, 3 … */
  readonly seq: number;
  /** UTC, ISO 8601 with milliseconds, of the runner's clock. */
  readonly time: string;
  readonly lock: number;
  readonly planDigest: string;
  readonly undo?: UndoNews;
  /** It went to the hosts together with the line before. */
  readonly joined?: true;
  /** SHA-256 of the line before; of the empty string for the first. */
  readonly prev: string;
  /** SHA-256 of this line without this field, so that an edit of the last line is told too. */
  readonly hash: string;
}

const file = 'journal.jsonl';

/**
 * The append-only, hash-chained record, one JSON object a line, the same on both hosts, so that any
 * runner can go on from either.
 */
export class Journal {
  readonly #hosts: readonly HostFiles[];
  readonly #lines: string[];
  readonly #entries: Entry[];
  /** What goes to the hosts with the next line. */
  #waiting: readonly Stamped[] = [];
  /** Lines that were given to the hosts, and not all of them said that they have them. */
  #unsettled: readonly string[] = [];
  /** Of each host what the next line will tell, and the last that was heard. */
  readonly #news = new Map<string, readonly string[]>();
  readonly #heard = new Map<string, string>();
  readonly #origin: { readonly run: Run; readonly lock: number; readonly planDigest: string };

  private constructor(
    hosts: readonly HostFiles[],
    lines: readonly string[],
    origin: { run: Run; lock: number; planDigest: string },
  ) {
    this.#hosts = hosts;
    this.#lines = [...lines];
    this.#entries = lines.map((line) => JSON.parse(line) as Entry);
    this.#origin = origin;
    for (const { undo = {} } of this.#entries)
      for (const [name, lines] of Object.entries(undo)) this.#heard.set(name, lines.at(-1) ?? '');
  }

  /** Reads the journal without changing a host. */
  static async read(hosts: readonly HostFiles[]): Promise<readonly Entry[]> {
    return (await Journal.readLines(hosts)).map((line) => JSON.parse(line) as Entry);
  }

  /** Its lines as they are on the hosts, chain and hashes checked. */
  static async readLines(hosts: readonly HostFiles[]): Promise<readonly string[]> {
    return longest(await readCopies(hosts));
  }

  /** Opens it for writing: a copy that lags, or whose last line was cut off, is brought up first. */
  static async open(
    hosts: readonly HostFiles[],
    origin: { run: Run; lock: number; planDigest: string },
  ): Promise<Journal> {
    const copies = await readCopies(hosts);
    const lines = longest(copies);
    const whole = text(lines);
    await Promise.all(
      copies.map((copy) => (copy.raw === whole ? undefined : copy.host.write(file, whole))),
    );
    return new Journal(hosts, lines, origin);
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** On disk on every host when it returns, with all that was left to it. */
  async append(data: EntryData): Promise<void> {
    this.later(data);
    await this.flush();
  }

  /** Has its time now, and goes to the hosts with the next line: in the downtime each trip counts. */
  later(data: EntryData): void {
    this.#waiting = [...this.#waiting, { ...data, time: new Date().toISOString() }];
  }

  /** Everything is on disk on every host when it returns. */
  async flush(): Promise<void> {
    // One host may have them already: another line in their place would make two journals of one.
    if (this.#unsettled.length > 0) await this.#put(this.#unsettled);
    const lines: string[] = [];
    for (const data of this.#waiting) lines.push(this.#line(data, lines));
    this.#waiting = [];
    if (lines.length > 0) await this.#put(lines);
  }

  /** One after those that the hosts have, and after `others`, with which it goes. */
  #line({ time, ...data }: Stamped, others: readonly string[]): string {
    const entry: Omit<Entry, 'hash'> = {
      seq: this.#lines.length + others.length + 1,
      time,
      lock: this.#origin.lock,
      ...this.#origin.run,
      planDigest: this.#origin.planDigest,
      ...data,
      ...(this.#news.size > 0 ? { undo: Object.fromEntries(this.#news) } : {}),
      ...(others.length > 0 ? { joined: true } : {}),
      prev: sha256(others.at(-1) ?? this.#lines.at(-1) ?? ''),
    };
    this.#news.clear();
    return sealed(entry);
  }

  async #put(lines: readonly string[]): Promise<void> {
    this.#unsettled = lines;
    const bytes = Buffer.byteLength(text(this.#lines));
    const whole = text([...this.#lines, ...lines]);
    // All have ended before a failure is told, so that nothing is still under way then.
    const results = await Promise.allSettled(
      this.#hosts.map(async (host) => {
        try {
          const heard = this.#heard.get(host.name) ?? '';
          this.#hear(host.name, await host.append(file, text(lines), bytes, heard));
        } catch (error) {
          // The reply may have been lost after the lines were written: the next one brings what it had to say.
          if ((await host.read(file))?.toString('utf8') !== whole) throw error;
        }
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    this.#unsettled = [];
    this.#lines.push(...lines);
    this.#entries.push(...lines.map((line) => JSON.parse(line) as Entry));
  }

  #hear(name: string, news: readonly string[]): void {
    const last = news.at(-1);
    if (last === undefined) return;
    this.#heard.set(name, last);
    this.#news.set(name, [...(this.#news.get(name) ?? []), ...news]);
  }
}

type Stamped = EntryData & { readonly time: string };

interface Copy {
  readonly host: HostFiles;
  readonly raw: string;
  readonly lines: readonly string[];
}

async function readCopies(hosts: readonly HostFiles[]): Promise<readonly Copy[]> {
  return Promise.all(
    hosts.map(async (host) => {
      const raw = (await host.read(file))?.toString('utf8') ?? '';
      return { host, raw, lines: verified(raw, host.label) };
    }),
  );
}

/** The lines of one copy, chain and hashes checked; a last line without its newline was cut off and does not count. */
export function verified(raw: string, where: string): readonly string[] {
  const lines = raw.split('\n').slice(0, -1);
  let previous = '';
  for (const [index, line] of lines.entries()) {
    const entry = parse(line);
    if (entry?.seq !== index + 1 || entry.prev !== sha256(previous) || !isSealed(line))
      throw new UserError(
        `${where}: line ${index + 1} of the journal was changed or is missing. Nothing was done; compare ${file} on both hosts and with the last audit bundle`,
      );
    previous = line;
  }
  return lines;
}

/** The line of an entry: its hash is the last field. */
export function sealed(entry: Omit<Entry, 'hash'>): string {
  const body = JSON.stringify(entry);
  return `${body.slice(0, -1)},"hash":"${sha256(body)}"}`;
}

function isSealed(line: string): boolean {
  const [, body, hash] = /^(.*),"hash":"([0-9a-f]{64})"\}$/.exec(line) ?? [];
  return body !== undefined && sha256(`${body}}`) === hash;
}

function longest(copies: readonly Copy[]): readonly string[] {
  let best: readonly string[] = [];
  for (const { lines } of copies) if (lines.length > best.length) best = lines;
  for (const { lines, host } of copies) {
    const differs = lines.findIndex((line, index) => line !== best[index]);
    if (differs >= 0)
      throw new UserError(
        `${host.label}: the journal differs from the other host's at line ${differs + 1}. Nothing was done; find out which host was restored or edited`,
      );
  }
  return best;
}

function parse(line: string): { seq: number; prev: string } | undefined {
  try {
    return JSON.parse(line) as Entry;
  } catch {
    return undefined;
  }
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

function sha256(value: string): string {
  return createHash('sha256').update(value).digest('hex');
}
