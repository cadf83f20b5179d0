import type { EngineClient, ModelRef } from '../../decoder/index.js';
import type { CatalogService } from '../catalogs/catalog-service.js';
import { isSameModel } from '../catalogs/serving-pairs.js';
import type { ModelStore } from '../model-store.js';
import type { ModelOutcome, ModelRegistry } from './model-registry.js';

export interface ModelServiceDeps {
  models: ModelStore;
  registry: ModelRegistry;
  catalogs: CatalogService;
  engine: EngineClient;
}

/** A model version as it lies on disk now, and who depends on it. */
export interface ModelVersion {
  version: number;
  /** Absent where it has not been opened since its files came. */
  outcome: ModelOutcome | undefined;
  /** Catalogs that need it, with the versions that were built for it or that a rollback would pair with it. */
  pinnedBy: { catalog: string; versions: number[] }[];
  /** Catalogs that serve with it. */
  active: string[];
  /** Whether the engine has it open. */
  loaded: boolean;
}

/** Models as their operators see them. */
export class ModelService {
  readonly #deps: ModelServiceDeps;

  constructor(deps: ModelServiceDeps) {
    this.#deps = deps;
  }

  list(): { name: string; versions: number[] }[] {
    const { models } = this.#deps;
    return models.names().map((name) => ({ name, versions: models.versions(name) }));
  }

  /** @throws EspalierError ESP_MODEL_NOT_FOUND */
  async get(name: string): Promise<ModelVersion[]> {
    const { models, engine } = this.#deps;
    models.find(name);
    const refs = models.versions(name).map((version) => models.find(name, version));
    const open = new Set(await engine.openModels());
    return refs.map((ref) => this.#version(ref, open));
  }

  /**
   * Opens a version in a process of its own and checks it there. Nothing that serves changes or waits.
   * @param version the newest on disk where it is undefined.
   * @throws EspalierError ESP_MODEL_NOT_FOUND, ESP_MODEL_MANIFEST, ESP_MODEL_MISFIT, ESP_MODEL_OUTPUT,
   *   ESP_MODEL_TIMEOUT; ESP_ENGINE_FAILED where the process ends under it
   */
  async load(name: string, version?: number): Promise<ModelVersion> {
    const { models, registry, engine } = this.#deps;
    const ref = models.find(name, version);
    await registry.check(ref);
    return this.#version(ref, new Set(await engine.openModels()));
  }

  #version(ref: ModelRef, open: ReadonlySet<string>): ModelVersion {
    const { registry, catalogs } = this.#deps;
    const pinnedBy: ModelVersion['pinnedBy'] = [];
    for (const record of catalogs.list()) {
      const built = catalogs.versions(record.name);
      const pairs = [...record.earlier, ...(record.active === null ? [] : [record.active])];
      const pins = [...built, ...pairs].filter(({ model }) => isSameModel(model, ref));
      const versions = [...new Set(pins.map((pin) => pin.version))].sort((a, b) => a - b);
      if (versions.length > 0 || isSameModel(record.model, ref)) {
        pinnedBy.push({ catalog: record.name, versions });
      }
    }
    return {
      version: ref.version,
      outcome: registry.outcome(ref),
      pinnedBy,
      active: catalogs.servingWith(ref),
      loaded: open.has(ref.folder),
    };
  }
}
