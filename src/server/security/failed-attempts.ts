const WINDOW_MS = 60_000;
/** Generous to a client that was given a wrong key, short for who tries many. */
const MAX_PER_WINDOW = 30;
/** Addresses that are remembered; the ones that came first are forgotten. */
const MAX_ADDRESSES = 10_000;

/**
 * Counts the wrong keys of an address. Beyond the limit its wrong keys are answered "later" and not looked at further;
 * a right key still works, so that one misconfigured client does not lock out all the others behind its proxy.
 */
export class FailedAttempts {
  readonly #windows = new Map<string, { count: number; endsMs: number }>();

  /** @returns how long to wait, where there were too many; undefined otherwise */
  note(address: string, nowMs = Date.now()): number | undefined {
    let window = this.#windows.get(address);
    if (window === undefined || window.endsMs <= nowMs) {
      this.#windows.delete(address);
      window = { count: 0, endsMs: nowMs + WINDOW_MS };
      this.#windows.set(address, window);
      if (this.#windows.size > MAX_ADDRESSES) this.#windows.delete(this.#windows.keys().next().value!);
    }
    window.count++;
    return window.count > MAX_PER_WINDOW ? Math.ceil((window.endsMs - nowMs) / 1000) : undefined;
  }
}
