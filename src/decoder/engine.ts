import { EspalierError } from '../errors.js';
import { chooseKernel, type Kernel } from '../kernels/index.js';
import { openCatalogFile } from '../static-trie/index.js';
import type { CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import { ActiveCatalog } from './active-catalog.js';
import type { Model } from './model.js';
import { fingerprintModel, type ModelInfo } from './model-fingerprint.js';
import { OpenModels } from './open-models.js';
import { type RecommendAnswer, type RecommendQuery, recommend } from './recommend.js';

/**
 * Models, active catalogs and their sets, and the decodes over them. It lives on a thread of its own, because
 * a model run blocks the thread it is called on.
 */
export class DecodeEngine {
  readonly #kernel: Kernel;
  readonly #models: OpenModels;
  readonly #active = new Map<string, ActiveCatalog>();
  readonly #prepared = new Map<string, ActiveCatalog>();
  /** Requests that run, with the model each began with. */
  readonly #running = new Set<{ model: Model }>();

  /** @param threads threads that one model run may use. */
  constructor(threads: number, kernel: Kernel = chooseKernel()) {
    this.#models = new OpenModels(threads);
    this.#kernel = kernel;
  }

  /** Opens a model, or takes the one that is open, and checks it. */
  async loadModel(ref: ModelRef): Promise<ModelInfo> {
    const { manifest, vocabSize } = await this.#models.get(ref);
    return fingerprintModel(manifest, vocabSize);
  }

  /** Closes every open model that is neither kept nor used by a catalog or by a request that runs. */
  releaseModels(keep: readonly ModelRef[]): Promise<void> {
    const users = [...this.#active.values(), ...this.#prepared.values(), ...this.#running];
    return this.#models.release(keep, new Set(users.map(({ model }) => model)));
  }

  /** Folders of the models that are open. */
  openModels(): string[] {
    return this.#models.folders();
  }

  /** First half of an activation: does everything that can fail, and changes nothing that serves. */
  async prepareCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog, path, model: ref } = activation;
    const model = await this.#models.get(ref);
    const version = openCatalogFile(path);
    checkCodebooks(catalog, version.trie.codebookSizes, model);
    this.#prepared.set(catalog, new ActiveCatalog(activation, version, model));
  }

  /** Drops what was prepared and is not to serve after all; without it its model would stay open. */
  discardCatalog(catalog: string): void {
    this.#prepared.delete(catalog);
  }

  /** Second half: what was prepared serves from the next request on. */
  commitCatalog(catalog: string): void {
    const prepared = this.#prepared.get(catalog);
    if (prepared === undefined)
      throw new EspalierError('ESP_INTERNAL', `catalog ${catalog} was not prepared`);
    this.#prepared.delete(catalog);
    this.#active.set(catalog, prepared);
  }

  putSet(catalog: string, snapshot: SetSnapshot): void {
    this.#active.get(catalog)?.putSet(snapshot);
  }

  async recommend(query: RecommendQuery): Promise<RecommendAnswer> {
    const catalog = this.#active.get(query.catalog);
    if (catalog === undefined) {
      throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${query.catalog} has no active version`);
    }
    const running = { model: catalog.model };
    this.#running.add(running);
    try {
      return await recommend(this.#kernel, catalog, query);
    } finally {
      this.#running.delete(running);
    }
  }

  async close(): Promise<void> {
    this.#active.clear();
    this.#prepared.clear();
    await this.#models.close();
  }
}

function checkCodebooks(catalog: string, codebookSizes: readonly number[], { manifest }: Model): void {
  const expected = manifest.sid.codebookSizes.join(', ');
  const found = codebookSizes.join(', ');
  if (expected === found) return;
  throw new EspalierError('ESP_MODEL_MISFIT', `model ${manifest.name} does not fit catalog ${catalog}`, {
    details: [{ field: 'sid.codebookSizes', expected: `[${expected}] (the model's)`, found: `[${found}]` }],
  });
}
