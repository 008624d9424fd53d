import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

/** A stream of numbers from 0 to 1 that a seed repeats (mulberry32). */
export function stream(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Path = Buffer;

const isRoot = process.getuid?.() === 0;

/**
 * A tree as mail servers make them, and changes to it as they, people and accidents make them. Names
 * are bytes. What a change needs and does not find, it leaves.
 */
export class RandomStore {
  readonly #random: () => number;
  readonly #root: string;
  #serial = 0;

  constructor(root: string, random: () => number) {
    this.#root = root;
    this.#random = random;
  }

  make(): void {
    mkdirSync(this.#root, { recursive: true });
    const mailboxes = 1 + this.#below(3);
    for (let index = 0; index < mailboxes; index += 1) {
      this.#maildir(this.#path(`user${index}`));
      if (this.#chance(0.6)) this.#maildir(this.#path(`user${index}/.Sent`));
      // LAYOUT=fs, with folders that have the names of Maildir's own.
      if (this.#chance(0.3))
        this.#maildir(this.#path(`user${index}/mail/${this.#pick(['new', 'cur', 'x'])}`));
    }
    for (let left = this.#below(25); left > 0; left -= 1) this.#deliver();
    this.change(this.#below(10));
  }

  /** So many changes, each of a random kind. */
  change(count: number): void {
    for (let left = count; left > 0; left -= 1) {
      try {
        this.#pick(this.#kinds)();
      } catch (error) {
        // Two changes that do not go together: no parent, or something is there already.
        const { code } = error as NodeJS.ErrnoException;
        if (
          ![
            'ENOENT',
            'EEXIST',
            'ENOTDIR',
            'EISDIR',
            'ENOTEMPTY',
            'EINVAL',
            'EPERM',
            'ELOOP',
          ].includes(code ?? '')
        )
          throw error;
      }
    }
  }

  readonly #kinds: readonly (() => void)[] = [
    () => this.#deliver(),
    () => this.#deliver(),
    () => this.#flag(),
    () => this.#flag(),
    () => this.#move(),
    () => this.#move(),
    () => this.#remove(),
    () => this.#swap(),
    () => this.#hardLink(),
    () => this.#breakLink(),
    () => this.#writeIndex(),
    () => this.#writeIndex(),
    () => this.#replaceIndex(),
    () => this.#uncommonFile(),
    () => this.#addFolder(),
    () => this.#renameFolder(),
    () => this.#removeFolder(),
    () => this.#replaceFolder(),
    () => this.#symbolicLink(),
    () => this.#exchangeKinds(),
    () => this.#attributes(),
  ];

  #deliver(): void {
    const folder = this.#pick(this.#folders(/\/(cur|new|tmp)$/));
    if (!folder) return;
    this.#serial += 1;
    const odd = this.#chance(0.15)
      ? this.#oddName()
      : Buffer.from(`${1700000000 + this.#serial}.M${this.#below(1e6)}.host`);
    const size = this.#pick([0, 1, 100, 100, 300, 5000, 300_000]);
    const flags = this.#chance(0.6) ? Buffer.from(`:2,${this.#flags()}`) : Buffer.alloc(0);
    this.#write(this.#join(folder, Buffer.concat([odd, flags])), size);
  }

  #flag(): void {
    const message = this.#pick(this.#files(/\/(cur|new)\/[^/]*$/));
    if (!message) return;
    const base = message.toString('latin1').replace(/:2,[^/]*$/, '');
    const moved = this.#chance(0.4) ? base.replace(/\/new\/([^/]*)$/, '/cur/$1') : base;
    renameSync(message, Buffer.from(`${moved}:2,${this.#flags()}`, 'latin1'));
  }

  #move(): void {
    const message = this.#pick(this.#files(/\/(cur|new|tmp)\/[^/]*$/));
    const folder = this.#pick(this.#folders(/\/(cur|new)$/));
    if (message && folder) renameSync(message, this.#join(folder, name(message)));
  }

  #remove(): void {
    const file = this.#pick(this.#files(/./));
    if (file) rmSync(file);
  }

  #swap(): void {
    const [one, other] = [this.#pick(this.#files(/./)), this.#pick(this.#files(/./))];
    if (!one || !other || one.equals(other)) return;
    // A message that takes the name of another, of the same size and written in the same moment, is
    // what no mail server makes.
    if (lstatSync(one).size === lstatSync(other).size) return;
    const between = this.#path('between');
    renameSync(one, between);
    renameSync(other, one);
    renameSync(between, other);
  }

  #hardLink(): void {
    const file = this.#pick(this.#files(/./));
    const folder = this.#pick(this.#folders(/./));
    if (!file || !folder) return;
    this.#serial += 1;
    const fresh = this.#chance(0.3)
      ? this.#oddName()
      : Buffer.from(`${1700000000 + this.#serial}.L1.host:2,S`);
    linkSync(file, this.#join(folder, fresh));
  }

  #breakLink(): void {
    const file = this.#files(/./).find((path) => lstatSync(path).nlink > 1);
    if (!file) return;
    const { atime, mtime } = lstatSync(file);
    const copy = Buffer.concat([file, Buffer.from('.copy')]);
    writeFileSync(copy, readFileSync(file));
    lutimesSync(copy, atime, mtime);
    renameSync(copy, file);
  }

  /** In place, of the same or another size, as Dovecot's index logs and ours. */
  #writeIndex(): void {
    const folder = this.#pick(this.#folders(/^(?!.*\/(cur|new|tmp)$)/)) ?? this.#path('.');
    const path = this.#join(
      folder,
      Buffer.from(this.#pick(['dovecot.index.log', 'dovecot-uidlist', 'subscriptions']) ?? ''),
    );
    const file = openSync(path, existsSync(path) ? 'r+' : 'w');
    writeSync(file, this.#text(this.#pick([10, 10, 200]) ?? 10), this.#pick([0, 5]) ?? 0);
    closeSync(file);
  }

  #replaceIndex(): void {
    const index = this.#pick(this.#files(/dovecot|subscriptions/));
    if (!index) return;
    const fresh = Buffer.concat([index, Buffer.from('.lock')]);
    writeFileSync(fresh, this.#text(30));
    if (this.#chance(0.3)) lutimesSync(fresh, 1e9, 1e9);
    renameSync(fresh, index);
  }

  #uncommonFile(): void {
    const folder = this.#pick(this.#folders(/./));
    if (folder) this.#write(this.#join(folder, this.#oddName()), this.#below(50));
  }

  #addFolder(): void {
    const mailbox = this.#pick(this.#folders(/user\d$/));
    if (mailbox)
      this.#maildir(
        this.#join(
          mailbox,
          Buffer.concat([
            Buffer.from('.'),
            this.#chance(0.3) ? this.#oddName() : Buffer.from(`F${this.#below(5)}`),
          ]),
        ),
      );
  }

  #renameFolder(): void {
    const folder = this.#pick(this.#folders(/./));
    if (folder) renameSync(folder, Buffer.concat([folder, Buffer.from(`${this.#below(3)}`)]));
  }

  #removeFolder(): void {
    if (this.#chance(0.5)) return;
    const folder = this.#pick(this.#folders(/./));
    if (folder) rmSync(folder, { recursive: true });
  }

  /** Another folder takes the name of one. */
  #replaceFolder(): void {
    const [one, other] = [
      this.#pick(this.#folders(/\/\.|user/)),
      this.#pick(this.#folders(/\/\.|user/)),
    ];
    if (!one || !other || one.equals(other) || other.includes(one) || one.includes(other)) return;
    rmSync(one, { recursive: true });
    renameSync(other, one);
  }

  #symbolicLink(): void {
    const folder = this.#pick(this.#folders(/./));
    if (!folder) return;
    const path = this.#join(folder, this.#chance(0.3) ? this.#oddName() : Buffer.from('link'));
    rmSync(path, { force: true });
    symlinkSync(
      this.#pick([Buffer.from('../user0'), Buffer.from('nowhere'), this.#oddName()]) ?? '',
      path,
    );
  }

  /** A file where a folder was, a folder or a link to it where a file was. */
  #exchangeKinds(): void {
    const entry = this.#pick([...this.#files(/./), ...this.#folders(/./)]);
    if (!entry) return;
    const aside = this.#path(`aside${this.#below(100)}`);
    renameSync(entry, aside);
    const kind = this.#below(3);
    if (kind === 0) writeFileSync(entry, this.#text(9));
    else if (kind === 1) mkdirSync(entry);
    else symlinkSync(aside, entry);
    if (this.#chance(0.5)) rmSync(aside, { recursive: true });
  }

  /** Of what is no message: the folder of a message would not tell. */
  #attributes(): void {
    const entry = this.#pick([...this.#files(/\/(?!\d+\.)[^/]*$/), ...this.#folders(/./)]);
    // Not of a message, which no mail server does, nor by another link of it: see decision 17.
    if (!entry || (lstatSync(entry).isFile() && lstatSync(entry).nlink > 1)) return;
    if (this.#chance(0.4)) chmodSync(entry, this.#pick([0o700, 0o750, 0o2770, 0o640]) ?? 0o700);
    if (isRoot && this.#chance(0.4))
      chownSync(entry, this.#pick([0, 1, 12345]) ?? 0, this.#pick([0, 8, 54321]) ?? 0);
    if (this.#chance(0.4)) lutimesSync(entry, 1.5, this.#pick([-5, 0, 1e9 + 0.123456]) ?? 0);
  }

  #maildir(path: Path): void {
    for (const part of ['cur', 'new', 'tmp'])
      mkdirSync(this.#join(path, Buffer.from(part)), { recursive: true });
    this.#serial += 1;
    writeFileSync(this.#join(path, Buffer.from('dovecot-uidlist')), `3 V${this.#serial}\n`);
  }

  #write(path: Path, size: number | undefined): void {
    writeFileSync(path, this.#text(size ?? 0));
  }

  #text(size: number): Buffer {
    const text = Buffer.alloc(size);
    for (let index = 0; index < size; index += 1 + (index >> 6)) text[index] = this.#below(256);
    return text;
  }

  #oddName(): Buffer {
    const length = 1 + this.#below(6);
    const bytes = Array.from(
      { length },
      () =>
        this.#pick([0x0a, 0x20, 0x27, 0x5c, 0xff, 0xe4, 0x2a, 0x3a, 0x2c, 0x41, 0x31, 0x2d]) ??
        0x41,
    );
    return Buffer.from(bytes);
  }

  #flags(): string {
    return this.#pick(['', 'S', 'FS', 'RS', 'Sab', 'T']) ?? '';
  }

  #folders(pattern: RegExp): readonly Path[] {
    return this.#all(Buffer.from(this.#root), (entry) => entry.isDirectory(), pattern);
  }

  #files(pattern: RegExp): readonly Path[] {
    return this.#all(Buffer.from(this.#root), (entry) => entry.isFile(), pattern);
  }

  #all(
    folder: Path,
    wanted: (entry: { isDirectory(): boolean; isFile(): boolean }) => boolean,
    pattern: RegExp,
  ): Path[] {
    return readdirSync(folder, { withFileTypes: true, encoding: 'buffer' }).flatMap((entry) => {
      const path = this.#join(folder, entry.name);
      const inner = path.toString('latin1').slice(this.#root.length);
      return [
        ...(wanted(entry) && pattern.test(inner) ? [path] : []),
        ...(entry.isDirectory() ? this.#all(path, wanted, pattern) : []),
      ];
    });
  }

  #path(inner: string): Path {
    return Buffer.from(`${this.#root}/${inner}`, 'latin1');
  }

  #join(folder: Path, last: Buffer): Path {
    return Buffer.concat([folder, Buffer.from('/'), last]);
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }
}

function name(path: Path): Buffer {
  return path.subarray(path.lastIndexOf('/') + 1);
}
