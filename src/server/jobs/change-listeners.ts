import type { Job } from './job-store.js';

type Listener = (job: Job) => void;

/** Who wants to hear of which job. */
export class ChangeListeners {
  readonly #listeners = new Map<string, Set<Listener>>();

  /** @returns removes the listener. */
  add(id: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(id) === listeners) this.#listeners.delete(id);
    };
  }

  tell(job: Job): void {
    for (const listener of [...(this.#listeners.get(job.id) ?? [])]) listener(job);
  }
}
