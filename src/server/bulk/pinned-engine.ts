import { join } from 'node:path';
import { EngineClient, monotonicMs, type RecommendAnswer, type SetSnapshot } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { cudaOff } from '../../kernels/index.js';
import {
  CatalogSnapshot,
  ChangeReader,
  openCatalogFile,
  type RuleParams,
  type SetTruth,
} from '../../static-trie/index.js';
import { ModelStore } from '../model-store.js';
import { type RecommendRequest, toQuery } from '../recommend/to-query.js';
import type { BulkFolder } from './bulk-folder.js';
import type { BulkPins, PinnedCatalog, PinnedSet } from './bulk-pins.js';

/** Nobody waits for one answer of a job; a request that takes so long is an error all the same. */
const TIMEOUT_MS = 600_000;
const PREFILL_CACHE_BYTES = 2 ** 26;

export interface PinnedEngineOptions {
  folder: BulkFolder;
  modelsDir: string | undefined;
  /** Requests that are asked for at a time. */
  concurrency: number;
}

/**
 * Answers as the server did at the moment that is pinned. Catalogs are opened and sets evaluated when the first request
 * names them.
 */
export class PinnedEngine {
  readonly #pins: BulkPins;
  readonly #folder: BulkFolder;
  readonly #models: ModelStore | undefined;
  readonly #engine: EngineClient;
  readonly #catalogs = new Map<string, Promise<CatalogSnapshot>>();
  readonly #sets = new Map<string, Promise<void>>();
  #failure: EspalierError | undefined;

  constructor({ folder, modelsDir, concurrency }: PinnedEngineOptions) {
    this.#pins = folder.pins();
    this.#folder = folder;
    this.#models = modelsDir === undefined ? undefined : new ModelStore(modelsDir);
    this.#engine = new EngineClient({
      isolation: 'thread',
      engineCount: 1,
      threads: 1,
      stepThreads: 1,
      prefillCacheBytes: PREFILL_CACHE_BYTES,
      queueLimit: concurrency,
      maxBatchRows: 1_024,
      maxBatchWaitMs: 2,
      hangTimeoutMs: TIMEOUT_MS,
      modelOpenTimeoutMs: TIMEOUT_MS,
      // The memory of a GPU is for those who wait for their answer.
      cuda: cudaOff('bulk jobs decode on the CPU'),
      onFailure: (error) => {
        this.#failure = error;
      },
    });
  }

  /** What concerns the whole job rather than one request: its model, its catalog's file, the engine. */
  get failure(): EspalierError | undefined {
    return this.#failure;
  }

  /**
   * @param request fits its schema; its time limit does not apply
   * @throws EspalierError as `RecommendService.recommend`
   */
  async recommend(request: RecommendRequest, requestId: string): Promise<RecommendAnswer> {
    const { catalog } = request;
    if (!Object.hasOwn(this.#pins.catalogs, catalog)) throw this.#notFound(catalog);
    const query = toQuery({ ...request, timeoutMs: TIMEOUT_MS }, requestId, TIMEOUT_MS);
    const pin = this.#pins.catalogs[catalog];
    // One that did not serve: the engine says so.
    if (pin === null) return this.#engine.recommend(query);
    const snapshot = await this.#open(catalog, pin);
    const { set } = query.constraint;
    if (set !== undefined) {
      const name = this.setName(catalog, set);
      const pinned = pin.sets.find((one) => one.name === name);
      if (pinned !== undefined) await this.#put(catalog, pin, pinned, snapshot);
      query.constraint = { ...query.constraint, set: name };
    }
    return this.#engine.recommend({ ...query, ...nowUntil(TIMEOUT_MS) });
  }

  /** The set that a name stood for in a catalog. */
  setName(catalog: string, name: string): string {
    const alias = this.#pins.aliases.find((one) => one.catalog === catalog && one.alias === name);
    return alias?.constraintSet ?? name;
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  #open(catalog: string, pin: PinnedCatalog): Promise<CatalogSnapshot> {
    let opening = this.#catalogs.get(catalog);
    if (opening === undefined) {
      opening = this.#activate(catalog, pin);
      this.#catalogs.set(catalog, opening);
      opening.catch((thrown) => {
        this.#failure ??= EspalierError.from(thrown);
      });
    }
    return opening;
  }

  async #activate(catalog: string, pin: PinnedCatalog): Promise<CatalogSnapshot> {
    const { version, model, modelInfo, attributes } = pin;
    if (this.#models === undefined) {
      const message = `model ${model.name} version ${model.version} is needed, and this worker was started without --models-dir`;
      throw new EspalierError('ESP_MODEL_NOT_FOUND', message);
    }
    const path = this.#path(pin.file);
    const { file, after, upTo } = pin.changes;
    const changes = { path: this.#path(file ?? 'none'), after, upTo };
    await this.#engine.prepareCatalog({
      catalog,
      version,
      path,
      model: this.#models.find(model.name, model.version),
      ...(modelInfo && { modelInfo }),
      sets: [],
      changes,
    });
    await this.#engine.commitCatalog(catalog);
    const snapshot = CatalogSnapshot.of(openCatalogFile(path), attributes, after);
    return snapshot.withChanges(new ChangeReader(changes.path, after).catchUp(upTo)).snapshot;
  }

  #put(catalog: string, pin: PinnedCatalog, set: PinnedSet, snapshot: CatalogSnapshot): Promise<void> {
    const key = JSON.stringify([catalog, set.name]);
    let putting = this.#sets.get(key);
    if (putting === undefined) {
      putting = this.#evaluate(catalog, pin, set, snapshot);
      this.#sets.set(key, putting);
    }
    return putting;
  }

  async #evaluate(
    catalog: string,
    pin: PinnedCatalog,
    set: PinnedSet,
    snapshot: CatalogSnapshot,
  ): Promise<void> {
    const { name, version, expiresAtMs, evaluatedAt } = set;
    const truth: SetTruth =
      set.truth.kind === 'rule'
        ? { ...set.truth, params: set.truth.params as RuleParams }
        : { kind: 'list', path: this.#path(set.truth.file), hash: set.truth.hash };
    const derived = snapshot.derive(truth, Date.parse(evaluatedAt));
    const evaluated: SetSnapshot = { name, version, catalogVersion: pin.version, expiresAtMs, ...derived };
    await this.#engine.putSet(catalog, evaluated);
  }

  #path(file: string): string {
    return join(this.#folder.pinnedPath, file);
  }

  #notFound(catalog: string): EspalierError {
    const found = Object.keys(this.#pins.catalogs).join(', ') || 'none';
    return new EspalierError('ESP_CATALOG_NOT_FOUND', `there is no catalog ${catalog}; there are: ${found}`, {
      details: [{ field: 'catalog', expected: 'the name of a catalog', found: catalog }],
    });
  }
}

/** Opening a catalog may have taken a while. */
function nowUntil(timeoutMs: number): { enqueuedAtMs: number; deadlineAtMs: number } {
  const enqueuedAtMs = monotonicMs();
  return { enqueuedAtMs, deadlineAtMs: enqueuedAtMs + timeoutMs };
}
