import { EspalierError } from '../../errors.js';

/** How the evaluations of a set that refreshes itself go. */
export interface RefreshState {
  /** The last failure since the last success. */
  failure: { at: string; error: EspalierError } | null;
}

export interface SetRefresherDeps {
  /** When a set was last evaluated, in ms since 1970, and how often it is to be; null where it is not. */
  scheduleOf: (catalog: string, set: string) => { evaluatedAtMs: number; refreshMs: number } | null;
  /** Evaluates a set again; `schedule` is called when that is done. */
  refresh: (catalog: string, set: string) => Promise<void>;
  onEnd: (error: EspalierError | null, catalog: string, set: string) => void;
}

const FIRST_RETRY_MS = 1_000;
/** Of a set's refreshMs, by how much a refresh may come early: sets evaluated together are not due together. */
const SPREAD = 0.1;

/** Has sets evaluated again when it is time. A set whose refresh fails is tried again, later and later. */
export class SetRefresher {
  readonly #deps: SetRefresherDeps;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #failures = new Map<string, { at: string; error: EspalierError; count: number }>();
  #isClosed = false;

  constructor(deps: SetRefresherDeps) {
    this.#deps = deps;
  }

  state(catalog: string, set: string): RefreshState {
    const failure = this.#failures.get(keyOf(catalog, set));
    return { failure: failure === undefined ? null : { at: failure.at, error: failure.error } };
  }

  /** Notes that a set was just evaluated, or that its schedule is another; the next refresh goes by that. */
  schedule(catalog: string, set: string): void {
    this.#failures.delete(keyOf(catalog, set));
    const schedule = this.#deps.scheduleOf(catalog, set);
    if (schedule === null) this.cancel(catalog, set);
    else {
      const { evaluatedAtMs, refreshMs } = schedule;
      this.#wait(catalog, set, evaluatedAtMs + refreshMs * (1 - SPREAD * Math.random()) - Date.now());
    }
  }

  cancel(catalog: string, set: string): void {
    const key = keyOf(catalog, set);
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    this.#failures.delete(key);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #wait(catalog: string, set: string, delayMs: number): void {
    const key = keyOf(catalog, set);
    clearTimeout(this.#timers.get(key));
    if (this.#isClosed) return;
    this.#timers.set(key, setTimeout(() => void this.#refresh(catalog, set), Math.max(0, delayMs)).unref());
  }

  async #refresh(catalog: string, set: string): Promise<void> {
    const { scheduleOf, refresh, onEnd } = this.#deps;
    const key = keyOf(catalog, set);
    this.#timers.delete(key);
    const schedule = scheduleOf(catalog, set);
    if (schedule === null || this.#isClosed) return;
    try {
      await refresh(catalog, set);
      this.#failures.delete(key);
      onEnd(null, catalog, set);
    } catch (thrown) {
      if (this.#isClosed) return;
      const error = EspalierError.from(thrown);
      const count = (this.#failures.get(key)?.count ?? 0) + 1;
      this.#failures.set(key, { at: new Date().toISOString(), error, count });
      onEnd(error, catalog, set);
      this.#wait(catalog, set, Math.min(FIRST_RETRY_MS * 2 ** (count - 1), schedule.refreshMs));
    }
  }
}

function keyOf(catalog: string, set: string): string {
  return JSON.stringify([catalog, set]);
}
