import type { ModelRef } from './activation.js';
import { stampFolder } from './folder-stamp.js';
import { type Model, openModel } from './model.js';
import type { ProbeResult } from './model-probe.js';

interface OpenModel {
  folder: string;
  model: Promise<Model>;
  /** Since `model` has resolved. */
  isOpen: boolean;
}

/** The models that are open. One whose files have changed since is opened anew beside the old one. */
export class OpenModels {
  readonly #threads: number;
  readonly #models = new Map<string, OpenModel>();

  /** @param threads threads that one model run may use. */
  constructor(threads: number) {
    this.#threads = threads;
  }

  /**
   * Opens a model, or takes the one that is open.
   * @param tried what trying it has told, of files with this stamp: where they are the same, it is not tried again.
   * @throws as `openModel`
   */
  get({ folder }: ModelRef, tried?: { stamp: string; probe: ProbeResult }): Promise<Model> {
    const key = stampFolder(folder);
    const known = this.#models.get(key);
    if (known !== undefined) return known.model;
    const probed = tried?.stamp === key ? tried.probe : undefined;
    const entry: OpenModel = { folder, model: openModel(folder, this.#threads, probed), isOpen: false };
    this.#models.set(key, entry);
    const onOpen = () => {
      entry.isOpen = true;
    };
    // What made it fail may lie outside the folder: the next call tries again.
    entry.model.then(onOpen, () => this.#models.delete(key));
    return entry.model;
  }

  /** Folders of the models that are open, each once. */
  folders(): string[] {
    const open = [...this.#models.values()].filter(({ isOpen }) => isOpen);
    return [...new Set(open.map(({ folder }) => folder))];
  }

  /** Closes every open model that is neither among `keep` nor among `used`. @returns those */
  async release(keep: readonly ModelRef[], used: ReadonlySet<Model>): Promise<Model[]> {
    const closed: Model[] = [];
    const keys = new Set(keep.map(({ folder }) => stampFolder(folder)));
    const opened = await Promise.allSettled(
      [...this.#models].map(async ([key, { model }]) => [key, await model] as const),
    );
    for (const one of opened) {
      if (one.status === 'rejected') continue;
      const [key, model] = one.value;
      if (keys.has(key) || used.has(model) || !this.#models.delete(key)) continue;
      await model.close();
      closed.push(model);
    }
    return closed;
  }

  /** Closes all. */
  async close(): Promise<void> {
    await this.release([], new Set());
  }
}
