import { EspalierError } from '../errors.js';
import type { CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import type { EngineHandlers, EngineWorkerData } from './engine-worker.js';
import type { ModelInfo } from './model-fingerprint.js';
import type { RecommendAnswer, RecommendQuery } from './recommend.js';
import { ThreadClient } from './thread-rpc.js';

export interface EngineOptions {
  /** Threads that one model run may use. */
  threads: number;
  /** Requests that may wait for the engine or be in it; further ones are refused. */
  queueLimit: number;
  /** Called once if the engine's thread dies. */
  onFailure: (error: EspalierError) => void;
}

/** The decode engine as the server sees it: on another thread, behind a bounded queue. */
export class EngineClient {
  readonly #thread: ThreadClient<EngineHandlers>;
  readonly #queueLimit: number;
  #waiting = 0;

  constructor({ threads, queueLimit, onFailure }: EngineOptions) {
    const script = new URL('./engine-worker.js', import.meta.url);
    this.#thread = new ThreadClient(script, { threads } satisfies EngineWorkerData, onFailure);
    this.#queueLimit = queueLimit;
  }

  /** Requests that wait for the engine or are in it. */
  get queueLength(): number {
    return this.#waiting;
  }

  loadModel(ref: ModelRef): Promise<ModelInfo> {
    return this.#thread.call('loadModel', ref);
  }

  /** Closes every open model that is neither kept nor used by a catalog or by a request that runs. */
  releaseModels(keep: readonly ModelRef[]): Promise<void> {
    return this.#thread.call('releaseModels', keep);
  }

  /** Folders of the models that are open in the engine: kept, in use, or not released yet. */
  openModels(): Promise<string[]> {
    return this.#thread.call('openModels');
  }

  prepareCatalog(activation: CatalogActivation): Promise<void> {
    return this.#thread.call('prepareCatalog', activation);
  }

  commitCatalog(catalog: string): Promise<void> {
    return this.#thread.call('commitCatalog', catalog);
  }

  /** Drops what was prepared and is not to serve after all. */
  discardCatalog(catalog: string): Promise<void> {
    return this.#thread.call('discardCatalog', catalog);
  }

  putSet(catalog: string, snapshot: SetSnapshot): Promise<void> {
    return this.#thread.call('putSet', catalog, snapshot);
  }

  /** @throws EspalierError ESP_OVERLOADED when the queue is full; ESP_TIMEOUT at the deadline, also in the queue. */
  async recommend(query: RecommendQuery): Promise<RecommendAnswer> {
    if (this.#waiting >= this.#queueLimit) {
      throw new EspalierError('ESP_OVERLOADED', `${this.#waiting} requests are waiting already`);
    }
    this.#waiting++;
    const answer = this.#thread.call('recommend', query).finally(() => {
      this.#waiting--;
    });
    return Promise.race([answer, deadline(query, answer)]);
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}

/** The engine drops what is late when its turn comes; the caller hears of it at once. */
function deadline(query: RecommendQuery, answer: Promise<unknown>): Promise<never> {
  return new Promise((_, reject) => {
    const remainingMs = query.deadlineAtMs - performance.timeOrigin - performance.now();
    const timer = setTimeout(() => {
      reject(new EspalierError('ESP_TIMEOUT', `request ${query.requestId} was not answered in time`));
    }, remainingMs);
    const stop = () => clearTimeout(timer);
    answer.then(stop, stop);
  });
}
