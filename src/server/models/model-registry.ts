import {
  type EngineClient,
  fingerprintFaults,
  type ModelInfo,
  type ModelRef,
  stampFolder,
} from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { ModelName, ModelPin } from '../catalogs/catalog-store.js';
import type { ModelStore } from '../model-store.js';

/** What came of opening a model version: what it is, or why it cannot serve. */
export type ModelOutcome = { info: ModelInfo } | { error: EspalierError };

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;

/**
 * Opens model versions in the engine, remembers what came of it, and unloads what nothing serves with. A model
 * is open while it is in use here, while a catalog serves with it, and while a request that began with it runs.
 */
export class ModelRegistry {
  readonly #store: ModelStore;
  readonly #engine: EngineClient;
  readonly #activeModels: () => ModelName[];
  readonly #onError: (error: EspalierError) => void;
  /** By folder, with its stamp: a folder that was written anew is unknown again. */
  readonly #outcomes = new Map<string, { stamp: string; outcome: ModelOutcome }>();
  readonly #inUse = new Set<ModelRef>();
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param activeModels the models of all active pairs. */
  constructor(
    store: ModelStore,
    engine: EngineClient,
    activeModels: () => ModelName[],
    onError: (error: EspalierError) => void,
  ) {
    this.#store = store;
    this.#engine = engine;
    this.#activeModels = activeModels;
    this.#onError = onError;
  }

  /**
   * Opens a model for the time of `task`. Afterwards every model that nothing serves with is unloaded.
   * @throws EspalierError as `EngineClient.loadModel`, and what `task` throws.
   */
  async use<Result>(ref: ModelRef, task: (info: ModelInfo) => Promise<Result>): Promise<Result> {
    this.#inUse.add(ref);
    try {
      return await task(await this.#note(ref, () => this.#engine.loadModel(ref)));
    } finally {
      this.#inUse.delete(ref);
      await this.#release(FIRST_RETRY_MS);
    }
  }

  /** Tries a model where nothing serves, whatever is known of it. @throws EspalierError as `EngineClient.tryModel` */
  async check(ref: ModelRef): Promise<void> {
    await this.#note(ref, () => this.#engine.tryModel(ref));
  }

  /** What is known of a model version as it lies on disk now; undefined where it has not been opened yet. */
  outcome({ folder }: ModelRef): ModelOutcome | undefined {
    const known = this.#outcomes.get(folder);
    return known?.stamp === stampFolder(folder) ? known.outcome : undefined;
  }

  /** Unloads every model that nothing serves with. */
  releaseUnused(): Promise<void> {
    return this.#release(FIRST_RETRY_MS);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
  }

  /** Remembers what comes of opening a model. */
  async #note(ref: ModelRef, open: () => Promise<ModelInfo>): Promise<ModelInfo> {
    const stamp = stampFolder(ref.folder);
    try {
      const info = await open();
      this.#outcomes.set(ref.folder, { stamp, outcome: { info } });
      return info;
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      // What fits nothing stays so until its files change; what failed for another reason may work next time.
      if (error.code.startsWith('ESP_MODEL_')) this.#outcomes.set(ref.folder, { stamp, outcome: { error } });
      throw error;
    }
  }

  /** What still runs keeps its model open, and engines may fail: then this tries again, later and later. */
  async #release(retryMs: number): Promise<void> {
    clearTimeout(this.#retry);
    if (this.#isClosed) return;
    let isDone = false;
    try {
      const keep = [...this.#inUse, ...this.#activeModels().flatMap((model) => this.#findAll(model))];
      await this.#engine.releaseModels(keep);
      const kept = new Set(keep.map(({ folder }) => folder));
      isDone = (await this.#engine.openModels()).every((folder) => kept.has(folder));
    } catch (thrown) {
      if (!this.#isClosed) this.#onError(EspalierError.from(thrown));
    }
    if (isDone || this.#isClosed) return;
    clearTimeout(this.#retry);
    const nextMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    this.#retry = setTimeout(() => void this.#release(nextMs), retryMs).unref();
  }

  /** None where the folder is gone; what serves from it stays open by itself. */
  #findAll({ name, version }: ModelName): ModelRef[] {
    return this.#store.versions(name).includes(version) ? [this.#store.find(name, version)] : [];
  }
}

/**
 * Refuses a model for a catalog version whose SIDs were made for another one.
 * @param pin the model that the version was built for.
 * @param purpose what the model should fit.
 * @throws EspalierError ESP_MODEL_MISFIT with everything that differs.
 */
export function checkFingerprint(pin: ModelPin, ref: ModelName, found: ModelInfo, purpose: string): void {
  const details = pin.info === undefined ? [] : fingerprintFaults(pin.info, found);
  if (details.length === 0) return;
  const faults = details.map((fault) => `${fault.field}: expected ${fault.expected}, found ${fault.found}`);
  const message = `model ${ref.name} version ${ref.version} does not fit ${purpose}: ${faults.join('; ')}`;
  throw new EspalierError('ESP_MODEL_MISFIT', message, { details });
}
