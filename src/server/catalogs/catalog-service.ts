import { rmSync } from 'node:fs';
import type { EngineClient, ModelRef, SetSnapshot } from '../../decoder/index.js';
import { ThreadClient } from '../../decoder/index.js';
import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { AttributeSchema, RuleParams } from '../../static-trie/index.js';
import type { JobRunner } from '../jobs/job-runner.js';
import type { Job, JobStore } from '../jobs/job-store.js';
import type { ModelStore } from '../model-store.js';
import type { CatalogRecord, CatalogStore, SetRecord, VersionRecord } from './catalog-store.js';
import type { BuildEvent, CatalogHandlers, RulePreview } from './catalog-worker.js';
import { KeyedMutex } from './keyed-mutex.js';
import { SetEvaluator, type TimedSnapshot } from './set-evaluator.js';

export interface CatalogDefinition {
  model: { name: string; version?: number | undefined };
  codebookSizes: number[];
  attributes: AttributeSchema;
}

/** What a set came to for the catalog version that is active; derived, so it is not kept on disk. */
export interface SetEvaluation {
  catalogVersion: number;
  items: number;
  leaves: number;
  evaluatedAt: string;
}

/** A set's truth, and its evaluation where a version is active. */
export interface EvaluatedSet extends SetRecord {
  evaluation: SetEvaluation | null;
}

export interface CatalogServiceDeps {
  store: CatalogStore;
  models: ModelStore;
  engine: EngineClient;
  jobs: JobStore;
  runner: JobRunner;
  onThreadFailure: (error: EspalierError) => void;
}

const WORKER = new URL('./catalog-worker.js', import.meta.url);

/**
 * Changes catalogs and constraint sets. Every change first does all that can fail, then writes the truth to
 * disk, then switches the engine; what was active serves until then. Changes of one catalog run one by one.
 */
export class CatalogService {
  readonly #deps: CatalogServiceDeps;
  readonly #evaluator: SetEvaluator;
  readonly #catalogs = new Map<string, CatalogRecord>();
  /** By catalog, then by set. */
  readonly #evaluations = new Map<string, Map<string, SetEvaluation>>();
  /** Catalogs whose file is damaged. */
  readonly #damaged = new Map<string, EspalierError>();
  /** Catalogs whose active version serves. */
  readonly #serving = new Set<string>();
  /** Builds under way; their versions depend on the catalog's attributes as they are. */
  readonly #building = new Map<string, number>();
  readonly #mutex = new KeyedMutex();

  constructor(deps: CatalogServiceDeps) {
    this.#deps = deps;
    this.#evaluator = new SetEvaluator(deps.store, deps.onThreadFailure);
    deps.store.clean();
    const records = deps.store.listCatalogs((catalog, error) => this.#damaged.set(catalog, error));
    for (const record of records) this.#catalogs.set(record.name, record);
  }

  /** Brings back what was active when the server stopped; a catalog that fails is reported and left out. */
  async restore(onFailure: (catalog: string, error: EspalierError) => void): Promise<void> {
    for (const [catalog, error] of this.#damaged) onFailure(catalog, error);
    for (const record of this.#catalogs.values()) {
      const { activeVersion, activatedAt, name } = record;
      if (activeVersion === null) continue;
      try {
        const sets = this.#deps.store.listSets(name);
        // At the time at which each was last evaluated, so that the same items are allowed as before.
        const evaluatedAt = (set: SetRecord) => (set.updatedAt > activatedAt! ? set.updatedAt : activatedAt!);
        await this.#evaluator.verify(record, activeVersion);
        const snapshots = await this.#evaluator.evaluateAll(record, activeVersion, sets, evaluatedAt);
        await this.#prepare(record, activeVersion, this.#modelOf(record), snapshots);
        await this.#serve(name, snapshots);
      } catch (thrown) {
        onFailure(name, EspalierError.from(thrown));
      }
    }
  }

  list(): CatalogRecord[] {
    return [...this.#catalogs.values()];
  }

  /** Catalogs that should serve and don't. */
  notServing(): string[] {
    const broken = this.list().filter(
      ({ name, activeVersion }) => activeVersion !== null && !this.#serving.has(name),
    );
    return [...this.#damaged.keys(), ...broken.map(({ name }) => name)];
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
    return this.versions(record.name).find(({ version }) => version === record.activeVersion);
  }

  versions(catalog: string): VersionRecord[] {
    this.get(catalog);
    return this.#deps.store.listVersions(catalog);
  }

  /** Creates a catalog, or gives it another model. Its codebooks and attributes stay once it has versions. */
  async put(
    name: string,
    definition: CatalogDefinition,
  ): Promise<{ record: CatalogRecord; created: boolean }> {
    this.#refuseDamaged(name);
    return this.#mutex.run(name, async () => {
      const model = this.#deps.models.find(definition.model.name, definition.model.version);
      const { codebookSizes } = await this.#deps.engine.loadModel(model);
      if (String(codebookSizes) !== String(definition.codebookSizes)) {
        const expected = `[${codebookSizes.join(', ')}], as model ${model.name} has`;
        const found = `[${definition.codebookSizes.join(', ')}]`;
        throw new EspalierError(
          'ESP_MODEL_MISFIT',
          `sid.codebookSizes: expected ${expected}, found ${found}`,
          {
            details: [{ field: 'sid.codebookSizes', expected, found }],
          },
        );
      }
      const existing = this.#catalogs.get(name);
      const hasVersions =
        existing !== undefined && (this.versions(name).length > 0 || this.#building.has(name));
      if (hasVersions) checkUnchanged(existing, definition);
      const record: CatalogRecord = {
        name,
        model: { name: model.name, version: model.version },
        codebookSizes: definition.codebookSizes,
        attributes: definition.attributes,
        activeVersion: existing?.activeVersion ?? null,
        activatedAt: existing?.activatedAt ?? null,
        createdAt: existing?.createdAt ?? new Date().toISOString(),
      };
      const isSame = existing !== undefined && canonicalJson(existing) === canonicalJson(record);
      if (record.activeVersion === null) this.#save(record);
      else if (!isSame || !this.#serving.has(name)) await this.#activate(record, record.activeVersion, model);
      return { record, created: existing === undefined };
    });
  }

  /** Starts the build of a new version from an upload that lies at `uploadPath`. */
  startBuild(catalog: string, uploadPath: string, activate: boolean): { job: Job; version: number } {
    const { store, runner } = this.#deps;
    const record = this.get(catalog);
    const version = store.reserveVersion(catalog);
    const job = runner.submit('catalog-build', async (jobId) => {
      try {
        const counts = await this.#build(jobId, record, version, uploadPath);
        if (activate) {
          this.#deps.jobs.progress(jobId, 'activating', 0);
          await this.activate(catalog, version);
        }
        return { catalog, version, ...counts, activated: activate };
      } finally {
        this.#countBuilding(catalog, -1);
        rmSync(uploadPath, { force: true });
      }
    });
    this.#countBuilding(catalog, +1);
    return { job, version };
  }

  /** Builds on a thread of its own: the memory that parsing takes is given back when it ends. */
  async #build(
    jobId: string,
    { name: catalog, codebookSizes, attributes: schema }: CatalogRecord,
    version: number,
    uploadPath: string,
  ): Promise<{ items: number; leaves: number }> {
    const { store, jobs } = this.#deps;
    const onEvent = (event: unknown) => {
      const { phase, fraction } = event as BuildEvent;
      jobs.progress(jobId, phase, fraction);
    };
    const builder = new ThreadClient<CatalogHandlers>(WORKER, undefined, () => {}, onEvent);
    try {
      const path = store.catalogFilePath(catalog, version);
      const counts = await builder.call('build', { jobId, uploadPath, path, schema, codebookSizes });
      store.putVersion(catalog, { version, ...counts, createdAt: new Date().toISOString() });
      return counts;
    } catch (thrown) {
      store.clearVersion(catalog, version);
      throw thrown;
    } finally {
      await builder.close();
    }
  }

  /**
   * Makes a version the active one, with every constraint set prepared for it.
   * @throws EspalierError ESP_VERSION_NOT_FOUND; ESP_SET_UNBOUND with the sets that cannot bind.
   */
  activate(catalog: string, version: number): Promise<CatalogRecord> {
    return this.#mutex.run(catalog, () => {
      const record = this.get(catalog);
      const versions = this.versions(catalog).map((one) => one.version);
      if (!versions.includes(version)) {
        const found = versions.join(', ') || 'none';
        throw new EspalierError(
          'ESP_VERSION_NOT_FOUND',
          `catalog ${catalog} has no version ${version}; it has: ${found}`,
          {
            details: [{ field: 'version', expected: `one of ${found}`, found: String(version) }],
          },
        );
      }
      return this.#activate({ ...record, activeVersion: version }, version, this.#modelOf(record));
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
      const { activeVersion } = catalogRecord;
      const { store, engine } = this.#deps;
      const existing = this.listSets(catalog).find((set) => set.name === name);
      const updatedAt = new Date().toISOString();
      const record: SetRecord = { name, version: (existing?.version ?? 0) + 1, rule, params, updatedAt };
      if (activeVersion === null) {
        // Nothing to evaluate it on yet; the first activation does.
        await this.#evaluator.check(catalogRecord, rule, params);
        store.putSet(catalog, record);
      } else {
        const snapshot = await this.#evaluator.evaluate(catalogRecord, activeVersion, record, updatedAt);
        store.putSet(catalog, record);
        if (this.#serving.has(catalog)) await engine.putSet(catalog, snapshot);
        this.#remember(catalog, snapshot);
      }
      return { record: this.#withEvaluation(catalog, record), created: existing === undefined };
    });
  }

  /** What a rule would allow, without changing anything. */
  async preview(catalog: string, rule: string, params: RuleParams): Promise<RulePreview> {
    const record = this.get(catalog);
    if (record.activeVersion === null) {
      throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${catalog} has no active version`);
    }
    return this.#evaluator.preview(record, record.activeVersion, { rule, params });
  }

  async close(): Promise<void> {
    await this.#evaluator.close();
  }

  /** Prepares everything for a version, writes the pointer, and switches. Nothing fails after the pointer. */
  async #activate(record: CatalogRecord, version: number, model: ModelRef): Promise<CatalogRecord> {
    const activatedAt = new Date().toISOString();
    await this.#evaluator.verify(record, version);
    const sets = this.#deps.store.listSets(record.name);
    const snapshots = await this.#evaluator.evaluateAll(record, version, sets, () => activatedAt);
    await this.#prepare(record, version, model, snapshots);
    const activated = { ...record, activeVersion: version, activatedAt };
    this.#save(activated);
    await this.#serve(record.name, snapshots);
    return activated;
  }

  async #serve(catalog: string, snapshots: TimedSnapshot[]): Promise<void> {
    await this.#deps.engine.commitCatalog(catalog);
    this.#serving.add(catalog);
    this.#evaluations.delete(catalog);
    for (const snapshot of snapshots) this.#remember(catalog, snapshot);
  }

  #remember(catalog: string, { name, catalogVersion, set, evaluatedAt }: TimedSnapshot): void {
    const evaluations = this.#evaluations.get(catalog) ?? new Map<string, SetEvaluation>();
    evaluations.set(name, { catalogVersion, items: set.itemCount, leaves: set.leafCount, evaluatedAt });
    this.#evaluations.set(catalog, evaluations);
  }

  #withEvaluation(catalog: string, set: SetRecord): EvaluatedSet {
    return { ...set, evaluation: this.#evaluations.get(catalog)?.get(set.name) ?? null };
  }

  #prepare(record: CatalogRecord, version: number, model: ModelRef, sets: SetSnapshot[]): Promise<void> {
    const { store, engine } = this.#deps;
    const path = store.catalogFilePath(record.name, version);
    return engine.prepareCatalog({ catalog: record.name, version, path, model, sets });
  }

  #modelOf({ model }: CatalogRecord): ModelRef {
    return this.#deps.models.find(model.name, model.version);
  }

  #countBuilding(catalog: string, change: number): void {
    const count = (this.#building.get(catalog) ?? 0) + change;
    if (count === 0) this.#building.delete(catalog);
    else this.#building.set(catalog, count);
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

/** Versions depend on the codebooks and the attributes they were built with. */
function checkUnchanged(existing: CatalogRecord, definition: CatalogDefinition): void {
  const details: ErrorDetail[] = [];
  for (const [field, before, after] of [
    ['sid.codebookSizes', existing.codebookSizes, definition.codebookSizes],
    ['attributes', existing.attributes, definition.attributes],
  ] as const) {
    const expected = canonicalJson(before);
    const found = canonicalJson(after);
    if (expected !== found) details.push({ field, expected, found });
  }
  if (details.length === 0) return;
  const message = `catalog ${existing.name} has versions; its codebooks and attributes cannot change`;
  throw new EspalierError('ESP_CATALOG_CONFLICT', message, { details });
}

/** JSON with sorted names, so that the order in which a client writes them does not matter. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
