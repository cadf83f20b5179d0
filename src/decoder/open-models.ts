import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelRef } from './activation.js';
import { type Model, openModel } from './model.js';

/** The models that are open. One whose files have changed since is opened anew beside the old one. */
export class OpenModels {
  readonly #threads: number;
  readonly #models = new Map<string, Promise<Model>>();

  /** @param threads threads that one model run may use. */
  constructor(threads: number) {
    this.#threads = threads;
  }

  /** Opens a model, or takes the one that is open. @throws as `openModel` */
  get({ folder }: ModelRef): Promise<Model> {
    const key = keyOf(folder);
    let model = this.#models.get(key);
    if (model === undefined) {
      model = openModel(folder, this.#threads);
      this.#models.set(key, model);
      // What made it fail may lie outside the folder: the next call tries again.
      model.catch(() => this.#models.delete(key));
    }
    return model;
  }

  /** Closes every open model that is neither among `keep` nor among `used`. @returns those */
  async release(keep: readonly ModelRef[], used: ReadonlySet<Model>): Promise<Model[]> {
    const closed: Model[] = [];
    const keys = new Set(keep.map(({ folder }) => keyOf(folder)));
    const opened = await Promise.allSettled(
      [...this.#models].map(async ([key, model]) => [key, await model] as const),
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

/** The folder with the names, sizes and times of its files; the folder alone when it is gone. */
function keyOf(folder: string): string {
  try {
    const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    const stamps = files.map(({ name }) => {
      const { size, mtimeMs } = statSync(join(folder, name));
      return [name, size, mtimeMs];
    });
    return JSON.stringify([folder, ...stamps.sort()]);
  } catch {
    return JSON.stringify([folder]);
  }
}
