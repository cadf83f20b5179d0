import { EspalierError } from '../errors.js';
import { chooseKernel, type Kernel } from '../kernels/index.js';
import { openCatalogFile } from '../static-trie/index.js';
import type { CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import { ActiveCatalog } from './active-catalog.js';
import { type Model, openModel } from './model.js';
import { type RecommendAnswer, type RecommendQuery, recommend } from './recommend.js';

export interface ModelInfo {
  codebookSizes: readonly number[];
  vocabSize: number;
}

/**
 * Models, active catalogs and their sets, and the decodes over them. It lives on a thread of its own, because
 * a model run blocks the thread it is called on.
 */
export class DecodeEngine {
  readonly #kernel: Kernel;
  readonly #threads: number;
  readonly #models = new Map<string, Promise<Model>>();
  readonly #active = new Map<string, ActiveCatalog>();
  readonly #prepared = new Map<string, ActiveCatalog>();

  /** @param threads threads that one model run may use. */
  constructor(threads: number, kernel: Kernel = chooseKernel()) {
    this.#threads = threads;
    this.#kernel = kernel;
  }

  /** Opens a model, or takes the one that is open, and checks it. */
  async loadModel(ref: ModelRef): Promise<ModelInfo> {
    const { manifest, vocabSize } = await this.#model(ref);
    return { codebookSizes: manifest.sid.codebookSizes, vocabSize };
  }

  /** First half of an activation: does everything that can fail, and changes nothing that serves. */
  async prepareCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog, path, model: ref } = activation;
    const model = await this.#model(ref);
    const version = openCatalogFile(path);
    checkCodebooks(catalog, version.trie.codebookSizes, model);
    this.#prepared.set(catalog, new ActiveCatalog(activation, version, model));
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
    return recommend(this.#kernel, catalog, query);
  }

  async close(): Promise<void> {
    this.#active.clear();
    this.#prepared.clear();
    const models = await Promise.allSettled(this.#models.values());
    this.#models.clear();
    for (const model of models) if (model.status === 'fulfilled') await model.value.close();
  }

  #model(ref: ModelRef): Promise<Model> {
    let model = this.#models.get(ref.folder);
    if (model === undefined) {
      model = openModel(ref.folder, this.#threads);
      this.#models.set(ref.folder, model);
      // A model that could not be opened may be mended on disk: the next call tries again.
      model.catch(() => this.#models.delete(ref.folder));
    }
    return model;
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
