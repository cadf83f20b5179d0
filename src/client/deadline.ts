import { EspalierClientError } from './errors.js';

/** Longer waits overflow what timers can hold, and would end at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * One signal for a whole call with all its attempts: aborted when the caller aborts, or when the time is up. Not
 * `AbortSignal.any`, which keeps every call in memory for as long as the caller's signal lives.
 */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #endsAtMs: number;
  readonly #forward = () => this.#controller.abort(this.#caller?.reason);

  constructor(timeoutMs: number | undefined, caller: AbortSignal | undefined) {
    this.#caller = caller;
    this.#endsAtMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
    if (caller?.aborted) this.#forward();
    else caller?.addEventListener('abort', this.#forward, { once: true });
    if (timeoutMs === undefined) return;
    const timedOut = () =>
      this.#controller.abort(new EspalierClientError('CLIENT_TIMEOUT', `no answer within ${timeoutMs} ms`));
    this.#timer = setTimeout(timedOut, Math.min(timeoutMs, MAX_TIMER_MS));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get remainingMs(): number {
    return this.#endsAtMs - performance.now();
  }

  /** @throws the reason of the caller's abort, or EspalierClientError CLIENT_TIMEOUT */
  check(): void {
    this.signal.throwIfAborted();
  }

  /** Waits, unless the call ends before. @throws as `check` */
  async sleep(ms: number): Promise<void> {
    this.check();
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.signal.addEventListener('abort', wake);
    });
    this.check();
  }

  /** Lets go of the timer and of the caller's signal. */
  dispose(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener('abort', this.#forward);
  }
}
