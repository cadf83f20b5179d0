import type { EspalierError } from '../errors.js';
import { type CudaFinding, cudaOff, type DeviceReport } from '../kernels/index.js';
import type { AppliedChanges, CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import { Batcher, type BatcherOptions } from './batcher.js';
import { EnginePool } from './engine-pool.js';
import {
  type EngineIsolation,
  engineStarter,
  processStarter,
  type StartEngine,
  type StartProcess,
} from './engine-port.js';
import type { ModelInfo } from './model-fingerprint.js';
import type { Recheck } from './recheck.js';
import type { RecommendAnswer, RecommendQuery } from './recommend-query.js';

export interface EngineClientOptions {
  isolation: EngineIsolation;
  /** How many engines decode side by side. */
  engineCount: number;
  /** Threads that one model run may use. */
  threads: number;
  /** Threads that one decode step may use, the engine's own among them. */
  stepThreads: number;
  /** Bytes of read histories that all engines keep together. */
  prefillCacheBytes: number;
  /** Requests that may wait or be decoded; further ones are refused. */
  queueLimit: number;
  /** The most rows of a batch; what the machine gains from wider ones is measured, and may lower it. */
  maxBatchRows: number;
  maxBatchWaitMs: number;
  /** An engine in a process of its own is killed when a batch takes so long. */
  hangTimeoutMs: number;
  /** A model that is not open, checked and measured within this time is refused. */
  modelOpenTimeoutMs: number;
  /** An engine has failed and is being replaced. */
  onFailure: (error: EspalierError) => void;
  /** A catalog that served does not any more, for what is wrong with its files or its model; the others do. */
  onCatalogLost?: (catalog: string, error: EspalierError) => void;
  onBatch?: BatcherOptions['onBatch'];
  onRefusal?: BatcherOptions['onRefusal'];
  /** Of the answers, which are looked at again after they were sent, 0 to 1; by default none. */
  recheckShare?: number;
  onRecheck?: (recheck: Recheck) => void;
  /** The GPU that the process has found; the engines do not look for one. */
  cuda?: CudaFinding | undefined;
  /** An engine's device stands otherwise than before. */
  onDevice?: (report: DeviceReport) => void;
  /** How engines are started; by default as `isolation` says. */
  start?: StartEngine;
  /** How processes are started that models are tried in; by default with the same threads, and without a GPU. */
  startTrial?: StartProcess;
}

/** The decode engines as the server sees them: elsewhere, behind a queue that lets requests decode together. */
export class EngineClient {
  readonly #pool: EnginePool;
  readonly #batcher: Batcher;
  readonly #maxBatchRows: number;
  /** By catalog: which model's requests its own decode with. */
  readonly #models = new Map<string, string>();
  readonly #preparing = new Map<string, ModelRef>();
  /** By model: rows that are worth decoding together. */
  readonly #bestRows = new Map<string, number>();

  constructor(options: EngineClientOptions) {
    const { isolation, engineCount, threads, stepThreads, prefillCacheBytes } = options;
    const engineOptions = {
      threads,
      stepThreads,
      prefillCacheBytes: Math.floor(prefillCacheBytes / engineCount),
      recheckShare: options.recheckShare ?? 0,
      cuda: options.cuda,
    };
    this.#maxBatchRows = options.maxBatchRows;
    this.#pool = new EnginePool({
      start: options.start ?? engineStarter(isolation, engineOptions),
      trials: {
        start: options.startTrial ?? processStarter({ ...engineOptions, ...TRIAL }),
        timeoutMs: options.modelOpenTimeoutMs,
        // Where every request decodes alone there is nothing to measure.
        calibrates: this.#maxBatchRows > 1,
      },
      engineCount,
      hangTimeoutMs: options.hangTimeoutMs,
      onFailure: options.onFailure,
      onCatalogLost: (catalog, error) => {
        this.#models.delete(catalog);
        options.onCatalogLost?.(catalog, error);
      },
      onIdle: () => this.#batcher.dispatch(),
      onRecheck: options.onRecheck,
      onDevice: options.onDevice,
    });
    this.#batcher = new Batcher({
      queueLimit: options.queueLimit,
      maxWaitMs: options.maxBatchWaitMs,
      maxRowsOf: (model) => Math.min(this.#bestRows.get(model) ?? 1, this.#maxBatchRows),
      hasIdleEngine: () => this.#pool.hasIdle,
      engineCount: () => this.#pool.engineCount,
      run: (queries, onStart) => this.#pool.recommendBatch(queries, onStart),
      onBatch: options.onBatch ?? (() => {}),
      onRefusal: options.onRefusal ?? (() => {}),
    });
  }

  /** Requests that wait for an engine or are in one. */
  get queueLength(): number {
    return this.#batcher.length;
  }

  /** Engines that serve; fewer than configured while one is being replaced. */
  get engineCount(): number {
    return this.#pool.engineCount;
  }

  /** How the engines' devices stand; none where there is none. */
  get deviceReports(): DeviceReport[] {
    return this.#pool.deviceReports;
  }

  /**
   * Opens a model in every engine. Where something serves, it is tried elsewhere first, and the engines open it one after
   * the other while the rest decode.
   * @throws EspalierError as `tryModel`
   */
  loadModel(ref: ModelRef): Promise<ModelInfo> {
    return this.#pool.loadModel(ref);
  }

  /**
   * Opens, checks and measures a model in a process of its own: whatever comes of it, nothing that serves notices.
   * @throws EspalierError ESP_MODEL_…, ESP_ENGINE_FAILED where the process ends under it
   */
  tryModel(ref: ModelRef): Promise<ModelInfo> {
    return this.#pool.tryModel(ref);
  }

  /** Closes every open model that is neither kept nor used by a catalog or by a request that runs. */
  releaseModels(keep: readonly ModelRef[]): Promise<void> {
    return this.#pool.releaseModels(keep);
  }

  /** Folders of the models that are open in any engine: kept, in use, or not released yet. */
  openModels(): Promise<string[]> {
    return this.#pool.openModels();
  }

  /** First half of an activation: does everything that can fail, and changes nothing that serves. */
  async prepareCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog, model } = activation;
    await this.#pool.prepareCatalog(activation);
    if (this.#maxBatchRows > 1 && !this.#bestRows.has(keyOf(model))) {
      const { bestRows } = await this.#pool.calibrate(model);
      this.#bestRows.set(keyOf(model), bestRows);
    }
    this.#preparing.set(catalog, model);
  }

  /** Second half: what was prepared serves from the next batch on. */
  async commitCatalog(catalog: string): Promise<void> {
    await this.#pool.commitCatalog(catalog);
    const model = this.#preparing.get(catalog);
    this.#preparing.delete(catalog);
    if (model !== undefined) this.#models.set(catalog, keyOf(model));
  }

  /** Drops what was prepared and is not to serve after all. */
  discardCatalog(catalog: string): Promise<void> {
    this.#preparing.delete(catalog);
    return this.#pool.discardCatalog(catalog);
  }

  putSet(catalog: string, snapshot: SetSnapshot): Promise<void> {
    return this.#pool.putSet(catalog, snapshot);
  }

  deleteSet(catalog: string, name: string): Promise<void> {
    return this.#pool.deleteSet(catalog, name);
  }

  /**
   * Changes that the catalog's log has, up to this one, are in force for every batch that begins after this.
   * @returns what they did, as one engine counts it; nothing where every engine is being replaced
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged log: then the catalog serves no more
   */
  applyChanges(catalog: string, upTo: number): Promise<AppliedChanges> {
    return this.#pool.applyChanges(catalog, upTo);
  }

  /** The catalog serves no more; its model goes with `releaseModels`. */
  removeCatalog(catalog: string): Promise<void> {
    this.#models.delete(catalog);
    this.#preparing.delete(catalog);
    return this.#pool.removeCatalog(catalog);
  }

  /**
   * @param signal aborted when nobody waits for the answer any more
   * @throws EspalierError as `Batcher.recommend`
   */
  async recommend(query: RecommendQuery, signal?: AbortSignal): Promise<RecommendAnswer> {
    // A catalog that does not serve: the engine says so.
    const model = this.#models.get(query.catalog) ?? '';
    return this.#batcher.recommend(query, model, signal);
  }

  /** Requests that `enqueue` makes before it returns decode together, as far as they fit. */
  together<Result>(enqueue: () => Result): Result {
    return this.#batcher.together(enqueue);
  }

  /**
   * Ends the engines after what they have.
   * @param graceMs one that can be killed is, when it takes longer
   */
  close(graceMs?: number): Promise<void> {
    return this.#pool.close(graceMs);
  }

  /** Ends engines in processes at once, whatever they do: those would outlive a process that ends without closing. */
  kill(): void {
    this.#pool.kill();
  }
}

/** What the engine of a trial does not need: it answers no request. */
const TRIAL = {
  stepThreads: 1,
  prefillCacheBytes: 0,
  recheckShare: 0,
  cuda: cudaOff('models are tried on the CPU'),
};

function keyOf({ name, version, folder }: ModelRef): string {
  return JSON.stringify([name, version, folder]);
}
