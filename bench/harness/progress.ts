const BAR = 24;

/** A terminal, or what stands for one in a test. */
export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/**
 * How far a run is, in the seconds that its cases were guessed to take: one line that changes on a terminal, a line
 * for each finished case elsewhere. What remains is the guesses of what remains, times how wrong they were so far.
 */
export class ProgressBar {
  readonly #totalSeconds: number;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #startMs: number;
  #doneSeconds = 0;
  #shown = '';

  /** @param now milliseconds of a clock */
  constructor(totalSeconds: number, stream: ProgressStream = process.stderr, now = () => performance.now()) {
    this.#totalSeconds = totalSeconds;
    this.#stream = stream;
    this.#now = now;
    this.#startMs = now();
  }

  /** What is being done: on terminals only, where it is overwritten. */
  say(what: string): void {
    if (!this.#stream.isTTY) return;
    const done = this.#share();
    const bar = '#'.repeat(Math.round(done * BAR)).padEnd(BAR, '.');
    const line = `[${bar}] ${String(Math.floor(done * 100)).padStart(3)} % ${this.remaining()}  ${what}`;
    this.#show(line.slice(0, (this.#stream.columns ?? 100) - 1));
  }

  /** A case is over. @param guessSeconds what it was guessed to take */
  finish(line: string, guessSeconds: number): void {
    this.#doneSeconds += guessSeconds;
    this.print(this.#stream.isTTY ? line : `${line} (${this.remaining()})`);
  }

  /** A line that stays. */
  print(line: string): void {
    this.#show('');
    this.#stream.write(`${line}\n`);
  }

  close(): void {
    this.#show('');
  }

  remaining(): string {
    const seconds = this.remainingSeconds();
    if (seconds < 90) return `about ${Math.ceil(seconds)} s left`;
    return `about ${Math.round(seconds / 60)} min left`;
  }

  remainingSeconds(): number {
    const left = Math.max(0, this.#totalSeconds - this.#doneSeconds);
    const taken = (this.#now() - this.#startMs) / 1000;
    return this.#doneSeconds > 0 ? left * (taken / this.#doneSeconds) : Math.max(0, left - taken);
  }

  #share(): number {
    return this.#totalSeconds > 0 ? Math.min(1, this.#doneSeconds / this.#totalSeconds) : 1;
  }

  #show(line: string): void {
    if (!this.#stream.isTTY || line === this.#shown) return;
    this.#stream.write(`\r\x1b[K${line}`);
    this.#shown = line;
  }
}
