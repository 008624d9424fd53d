export interface RetryQueueOptions<Job> {
  readonly concurrency: number;
  /** Milliseconds before what came back is tried again. */
  readonly backoff: number;
  /** Does the job; what it returns (the job, or what is left of it) is tried again. */
  readonly work: (job: Job) => Promise<Job | undefined>;
}

/** A queue in memory that tries its jobs side by side until each is done. */
export class RetryQueue<Job> {
  readonly #options: RetryQueueOptions<Job>;
  readonly #ready: Job[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #idle: (() => void)[] = [];
  #running = 0;
  #stopped = false;
  #fault: unknown;

  constructor(options: RetryQueueOptions<Job>) {
    this.#options = options;
  }

  get size(): number {
    return this.#ready.length + this.#running + this.#timers.size;
  }

  add(job: Job): void {
    if (this.#stopped) return;
    this.#ready.push(job);
    this.#pump();
  }

  /** Resolves to true when nothing is left, to false after so many seconds. */
  async drained(seconds: number): Promise<boolean> {
    if (this.size > 0 && !this.#stopped) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        new Promise<void>((resolve) => this.#idle.push(resolve)),
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, seconds * 1000);
        }),
      ]);
      clearTimeout(timer);
    }
    // A fault of the sender itself would make the account worthless: it must not pass in silence.
    if (this.#fault) throw this.#fault;
    return this.size === 0;
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#wake();
  }

  #pump(): void {
    while (!this.#stopped && this.#running < this.#options.concurrency) {
      const job = this.#ready.shift();
      if (job === undefined) break;
      this.#running += 1;
      void this.#run(job);
    }
  }

  async #run(job: Job): Promise<void> {
    try {
      const rest = await this.#options.work(job);
      if (rest !== undefined) this.#later(rest);
    } catch (error) {
      this.#fault ??= error;
    } finally {
      this.#running -= 1;
      this.#pump();
      if (this.size === 0) this.#wake();
    }
  }

  #later(job: Job): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#ready.push(job);
      this.#pump();
    }, this.#options.backoff);
    this.#timers.add(timer);
  }

  #wake(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
