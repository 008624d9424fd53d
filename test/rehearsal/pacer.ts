/**
 * Calls `beat` at an even rate until stopped. When the process was held up, the missed beats are
 * made up for, so that the rate asked for is the rate that was.
 */
export class Pacer {
  #timer: NodeJS.Timeout | undefined;
  #started = 0;
  #done = 0;

  /** @param rate beats a second */
  start(rate: number, beat: () => void): void {
    this.#started = Date.now();
    this.#timer = setInterval(
      () => {
        const due = ((Date.now() - this.#started) / 1000) * rate;
        while (this.#done < due) {
          this.#done += 1;
          beat();
        }
      },
      Math.min(100, 1000 / rate),
    );
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
