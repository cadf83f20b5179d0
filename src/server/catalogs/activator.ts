import type { EngineClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { setByteLength } from '../../static-trie/index.js';
import { activeVersionOf, evaluationTime, type SetRecord } from '../constraint-sets/set-record.js';
import type { SetStore } from '../constraint-sets/set-store.js';
import type { ModelStore } from '../model-store.js';
import { checkFingerprint, type ModelRegistry } from '../models/model-registry.js';
import type { CatalogRecords } from './catalog-records.js';
import type { CatalogRecord, CatalogStore, ModelName, ServingPair } from './catalog-store.js';
import type { ChangeLogs } from './change-logs.js';
import { isSameModel } from './serving-pairs.js';
import type { SetEvaluator, TimedSnapshot } from './set-evaluator.js';

export interface ActivatorDeps {
  store: CatalogStore;
  records: CatalogRecords;
  sets: SetStore;
  changes: ChangeLogs;
  models: ModelStore;
  registry: ModelRegistry;
  engine: EngineClient;
  evaluator: SetEvaluator;
  /** A set was evaluated for the version that serves. */
  onEvaluated: (catalog: string, set: string) => void;
}

/** What a set came to for the catalog version that is active; derived, so it is not kept on disk. */
export interface SetEvaluation {
  catalogVersion: number;
  items: number;
  leaves: number;
  /** Of its bitmaps. */
  bytes: number;
  /** Of a list's ids or SIDs, how many the version does not have; and the first of them. */
  unknownCount: number;
  unknown: readonly string[];
  evaluatedAt: string;
}

interface SwitchOptions {
  evaluatedAt: (set: SetRecord) => string;
  /** Goes on without the set, unless it throws. */
  onDamagedSet: (set: string, error: EspalierError) => void;
  save: () => void;
}

/**
 * Makes pairs of catalog version and model version serve, and knows which do. Catalog, model and sets switch
 * together: a request gets all of one pair or all of the other.
 */
export class Activator {
  readonly #deps: ActivatorDeps;
  readonly #serving = new Set<string>();
  /** Why catalogs do not serve that should. */
  readonly #failures = new Map<string, EspalierError>();
  /** By catalog, then by set. */
  readonly #evaluations = new Map<string, Map<string, SetEvaluation>>();
  /** Likewise: sets that a restored catalog serves without, and why. */
  readonly #unusable = new Map<string, Map<string, EspalierError>>();

  constructor(deps: ActivatorDeps) {
    this.#deps = deps;
  }

  isServing(catalog: string): boolean {
    return this.#serving.has(catalog);
  }

  /** Why a catalog does not serve whose record has an active pair. */
  failure(catalog: string): EspalierError | undefined {
    return this.#failures.get(catalog);
  }

  /** Notes that a catalog does not serve, or not any more, until it is activated again. */
  stopped(catalog: string, error: EspalierError): void {
    this.forget(catalog);
    this.#failures.set(catalog, error);
  }

  evaluation(catalog: string, set: string): SetEvaluation | null {
    return this.#evaluations.get(catalog)?.get(set) ?? null;
  }

  /** Sets in force whose lists were damaged when the server started: requests under them must be refused. */
  unusable(catalog: string): ReadonlyMap<string, EspalierError> {
    return this.#unusable.get(catalog) ?? new Map();
  }

  /** Notes a set that was put into the version that serves. */
  remember(catalog: string, snapshot: TimedSnapshot): void {
    const { name, catalogVersion, set, unknownCount, unknown, evaluatedAt } = snapshot;
    const evaluations = this.#evaluations.get(catalog) ?? new Map<string, SetEvaluation>();
    const { itemCount: items, leafCount: leaves } = set;
    const bytes = setByteLength(set);
    evaluations.set(name, { catalogVersion, items, leaves, bytes, unknownCount, unknown, evaluatedAt });
    this.#evaluations.set(catalog, evaluations);
    this.#unusable.get(catalog)?.delete(name);
    this.#deps.onEvaluated(catalog, name);
  }

  /** Notes what small changes have made of sets. */
  recount(catalog: string, counts: readonly { name: string; items: number; leaves: number }[]): void {
    const evaluations = this.#evaluations.get(catalog);
    for (const { name, items, leaves } of counts) {
      const before = evaluations?.get(name);
      if (before !== undefined) evaluations?.set(name, { ...before, items, leaves });
    }
  }

  /** Forgets a set, or a catalog with all of its, that is not there any more. */
  forget(catalog: string, set?: string): void {
    if (set !== undefined) {
      this.#evaluations.get(catalog)?.delete(set);
      this.#unusable.get(catalog)?.delete(set);
      return;
    }
    this.#evaluations.delete(catalog);
    this.#unusable.delete(catalog);
    this.#serving.delete(catalog);
    this.#failures.delete(catalog);
    this.#deps.evaluator.forget(catalog);
  }

  /** Models of the catalogs among these that serve. */
  servingModels(records: readonly CatalogRecord[]): ModelName[] {
    return records.flatMap(({ name, active }) =>
      active !== null && this.isServing(name) ? [active.model] : [],
    );
  }

  /**
   * Prepares everything for a pair, calls `save`, and switches. Until `save` has returned nothing that serves
   * has changed, and nothing fails afterwards.
   * @throws EspalierError ESP_MODEL_… where the model doesn't open or doesn't fit the version; ESP_SET_UNBOUND;
   *   ESP_ARTIFACT_CORRUPT
   */
  activate(record: CatalogRecord, pair: ServingPair, save: () => void): Promise<void> {
    const refuse = (_set: string, error: EspalierError) => {
      throw error;
    };
    return this.#switch(record, pair, { evaluatedAt: () => pair.activatedAt, onDamagedSet: refuse, save });
  }

  /**
   * Makes the record's active pair serve as it did when the server stopped. A set whose list is damaged is left out:
   * one file must not keep a whole catalog from serving.
   * @param onDamagedSet gets such sets, which `unusable` has from then on
   */
  async restore(
    record: CatalogRecord,
    pair: ServingPair,
    onDamagedSet: (set: string, error: EspalierError) => void,
  ): Promise<void> {
    const now = new Date().toISOString();
    const unusable = new Map<string, EspalierError>();
    await this.#switch(record, pair, {
      evaluatedAt: (set) => evaluationTime(set, pair.activatedAt, now),
      onDamagedSet: (set, error) => {
        unusable.set(set, error);
        onDamagedSet(set, error);
      },
      save: () => {},
    });
    this.#unusable.set(record.name, unusable);
  }

  #switch(
    record: CatalogRecord,
    { version, model }: ServingPair,
    { evaluatedAt, onDamagedSet, save }: SwitchOptions,
  ): Promise<void> {
    const { store, records, sets: setStore, changes: logs, registry, evaluator, engine } = this.#deps;
    const { name } = record;
    const versionRecord = records.version(record, version);
    const pin = versionRecord.model;
    const ref = this.#refOf(model, `version ${version} of catalog ${name}`);
    return registry.use(ref, async (info) => {
      checkFingerprint(pin, model, info, `version ${version} of catalog ${name}`);
      await evaluator.verify(record, versionRecord);
      const inForce = setStore.list(name).flatMap((set) => {
        const setVersion = activeVersionOf(set);
        return setVersion === undefined
          ? []
          : [{ name: set.name, version: setVersion, evaluatedAt: evaluatedAt(set) }];
      });
      const sets = await evaluator.evaluateAll(record, versionRecord, inForce, onDamagedSet);
      const path = store.catalogFilePath(name, version);
      try {
        const changes = logs.after(name, versionRecord);
        const activation = { catalog: name, version, path, model: ref, modelInfo: info, sets, changes };
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
      this.#failures.delete(name);
      this.#evaluations.delete(name);
      this.#unusable.delete(name);
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
