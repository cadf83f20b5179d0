/** Whoever interrupts from a terminal interrupts the server as well, a moment before it is known here. */
const ECHO_MS = 300;

/** Errors by code, and when the last ones came. */
export class ErrorCounts {
  readonly counts = new Map<string, number>();
  #recent: { code: string; atMs: number }[] = [];

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  add(code: string, atMs: number): void {
    this.#recent = this.#recent.filter((one) => one.atMs >= atMs - ECHO_MS);
    this.#recent.push({ code, atMs });
    this.#change(code, 1);
  }

  /** Errors of a server that was interrupted together with whoever counts them are none. @param atMs of that */
  forgiveInterrupt(atMs: number): void {
    for (const one of this.#recent) if (one.atMs >= atMs - ECHO_MS) this.#change(one.code, -1);
    this.#recent = [];
  }

  #change(code: string, by: number): void {
    const count = (this.counts.get(code) ?? 0) + by;
    if (count > 0) this.counts.set(code, count);
    else this.counts.delete(code);
  }
}
