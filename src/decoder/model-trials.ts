import { EspalierError } from '../errors.js';
import type { ModelRef } from './activation.js';
import type { Calibration } from './calibrate.js';
import type { LoadedModel } from './engine.js';
import type { StartProcess } from './engine-port.js';
import { stampFolder } from './folder-stamp.js';

export interface ModelTrialsOptions {
  /** Starts the process of a trial. */
  start: StartProcess;
  /** A model that takes longer is refused. */
  timeoutMs: number;
  /** Whether rows are measured, too: not where every request decodes alone. */
  calibrates: boolean;
}

/** What a trial has found: engines that open the model need not find it again. */
export interface TriedModel extends LoadedModel {
  calibration?: Calibration;
}

/** Models whose findings are kept. */
const MAX_KNOWN = 64;

/**
 * Tries models where nothing serves: opens, checks and measures each in a process of its own, which ends with the trial.
 * So no request waits for it, and a model that hangs or crashes there harms nobody. A thread would not do: one that is
 * inside a model run cannot be ended.
 */
export class ModelTrials {
  readonly #options: ModelTrialsOptions;
  /** By stamp of the folder, oldest first. */
  readonly #known = new Map<string, TriedModel>();
  /** Those under way, so that two callers share one. */
  readonly #running = new Map<string, Promise<TriedModel>>();
  readonly #kills = new Set<() => void>();
  #isClosed = false;

  constructor(options: ModelTrialsOptions) {
    this.#options = options;
  }

  /** What has been found of a model as it lies on disk now. */
  known({ folder }: ModelRef): TriedModel | undefined {
    return this.#known.get(stampFolder(folder));
  }

  /** Keeps what was found, here or by an engine. */
  keep(found: TriedModel): void {
    this.#known.delete(found.stamp);
    this.#known.set(found.stamp, found);
    if (this.#known.size > MAX_KNOWN) this.#known.delete(this.#known.keys().next().value!);
  }

  /**
   * Tries a model, also one that was tried before.
   * @throws EspalierError as `openModel`; ESP_MODEL_TIMEOUT; ESP_ENGINE_FAILED where the process ends under it
   */
  run(ref: ModelRef): Promise<TriedModel> {
    const stamp = stampFolder(ref.folder);
    let trial = this.#running.get(stamp);
    if (trial === undefined) {
      trial = this.#try(ref).finally(() => this.#running.delete(stamp));
      this.#running.set(stamp, trial);
    }
    return trial;
  }

  /** Ends every trial at once. */
  close(): void {
    this.#isClosed = true;
    for (const kill of this.#kills) kill();
  }

  async #try(ref: ModelRef): Promise<TriedModel> {
    const { start, timeoutMs, calibrates } = this.#options;
    if (this.#isClosed) throw shuttingDown();
    let end: EspalierError | undefined;
    let isLate = false;
    const engine = start((error) => {
      end = error;
    });
    const kill = () => engine.kill();
    this.#kills.add(kill);
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, timeoutMs);
    try {
      const loaded = await engine.loadModel(ref);
      const tried = calibrates ? { ...loaded, calibration: await engine.calibrate(ref) } : loaded;
      this.keep(tried);
      return tried;
    } catch (thrown) {
      if (this.#isClosed) throw shuttingDown();
      if (isLate) throw modelTimeout(ref, timeoutMs);
      if (end === undefined) throw thrown;
      throw new EspalierError('ESP_ENGINE_FAILED', `model ${ref.name}, while it was tried: ${end.message}`, {
        cause: end,
      });
    } finally {
      clearTimeout(timer);
      this.#kills.delete(kill);
      // Nothing in it is worth the time that closing takes.
      kill();
    }
  }
}

/** A model that hangs, or is too slow, while it opens. */
export function modelTimeout({ name, version }: ModelRef, timeoutMs: number): EspalierError {
  const expected = `open, checked and measured within ${timeoutMs} ms (modelOpenTimeoutMs)`;
  const message = `model ${name} version ${version} did not open in time: expected it ${expected}`;
  return new EspalierError('ESP_MODEL_TIMEOUT', message, {
    details: [{ field: 'model', expected, found: 'still at it' }],
  });
}

function shuttingDown(): EspalierError {
  return new EspalierError('ESP_SHUTTING_DOWN', 'the server is shutting down');
}
