import {
  canonicalJson,
  type EngineClient,
  fingerprintFaults,
  type ModelInfo,
  type ModelRef,
} from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { AttributeSchema, ItemFile, RuleParams } from '../../static-trie/index.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { Jobs } from '../jobs/jobs.js';
import type { ModelStore } from '../model-store.js';
import { ModelRegistry } from '../models/model-registry.js';
import { Activator, findVersion, type SetEvaluation } from './activator.js';
import type {
  CatalogRecord,
  CatalogStore,
  ModelName,
  ModelPin,
  SetRecord,
  VersionRecord,
} from './catalog-store.js';
import type { RulePreview } from './catalog-worker.js';
import { KeyedMutex } from './keyed-mutex.js';
import { pinOldRecords } from './old-records.js';
import { isSameModel, rolledBack, withActive } from './serving-pairs.js';
import { SetEvaluator } from './set-evaluator.js';
import { VersionBuilds } from './version-builds.js';

export interface CatalogDefinition {
  model: { name: string; version?: number | undefined };
  codebookSizes: number[];
  attributes: AttributeSchema;
}

/** A set's truth, and its evaluation where a version is active. */
export interface EvaluatedSet extends SetRecord {
  evaluation: SetEvaluation | null;
}

export interface CatalogServiceDeps {
  store: CatalogStore;
  models: ModelStore;
  engine: EngineClient;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
  onThreadFailure: (error: EspalierError) => void;
  /** Gets what failed after the fact, and is no answer to anybody. */
  onError: (error: EspalierError, message: string) => void;
}

/**
 * Changes catalogs and constraint sets. Every change first does all that can fail, then writes the truth to
 * disk, then switches the engine; what was active serves until then. Changes of one catalog run one by one.
 */
export class CatalogService {
  readonly registry: ModelRegistry;
  readonly #deps: CatalogServiceDeps;
  readonly #evaluator: SetEvaluator;
  readonly #activator: Activator;
  readonly #builds: VersionBuilds;
  readonly #catalogs = new Map<string, CatalogRecord>();
  /** Catalogs whose file is damaged. */
  readonly #damaged = new Map<string, EspalierError>();
  /** Why catalogs could not be restored. */
  readonly #unrestored = new Map<string, EspalierError>();
  readonly #mutex = new KeyedMutex();

  constructor(deps: CatalogServiceDeps) {
    const { store, models, engine, onThreadFailure, onError } = deps;
    this.#deps = deps;
    this.#evaluator = new SetEvaluator(store, onThreadFailure);
    this.registry = new ModelRegistry(
      models,
      engine,
      () => this.#servingModels(),
      (error) => onError(error, 'models that nothing serves with could not be unloaded'),
    );
    const { registry } = this;
    this.#activator = new Activator({ store, models, registry, engine, evaluator: this.#evaluator });
    this.#builds = new VersionBuilds({ ...deps, activate: (...args) => this.#activateBuilt(...args) });
    const records = store.listCatalogs((catalog, error) => this.#damaged.set(catalog, error));
    for (const record of records) this.#catalogs.set(record.name, record);
  }

  /** Brings back what was active when the server stopped; a catalog that fails is reported and left out. */
  async restore(onFailure: (catalog: string, error: EspalierError) => void): Promise<void> {
    for (const [catalog, error] of this.#damaged) onFailure(catalog, error);
    for (const before of this.list()) {
      const { name } = before;
      try {
        const record = await pinOldRecords(before, { ...this.#deps, registry: this.registry });
        this.#catalogs.set(name, record);
        if (record.active !== null) await this.#activator.restore(record, record.active);
      } catch (thrown) {
        const error = EspalierError.from(thrown);
        this.#unrestored.set(name, error);
        onFailure(name, error);
      }
    }
  }

  list(): CatalogRecord[] {
    return [...this.#catalogs.values()];
  }

  /** Catalogs that should serve and don't, and why. */
  notServing(): { name: string; error: EspalierError | undefined }[] {
    const broken = this.list().filter(
      ({ name, active }) => active !== null && !this.#activator.isServing(name),
    );
    return [
      ...Array.from(this.#damaged, ([name, error]) => ({ name, error })),
      ...broken.map(({ name }) => ({ name, error: this.#unrestored.get(name) })),
    ];
  }

  /** @throws EspalierError ESP_CATALOG_NOT_FOUND; ESP_ARTIFACT_CORRUPT where its file is damaged. */
  get(catalog: string): CatalogRecord {
    this.#refuseDamaged(catalog);
    const record = this.#catalogs.get(catalog);
    if (record !== undefined) return record;
    const found = [...this.#catalogs.keys()].join(', ') || 'none';
    throw new EspalierError('ESP_CATALOG_NOT_FOUND', `there is no catalog ${catalog}; there are: ${found}`, {
      details: [{ field: 'catalog', expected: 'the name of a catalog', found: catalog }],
    });
  }

  activeVersion(record: CatalogRecord): VersionRecord | undefined {
    return this.versions(record.name).find(({ version }) => version === record.active?.version);
  }

  versions(catalog: string): VersionRecord[] {
    return this.#deps.store.listVersions(this.get(catalog));
  }

  /**
   * Creates a catalog, or gives it another model. Where the active version fits the model (it has the
   * fingerprint of the one that the version was built for) they serve together when this returns; where it
   * doesn't, the model waits for a version that is uploaded for it. Attributes stay once there are versions.
   */
  async put(
    name: string,
    definition: CatalogDefinition,
  ): Promise<{ record: CatalogRecord; created: boolean }> {
    this.#refuseDamaged(name);
    return this.#mutex.run(name, () => {
      const ref = this.#deps.models.find(definition.model.name, definition.model.version);
      return this.registry.use(ref, async (info) => {
        checkCodebooks(ref, info.codebookSizes, definition.codebookSizes);
        const existing = this.#catalogs.get(name);
        const versions = existing === undefined ? [] : this.versions(name);
        const hasVersions = versions.length > 0 || this.#builds.isBuilding(name);
        if (existing !== undefined && hasVersions) checkAttributes(existing, definition);
        const model: ModelPin = { name: ref.name, version: ref.version, info };
        const { codebookSizes, attributes } = definition;
        const record: CatalogRecord =
          existing === undefined
            ? {
                name,
                model,
                codebookSizes,
                attributes,
                active: null,
                earlier: [],
                createdAt: new Date().toISOString(),
              }
            : { ...existing, model, codebookSizes, attributes };
        const created = existing === undefined;
        const { active } = record;
        if (active === null || !fits(findVersion(versions, name, active.version), model, info)) {
          this.#save(record);
          return { record, created };
        }
        const isSame = canonicalJson(existing) === canonicalJson(record) && isSameModel(active.model, model);
        if (isSame && this.#activator.isServing(name)) return { record, created };
        return { record: await this.#activate(record, active.version, model), created };
      });
    });
  }

  /** Catalogs that serve with a model version. */
  servingWith(model: ModelName): string[] {
    const serving = this.list().filter(({ name }) => this.#activator.isServing(name));
    return serving.flatMap(({ name, active }) =>
      active !== null && isSameModel(active.model, model) ? [name] : [],
    );
  }

  /** Starts the build of a new version from an upload that was received; the upload is the job's from then on. */
  startBuild(
    catalog: string,
    upload: ItemFile,
    activate: boolean,
    idempotency: Idempotency,
  ): Promise<StartedJob> {
    return this.#builds.start(this.get(catalog), upload, activate, idempotency);
  }

  /**
   * Makes a version the active one, together with the model that it was built for, with every constraint set
   * prepared for it.
   * @throws EspalierError ESP_VERSION_NOT_FOUND; ESP_MODEL_… where its model is gone, is broken, or is no longer
   *   what it was; ESP_SET_UNBOUND with the sets that cannot bind.
   */
  activate(catalog: string, version: number): Promise<CatalogRecord> {
    return this.#mutex.run(catalog, async () => {
      const record = this.get(catalog);
      const { model } = findVersion(this.versions(catalog), catalog, version);
      return this.#activate(record, version, model);
    });
  }

  /**
   * Brings back the catalog version and the model version that were active before, or the latest earlier pair
   * of `version`.
   * @throws EspalierError ESP_ROLLBACK_UNAVAILABLE; ESP_VERSION_NOT_FOUND; what `activate` throws
   */
  rollback(catalog: string, version?: number): Promise<CatalogRecord> {
    return this.#mutex.run(catalog, async () => {
      const before = this.get(catalog);
      const versions = this.versions(catalog);
      if (version !== undefined) findVersion(versions, catalog, version);
      const { record, pair } = rolledBack(before, version);
      const model = this.#modelAfterRollback(
        before,
        pair.model,
        findVersion(versions, catalog, pair.version),
      );
      return this.#activate({ ...record, model }, pair.version, pair.model);
    });
  }

  listSets(catalog: string): EvaluatedSet[] {
    this.get(catalog);
    return this.#deps.store.listSets(catalog).map((set) => this.#withEvaluation(catalog, set));
  }

  /** @throws EspalierError ESP_SET_NOT_FOUND */
  getSet(catalog: string, name: string): EvaluatedSet {
    const sets = this.listSets(catalog);
    const record = sets.find((set) => set.name === name);
    if (record !== undefined) return record;
    const found = sets.map((set) => set.name).join(', ') || 'none';
    throw new EspalierError(
      'ESP_SET_NOT_FOUND',
      `catalog ${catalog} has no constraint set ${name}; it has: ${found}`,
    );
  }

  /** Evaluates a rule and makes it the set's next version; in force when it returns. */
  putSet(
    catalog: string,
    name: string,
    rule: string,
    params: RuleParams,
  ): Promise<{ record: EvaluatedSet; created: boolean }> {
    return this.#mutex.run(catalog, async () => {
      const catalogRecord = this.get(catalog);
      const activeVersion = catalogRecord.active?.version;
      const { store, engine } = this.#deps;
      const existing = this.listSets(catalog).find((set) => set.name === name);
      const updatedAt = new Date().toISOString();
      const record: SetRecord = { name, version: (existing?.version ?? 0) + 1, rule, params, updatedAt };
      if (activeVersion === undefined) {
        // Nothing to evaluate it on yet; the first activation does.
        await this.#evaluator.check(catalogRecord, rule, params);
        store.putSet(catalog, record);
      } else {
        const snapshot = await this.#evaluator.evaluate(catalogRecord, activeVersion, record, updatedAt);
        store.putSet(catalog, record);
        if (this.#activator.isServing(catalog)) await engine.putSet(catalog, snapshot);
        this.#activator.remember(catalog, snapshot);
      }
      return { record: this.#withEvaluation(catalog, record), created: existing === undefined };
    });
  }

  /** What a rule would allow, without changing anything. */
  async preview(catalog: string, rule: string, params: RuleParams): Promise<RulePreview> {
    const record = this.get(catalog);
    if (record.active === null) {
      throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${catalog} has no active version`);
    }
    return this.#evaluator.preview(record, record.active.version, { rule, params });
  }

  async close(): Promise<void> {
    this.registry.close();
    await this.#evaluator.close();
  }

  /** What a build does last; after a kill a second time, and then it must not bring back what was left since. */
  async #activateBuilt(catalog: string, version: number): Promise<void> {
    const { active, earlier } = this.get(catalog);
    const wasActive = [active, ...earlier].some((pair) => pair?.version === version);
    if (!wasActive) await this.activate(catalog, version);
  }

  async #activate(
    record: CatalogRecord,
    version: number,
    { name, version: modelVersion }: ModelName,
  ): Promise<CatalogRecord> {
    const model = { name, version: modelVersion };
    const pair = { version, model, activatedAt: new Date().toISOString() };
    const activated = withActive(record, pair);
    await this.#activator.activate(record, pair, () => this.#save(activated));
    return activated;
  }

  /**
   * Uploads go on with the model that was PUT last, as their SIDs are made for it. But where that is the model
   * rolled back from, and the one before fits the same SIDs, the next upload must not bring it back.
   */
  #modelAfterRollback(
    { model, active }: CatalogRecord,
    restored: ModelName,
    { model: pin }: VersionRecord,
  ): ModelPin {
    const wasLeft = active !== null && isSameModel(active.model, model);
    if (!wasLeft || model.info?.fingerprint !== pin.info?.fingerprint) return model;
    return { ...model, name: restored.name, version: restored.version };
  }

  #servingModels(): ModelName[] {
    return this.list().flatMap(({ name, active }) =>
      active !== null && this.#activator.isServing(name) ? [active.model] : [],
    );
  }

  #withEvaluation(catalog: string, set: SetRecord): EvaluatedSet {
    return { ...set, evaluation: this.#activator.evaluation(catalog, set.name) };
  }

  /** A catalog whose file is damaged is not overwritten: its versions may still be saved by hand. */
  #refuseDamaged(name: string): void {
    const error = this.#damaged.get(name);
    if (error !== undefined) throw error;
  }

  #save(record: CatalogRecord): void {
    this.#deps.store.putCatalog(record);
    this.#catalogs.set(record.name, record);
  }
}

/** Whether a model decodes over a version: it has the fingerprint of the one that the version was built for. */
function fits({ model: pin }: VersionRecord, model: ModelPin, info: ModelInfo): boolean {
  return pin.info === undefined ? isSameModel(pin, model) : fingerprintFaults(pin.info, info).length === 0;
}

function checkCodebooks(ref: ModelRef, ofModel: readonly number[], given: readonly number[]): void {
  if (String(ofModel) === String(given)) return;
  const expected = `[${ofModel.join(', ')}], as model ${ref.name} version ${ref.version} has`;
  const found = `[${given.join(', ')}]`;
  throw new EspalierError('ESP_MODEL_MISFIT', `sid.codebookSizes: expected ${expected}, found ${found}`, {
    details: [{ field: 'sid.codebookSizes', expected, found }],
  });
}

/** Versions and constraint sets depend on the attributes; codebooks go with each version's model. */
function checkAttributes({ name, attributes }: CatalogRecord, definition: CatalogDefinition): void {
  const expected = canonicalJson(attributes);
  const found = canonicalJson(definition.attributes);
  if (expected === found) return;
  const message = `catalog ${name} has versions; its attributes cannot change`;
  throw new EspalierError('ESP_CATALOG_CONFLICT', message, {
    details: [{ field: 'attributes', expected, found }],
  });
}
