import type { EngineClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { ModelStore } from '../model-store.js';
import { checkFingerprint, type ModelRegistry } from '../models/model-registry.js';
import type {
  CatalogRecord,
  CatalogStore,
  ModelName,
  ServingPair,
  SetRecord,
  VersionRecord,
} from './catalog-store.js';
import { isSameModel } from './serving-pairs.js';
import type { SetEvaluator, TimedSnapshot } from './set-evaluator.js';

export interface ActivatorDeps {
  store: CatalogStore;
  models: ModelStore;
  registry: ModelRegistry;
  engine: EngineClient;
  evaluator: SetEvaluator;
}

/** What a set came to for the catalog version that is active; derived, so it is not kept on disk. */
export interface SetEvaluation {
  catalogVersion: number;
  items: number;
  leaves: number;
  evaluatedAt: string;
}

/**
 * Makes pairs of catalog version and model version serve, and knows which do. Catalog, model and sets switch
 * together: a request gets all of one pair or all of the other.
 */
export class Activator {
  readonly #deps: ActivatorDeps;
  readonly #serving = new Set<string>();
  /** By catalog, then by set. */
  readonly #evaluations = new Map<string, Map<string, SetEvaluation>>();

  constructor(deps: ActivatorDeps) {
    this.#deps = deps;
  }

  isServing(catalog: string): boolean {
    return this.#serving.has(catalog);
  }

  evaluation(catalog: string, set: string): SetEvaluation | null {
    return this.#evaluations.get(catalog)?.get(set) ?? null;
  }

  /** Notes a set that was put into the version that serves. */
  remember(catalog: string, { name, catalogVersion, set, evaluatedAt }: TimedSnapshot): void {
    const evaluations = this.#evaluations.get(catalog) ?? new Map<string, SetEvaluation>();
    evaluations.set(name, { catalogVersion, items: set.itemCount, leaves: set.leafCount, evaluatedAt });
    this.#evaluations.set(catalog, evaluations);
  }

  /**
   * Prepares everything for a pair, calls `save`, and switches. Until `save` has returned nothing that serves
   * has changed, and nothing fails afterwards.
   * @throws EspalierError ESP_MODEL_… where the model doesn't open or doesn't fit the version; ESP_SET_UNBOUND;
   *   ESP_ARTIFACT_CORRUPT
   */
  activate(record: CatalogRecord, pair: ServingPair, save: () => void): Promise<void> {
    return this.#switch(record, pair, () => pair.activatedAt, save);
  }

  /** Makes the record's active pair serve as it did when the server stopped. */
  restore(record: CatalogRecord, pair: ServingPair): Promise<void> {
    // At the time at which each was last evaluated, so that the same items are allowed as before.
    const { activatedAt } = pair;
    const evaluatedAt = (set: SetRecord) => (set.updatedAt > activatedAt ? set.updatedAt : activatedAt);
    return this.#switch(record, pair, evaluatedAt, () => {});
  }

  #switch(
    record: CatalogRecord,
    { version, model }: ServingPair,
    evaluatedAt: (set: SetRecord) => string,
    save: () => void,
  ): Promise<void> {
    const { store, registry, evaluator, engine } = this.#deps;
    const { name } = record;
    const versionRecord = findVersion(store.listVersions(record), name, version);
    const pin = versionRecord.model;
    const ref = this.#refOf(model, `version ${version} of catalog ${name}`);
    return registry.use(ref, async (info) => {
      checkFingerprint(pin, model, info, `version ${version} of catalog ${name}`);
      await evaluator.verify(record, version);
      const sets = await evaluator.evaluateAll(record, version, store.listSets(name), evaluatedAt);
      const path = store.catalogFilePath(name, version);
      try {
        const activation = { catalog: name, version, path, model: ref, modelInfo: info, sets, changes: null };
        await engine.prepareCatalog(activation);
        if (pin.info === undefined && isSameModel(pin, model)) {
          store.putVersion(name, { ...versionRecord, model: { ...pin, info } });
        }
        save();
      } catch (thrown) {
        await engine.discardCatalog(name);
        throw thrown;
      }
      await engine.commitCatalog(name);
      this.#serving.add(name);
      this.#evaluations.delete(name);
      for (const snapshot of sets) this.remember(name, snapshot);
    });
  }

  #refOf({ name, version }: ModelName, purpose: string) {
    try {
      return this.#deps.models.find(name, version);
    } catch (thrown) {
      const { code, message, details } = EspalierError.from(thrown);
      throw new EspalierError(code, `${purpose} needs model ${name} version ${version}: ${message}`, {
        cause: thrown,
        ...(details && { details }),
      });
    }
  }
}

/** @throws EspalierError ESP_VERSION_NOT_FOUND */
export function findVersion(
  versions: readonly VersionRecord[],
  catalog: string,
  version: number,
): VersionRecord {
  const record = versions.find((one) => one.version === version);
  if (record !== undefined) return record;
  const found = versions.map((one) => one.version).join(', ') || 'none';
  const message = `catalog ${catalog} has no version ${version}; it has: ${found}`;
  throw new EspalierError('ESP_VERSION_NOT_FOUND', message, {
    details: [{ field: 'version', expected: `one of ${found}`, found: String(version) }],
  });
}
